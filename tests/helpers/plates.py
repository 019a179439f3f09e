"""A small plate as each microscope writes it: real TIFFs and the index, 2 by 3 wells.

Two fields, two channels, two planes; `pixels` gives the image of a `Key`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import tifffile

ROWS, COLUMNS = 2, 3
CHANNELS = ("Hoechst", "Actin")
SIZE = (24, 32)


class Key(NamedTuple):
    """Which image: row, column, channel and plane from 0, field from 1."""

    row: int
    column: int
    field: int
    channel: int
    z: int

    @property
    def well(self) -> str:
        return f"{'ABCDEFGH'[self.row]}{self.column + 1:02}"


def keys(planes: int = 2) -> list[Key]:
    places = product(range(ROWS), range(COLUMNS), (1, 2), range(2), range(planes))
    return [Key(*place) for place in places]


def number_of(key: Key) -> int:
    """Return a grey level that no other image has."""
    field = (key.row * COLUMNS + key.column) * 2 + key.field - 1
    return 1 + (field * 2 + key.channel) * 8 + key.z


def plain(key: Key) -> np.ndarray:
    return np.full(SIZE, number_of(key), np.uint16)


Pixels = Callable[[Key], np.ndarray]


def _tiff(path: Path, *planes: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        for plane in planes:
            file.write(plane, contiguous=False, metadata=None, **options)


def harmony(folder: Path, pixels: Pixels = plain, planes: int = 2) -> str:
    """Opera Phenix by Harmony: ``Images/Index.idx.xml``."""
    images = []
    for key in keys(planes):
        name = (
            f"r{key.row + 1:02}c{key.column + 1:02}f{key.field:02}p{key.z + 1:02}"
            f"-ch{key.channel + 1}sk1fk1fl1.tiff"
        )
        image = pixels(key)
        _tiff(folder / "Images" / name, image)
        images.append(
            f'<Image Version="1"><id>{name}</id><State>Ok</State><URL>{name}</URL>'
            f"<Row>{key.row + 1}</Row><Col>{key.column + 1}</Col><FieldID>{key.field}</FieldID>"
            f"<PlaneID>{key.z + 1}</PlaneID><TimepointID>0</TimepointID>"
            f"<ChannelID>{key.channel + 1}</ChannelID><FlimID>1</FlimID>"
            f"<ChannelName>{CHANNELS[key.channel]}</ChannelName>"
            f'<ImageResolutionX Unit="m">6E-7</ImageResolutionX>'
            f'<ImageResolutionY Unit="m">6E-7</ImageResolutionY>'
            f"<ImageSizeX>{image.shape[1]}</ImageSizeX><ImageSizeY>{image.shape[0]}</ImageSizeY>"
            f'<PositionX Unit="m">0</PositionX><PositionY Unit="m">0</PositionY>'
            f'<PositionZ Unit="m">{key.z}E-6</PositionZ><AbsPositionZ Unit="m">0</AbsPositionZ>'
            f"<AbsTime>2020-01-01T00:00:00+00:00</AbsTime>"
            f"<OrientationMatrix>[[1,0,0,0],[0,1,0,0],[0,0,1,0]]</OrientationMatrix></Image>"
        )
    wells = "".join(
        f'<Well><id>{row + 1:02}{column + 1:02}</id><Image id="x"/></Well>'
        for row, column in product(range(ROWS), range(COLUMNS))
    )
    text = (
        '\ufeff<?xml version="1.0" encoding="utf-8"?>\n<EvaluationInputData '
        'xmlns="http://www.perkinelmer.com/PEHH/HarmonyV5" Version="1"><User>U</User>'
        "<InstrumentType>Phenix</InstrumentType><Plates><Plate><PlateID>P1</PlateID>"
        "<MeasurementID>m</MeasurementID><MeasurementStartTime>2020-01-01T00:00:00+00:00"
        "</MeasurementStartTime><Name>P1</Name><PlateTypeName>96</PlateTypeName>"
        "<PlateRows>8</PlateRows><PlateColumns>12</PlateColumns></Plate></Plates>"
        f"<Wells>{wells}</Wells><Maps/><Images>{''.join(images)}</Images></EvaluationInputData>"
    )
    (folder / "Images" / "Index.idx.xml").write_text(text, encoding="utf-8")
    return "Images/Index.idx.xml"


def columbus(folder: Path, pixels: Pixels = plain, planes: int = 2, *, paged: bool = False) -> str:
    """Columbus: ``MeasurementIndex.ColumbusIDX.xml`` and the image index that it names.

    With `paged` the images of a field are pages of one file, channels first.
    """
    images = []
    pages: dict[str, list[np.ndarray]] = {}
    for key in sorted(keys(planes), key=lambda key: (key[:3], key.z, key.channel)):
        tail = "" if paged else f"_c{key.channel}_z{key.z}"
        name = f"{key.well}_f{key.field}{tail}.tif"
        page = len(pages.setdefault(name, []))
        pages[name].append(pixels(key))
        images.append(
            f'<Image Version="1"><id>{name}</id><URL BufferNo="{page}">{name}</URL>'
            f"<Row>{key.row + 1}</Row><Col>{key.column + 1}</Col><FieldID>{key.field}</FieldID>"
            f"<PlaneID>{key.z + 1}</PlaneID><TimepointID>1</TimepointID>"
            f"<ChannelID>{key.channel + 1}</ChannelID>"
            f"<ChannelName>{CHANNELS[key.channel]}</ChannelName><ChannelColor>0</ChannelColor>"
            f'<ImageResolutionX Unit="m">6E-7</ImageResolutionX>'
            f'<ImageResolutionY Unit="m">6E-7</ImageResolutionY>'
            f'<PositionX Unit="m">0</PositionX><PositionY Unit="m">0</PositionY>'
            f'<PositionZ Unit="m">{key.z}E-6</PositionZ></Image>'
        )
    for name, own in pages.items():
        _tiff(folder / name, *own)
    plate = "<PlateRows>8</PlateRows><PlateColumns>12</PlateColumns>"
    (folder / "ImageIndex.ColumbusIDX.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<EvaluationInputData xmlns="http://www.perkinelmer.com/Columbus" Version="1"><Plates>'
        "<Plate><PlateID>P1</PlateID><MeasurementStartTime>2020-01-01T00:00:00+00:00"
        f"</MeasurementStartTime>{plate}</Plate></Plates><Images>{''.join(images)}</Images>"
        "</EvaluationInputData>"
    )
    (folder / "MeasurementIndex.ColumbusIDX.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ColumbusMeasurementIndex xmlns="http://www.perkinelmer.com/Columbus" Version="1">'
        f"<ScreenName>S</ScreenName><PlateName>P1</PlateName>{plate}"
        '<Measurement MeasurementID="1">m</Measurement>'
        '<Reference Class="IMAGEINDEX">ImageIndex.ColumbusIDX.xml</Reference>'
        "</ColumbusMeasurementIndex>"
    )
    return "MeasurementIndex.ColumbusIDX.xml"


def metaxpress(folder: Path, pixels: Pixels = plain, planes: int = 2) -> str:
    """ImageXpress by MetaXpress: an ``.HTD`` and ``TimePoint_1/ZStep_1``."""
    for key in keys(planes):
        step = f"ZStep_{key.z + 1}/" if planes > 1 else ""
        name = f"P1_{key.well}_s{key.field}_w{key.channel + 1}.TIF"
        _tiff(folder / "TimePoint_1" / step / name, pixels(key))
    wells = [["FALSE"] * 12 for _ in range(8)]
    for row, column in product(range(ROWS), range(COLUMNS)):
        wells[row][column] = "TRUE"
    lines = [
        '"HTSInfoFile", Version 1.0', '"Description", ""', f'"TimePoints", {1}',
        f'"ZSeries", {"TRUE" if planes > 1 else "FALSE"}', f'"ZSteps", {planes}',
        '"XWells", 12', '"YWells", 8',
        *(f'"WellsSelection{n}", {", ".join(row)}' for n, row in enumerate(wells, start=1)),
        '"Sites", TRUE', '"XSites", 2', '"YSites", 1', '"SiteSelection1", TRUE, TRUE',
        '"Waves", TRUE', '"NWavelengths", 2',
        *(f'"WaveName{n}", "{name}"' for n, name in enumerate(CHANNELS, start=1)),
        '"EndFile"',
    ]  # fmt: skip
    (folder / "P1.HTD").write_text("\r\n".join(lines) + "\r\n")
    return "P1.HTD"


def incell(folder: Path, pixels: Pixels = plain, planes: int = 2) -> str:
    """IN Cell Analyzer 2000: an ``.xdce``."""
    images = []
    for key in keys(planes):
        name = (
            f"{key.well[0]} - {key.well[1:]}(fld {key.field} wv {CHANNELS[key.channel]}"
            f" z {key.z + 1}).tif"
        )
        _tiff(folder / name, pixels(key))
        images.append(
            f'<Image filename="{name}" thumbnail="{name}.jpg" acquisition_time_ms="1.0">'
            f'<Well label="{key.well}"><Row number="{key.row + 1}"/>'
            f'<Column number="{key.column + 1}"/></Well>'
            f'<Identifier field_index="{key.field - 1}" z_index="{key.z}" '
            f'wave_index="{key.channel}" time_index="0"/><FocusPosition z="{key.z}.0"/></Image>'
        )
    waves = "".join(
        f'<Wavelength fusion_wave="false" imaging_mode="{"3-D" if planes > 1 else "2-D"}">'
        f'<ExcitationFilter name="{name}" wavelength="{400 + n}"/>'
        f'<EmissionFilter name="{name}" wavelength="{500 + n}"/></Wavelength>'
        for n, name in enumerate(CHANNELS)
    )
    (folder / "P1.xdce").write_text(
        '<?xml version="1.0" encoding="UTF-8"?><ImageStack><AutoLeadAcquisitionProtocol '
        'version="2">IN Cell Analyzer 2000<Creation date="2020-01-01" time="00:00:00"/>'
        f'{waves}<ZDimensionParameters number_of_slices="{planes}"/>'
        '<Plate rows="8" columns="12" name="96"><NamingRows begin="A"/><NamingColumns begin="1"/>'
        '</Plate><PlateMap><PointList><offset_point index="0" x="0" y="0"/>'
        '<offset_point index="1" x="1" y="0"/></PointList></PlateMap>'
        f'</AutoLeadAcquisitionProtocol><Images number="{len(images)}">{"".join(images)}</Images>'
        "</ImageStack>"
    )
    return "P1.xdce"


def cellvoyager(folder: Path, pixels: Pixels = plain, planes: int = 2) -> str:
    """Yokogawa CellVoyager: ``.wpi``, ``MeasurementData.mlf``, ``.mrf`` and ``.mes``."""
    schema = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'
    records = []
    for key in keys(planes):
        name = f"P1_{key.well}_T0001F{key.field:03}L01A01Z{key.z + 1:02}C{key.channel + 1:02}.tif"
        _tiff(folder / name, pixels(key))
        records.append(
            f'<bts:MeasurementRecord bts:Type="IMG" bts:Time="2020-01-01T00:00:00+00:00" '
            f'bts:Column="{key.column + 1}" bts:Row="{key.row + 1}" bts:TimePoint="1" '
            f'bts:FieldIndex="{key.field}" bts:ZIndex="{key.z + 1}" bts:TimelineIndex="1" '
            f'bts:ActionIndex="1" bts:X="0.0" bts:Y="0.0" bts:Z="{key.z}.0" '
            f'bts:Ch="{key.channel + 1}">{name}</bts:MeasurementRecord>'
        )
    head = '<?xml version="1.0" encoding="utf-8"?>'
    records.append(
        '<bts:MeasurementRecord bts:Type="ERR" bts:Time="2020-01-01T00:00:00+00:00" '
        'bts:Column="1" bts:Row="1" bts:TimePoint="1">no focus</bts:MeasurementRecord>'
    )
    (folder / "MeasurementData.mlf").write_text(
        f'{head}<bts:MeasurementData bts:Version="1.0" {schema}>{"".join(records)}'
        "</bts:MeasurementData>"
    )
    channels = "".join(
        f'<bts:MeasurementChannel bts:Ch="{n}" bts:HorizontalPixelDimension="0.6" '
        f'bts:VerticalPixelDimension="0.6" bts:CameraNumber="{n}" bts:InputBitDepth="16" '
        f'bts:ShadingCorrectionSource=""/>'
        for n in (1, 2)
    )
    (folder / "MeasurementDetail.mrf").write_text(
        f'{head}<bts:MeasurementDetail bts:Version="1.0" {schema} '
        'bts:BeginTime="2020-01-01T00:00:00+00:00" bts:EndTime="2020-01-01T01:00:00+00:00" '
        f'bts:MeasurementSettingFileName="S.mes" bts:TargetSystem="CV7000">{channels}'
        "</bts:MeasurementDetail>"
    )
    settings = "".join(
        f'<bts:Channel bts:Ch="{n}" bts:Target="{name}" bts:Binning="1"/>'
        for n, name in enumerate(CHANNELS, start=1)
    )
    (folder / "S.mes").write_text(
        f'{head}<bts:MeasurementSetting bts:Version="1.0" {schema}><bts:TimelineList>'
        '<bts:Timeline bts:Name="1"><bts:ActionList><bts:ActionAcquire3D><bts:Ch>1</bts:Ch>'
        "<bts:Ch>2</bts:Ch></bts:ActionAcquire3D></bts:ActionList></bts:Timeline>"
        f"</bts:TimelineList><bts:ChannelList>{settings}"
        "</bts:ChannelList></bts:MeasurementSetting>"
    )
    (folder / "P1.wpi").write_text(
        f'{head}<bts:WellPlate bts:Version="1.0" bts:Name="P1" bts:ProductID="x" bts:Rows="8" '
        f'bts:Columns="12" {schema}/>'
    )
    return "P1.wpi"


def scanr(folder: Path, pixels: Pixels = plain, planes: int = 2) -> str:
    """Olympus ScanR: ``experiment_descriptor.xml`` and ``data``; 12-bit grey levels."""
    for key in keys(planes):
        number = key.row * 12 + key.column + 1
        name = (
            f"{key.well[0]}{key.column + 1}--W{number:05}--P{key.field:05}--Z{key.z:05}"
            f"--T00000--{CHANNELS[key.channel]}.tif"
        )
        software = "National Instruments IMAQ"
        _tiff(folder / "data" / name, pixels(key), software=software)

    def value(name: str, *texts: object) -> str:
        values = "".join(f"<Val>{text}</Val>" for text in texts)
        return f"<String><Name>{name}</Name>{values}</String>"

    channels = "".join(
        f"<Cluster>{value('name', name)}{value('exposure time', 10)}{value('idle', 0)}</Cluster>"
        for name in CHANNELS
    )
    wells = "".join(
        value("well selection table + cDNA", row * 12 + column + 1)
        + value("well selection table + cDNA", f"{'AB'[row]}{column + 1}")
        for row, column in product(range(ROWS), range(COLUMNS))
    )
    (folder / "experiment_descriptor.xml").write_text(
        "<LVData><Cluster><Name>format typedef</Name><I32><Name>Rows</Name><Val>8</Val></I32>"
        "<I32><Name>Columns</Name><Val>12</Val></I32></Cluster>"
        f"{value('plate name', 'P1 µ')}{value('columns/well', 2)}{value('rows/well', 1)}"
        f"{value('# slices', planes)}{value('timeloop real', 1)}{wells}{channels}</LVData>",
        encoding="latin-1",
    )
    return "experiment_descriptor.xml"


def companion(folder: Path, pixels: Pixels = plain, planes: int = 2) -> str:
    """OME-TIFF with a ``.companion.ome``."""
    wells, images = [], []
    for row, column in product(range(ROWS), range(COLUMNS)):
        samples = ""
        for field in (1, 2):
            number = (row * COLUMNS + column) * 2 + field - 1
            samples += (
                f'<WellSample ID="WellSample:0:{row}:{number}" Index="{number}">'
                f'<ImageRef ID="Image:{number}"/></WellSample>'
            )
            data = ""
            for channel, z in product(range(2), range(planes)):
                key = Key(row, column, field, channel, z)
                name = f"{key.well}_{field}_{channel}_{z}.tiff"
                image = pixels(key)
                _tiff(folder / name, image)
                data += (
                    f'<TiffData FirstC="{channel}" FirstZ="{z}" FirstT="0" IFD="0" PlaneCount="1">'
                    f'<UUID FileName="{name}">{uuid5(NAMESPACE_URL, name).urn}</UUID></TiffData>'
                )
            chans = "".join(
                f'<Channel ID="Channel:{number}:{n}" Name="{name}" SamplesPerPixel="1"/>'
                for n, name in enumerate(CHANNELS)
            )
            images.append(
                f'<Image ID="Image:{number}" Name="x"><Pixels ID="Pixels:{number}" '
                f'DimensionOrder="XYZCT" Type="uint16" SizeX="{image.shape[1]}" '
                f'SizeY="{image.shape[0]}" SizeZ="{planes}" SizeC="2" SizeT="1" '
                f'BigEndian="false">{chans}{data}</Pixels></Image>'
            )
        wells.append(
            f'<Well ID="Well:0:{row * COLUMNS + column}" Row="{row}" Column="{column}">'
            f"{samples}</Well>"
        )
    (folder / "P1.companion.ome").write_text(
        '<?xml version="1.0" encoding="UTF-8"?><OME '
        'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'
        f'<Plate ID="Plate:0" Name="P1" Rows="8" Columns="12">{"".join(wells)}</Plate>'
        f"{''.join(images)}</OME>"
    )
    return "P1.companion.ome"


WRITERS = {
    "Harmony": harmony,
    "Columbus": columbus,
    "MetaXpress": metaxpress,
    "IN Cell": incell,
    "CellVoyager": cellvoyager,
    "ScanR": scanr,
    "companion OME": companion,
}
