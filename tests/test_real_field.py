"""A field of five channels gives the same features, however it is stored and served."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import tifffile
from local_servers import nginx, s3
from movie_files import write_ch5
from plates import Key, companion, number_of
from scipy import ndimage
from tiff_files import write_ome_set

from idrstream import IdrStream, make_downloader, table_from_files
from idrstream.config import DownloadSettings
from idrstream.demo import config_for
from idrstream.errors import MovieError
from idrstream.formats.tiff import TiffReader
from idrstream.profile import FeatureEngine
from idrstream.records import Features, ImageTask
from idrstream.segment import Segmentor, objects_in

CHANNELS = ("ER", "RNA", "AGP", "DNA", "Mito")
WELLS = {"C3": 51, "D4": 76}  # as they count on a plate of 384 wells
FORMS = ("files", "zarr 0.4", "zarr 0.5", "OME-TIFF", "OME-TIFF set", "CellH5")


class Stored(NamedTuple):
    """Fields of shape (c, y, x) by well, in all forms in one folder."""

    folder: Path
    fields: dict[str, list[np.ndarray]]


def phenix_name(well: str, field: int, channel: int) -> str:
    row, column = "ABCDEFGH".index(well[0]) + 1, int(well[1:])
    return f"r{row:02}c{column:02}f{field:02}p01-ch{channel}sk1fk1fl1.tiff"


def store(folder: Path, fields: dict[str, list[np.ndarray]]) -> Stored:
    (folder / "plate").mkdir(parents=True)
    for well, of_well in fields.items():
        movies = [pixels[:, None, None] for pixels in of_well]
        with tifffile.TiffWriter(folder / f"{well}.ome.tif", ome=True) as file:
            for movie in movies:
                file.write(
                    movie, metadata={"axes": "CTZYX", "Channel": {"Name": list(CHANNELS)}},
                    photometric="minisblack", compression="zlib",
                )  # fmt: skip
        for field, movie in enumerate(movies, start=1):
            for channel, pixels in enumerate(movie[:, 0, 0], start=1):
                name = phenix_name(well, field, channel)
                tifffile.imwrite(folder / "plate" / name, pixels, compression="zlib")
            below = folder / f"{well} field {field}"
            below.mkdir()
            write_ome_set(below, movie, CHANNELS)
            write_ch5(folder / f"{well}_{field}.ch5", movie)
    for zarr_format, version in ((2, "0.4"), (3, "0.5")):
        write_plate(folder / f"{version}.zarr", fields, zarr_format, version)
    return Stored(folder, fields)


def write_plate(folder: Path, fields: dict[str, list[np.ndarray]], zarr_format: int, version: str):
    zarr = pytest.importorskip("zarr", minversion="3")

    def group(path: str, attributes: dict[str, object]) -> None:
        made = zarr.open_group(str(folder / path), mode="a", zarr_format=zarr_format)
        made.attrs.update(
            attributes if zarr_format == 2 else {"ome": {"version": version, **attributes}}
        )

    wells = [
        {"path": f"{well[0]}/{well[1:]}", "rowIndex": number, "columnIndex": number}
        for number, well in enumerate(fields)
    ]
    rows, columns = ([{"name": name} for name in names] for names in zip(*fields, strict=True))
    group("", {"plate": {"rows": rows, "columns": columns, "wells": wells, "version": version}})
    axes = [
        {"name": name, "type": kind}
        for name, kind in (("c", "channel"), ("y", "space"), ("x", "space"))
    ]
    scale = [{"type": "scale", "scale": [1, 1, 1]}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    for well, of_well in fields.items():
        path = f"{well[0]}/{well[1:]}"
        group(path, {"well": {"images": [{"path": str(n)} for n in range(len(of_well))]}})
        for number, pixels in enumerate(of_well):
            image = f"{path}/{number}"
            shown = {"channels": [{"label": name, "color": "FFFFFF"} for name in CHANNELS]}
            many = [{"version": version, "axes": axes, "datasets": levels}]
            group(image, {"multiscales": many, "omero": shown})
            keys = {"name": "v2" if zarr_format == 2 else "default", "separator": "/"}
            array = zarr.create_array(
                str(folder / image / "0"), shape=pixels.shape, dtype=pixels.dtype,
                chunks=(1, 128, 128), zarr_format=zarr_format, chunk_key_encoding=keys,
            )  # fmt: skip
            array[...] = pixels


def table_of(form: str, stored: Stored, address: str, settings: DownloadSettings) -> pd.DataFrame:
    """Return the table to process, as a user has it of such files; `address` ends with a slash."""
    if form == "files":
        named = [f"{name}={number}" for number, name in enumerate(CHANNELS, start=1)]
        table = table_from_files(f"{address}plate", settings=settings, channels=named)
        return table.assign(Plate="P1")
    names = {
        "zarr 0.4": "0.4.zarr", "zarr 0.5": "0.5.zarr", "OME-TIFF": "{well}.ome.tif",
        "OME-TIFF set": "{well} field {field}/set_c2_z0.ome.tif", "CellH5": "{well}_{field}.ch5",
    }  # fmt: skip
    rows = [
        {
            "Plate": "P1", "Well": well, "Well Number": WELLS[well], "Frames": "1", "Site": field,
            "Path": address + names[form].format(well=well, field=field),
            **({"Channel Names": ";".join(CHANNELS)} if form == "CellH5" else {}),
        }
        for well, fields in stored.fields.items()
        for field in range(1, len(fields) + 1)
    ]  # fmt: skip
    if address.startswith("http"):
        rows = [{**row, "Path": row["Path"].replace(" ", "%20")} for row in rows]
    return pd.DataFrame(rows)


@contextmanager
def served(kind: str, stored: Stored, home: Path):
    """Yield the address of the folder on a server, and settings for it."""
    if kind == "local":
        yield f"{stored.folder}/", DownloadSettings(method="local", root=str(stored.folder))
        return
    files = [path for path in stored.folder.rglob("*") if path.is_file()]
    names = {path: path.relative_to(stored.folder).as_posix() for path in files}
    if kind == "http":
        with nginx(home) as server:
            for path, name in names.items():
                (server.root / name).parent.mkdir(parents=True, exist_ok=True)
                copyfile(path, server.root / name)
            yield server.address, DownloadSettings()
        return
    with s3("fields") as server:
        for path, name in names.items():
            server.put(name, path.read_bytes())
        yield "s3://fields/", DownloadSettings(s3_endpoint=server.address)


def run(table, settings, folder: Path, segmentor, *, fails: bool = False, size=(96, 128), **engine):
    """Stream a table with all channels; return the table of its only batch, or the result."""
    folder.mkdir(parents=True)
    stream = IdrStream("x", folder / "tmp", folder / "out", log=folder / "log")
    stream.init_downloader(make_downloader(settings))
    named = [f"{name}={name.lower()}" for name in ("DNA", "Mito", "AGP", "RNA", "ER")]
    stream.init_preprocessor(None, False, image_channels=named)
    stream.init_segmentor(segmentor)
    stream.copy_DP_files(config_for(*size, folder), **engine)
    result = stream.run_stream(table, progress=False)
    stream.close()
    if fails:
        return result
    assert result.failures().empty, result.failures()["Reason"].tolist()
    return pd.read_csv(folder / "out" / "batch_0.csv.gz", index_col=0)


def synthetic() -> dict[str, list[np.ndarray]]:
    """Return two wells with two fields of some cells, of which each channel has its own light."""
    fields = {}
    y, x = np.mgrid[:96, :128]
    for number, well in enumerate(WELLS):
        fields[well] = []
        for field in range(2):
            random = np.random.default_rng(2 * number + field)
            image = np.full((5, 96, 128), 300.0)
            for row, column in random.uniform((15, 15), (80, 112), (6, 2)):
                light = np.exp(-((y - row) ** 2 + (x - column) ** 2) / 40)
                image += random.uniform(500, 9000, (5, 1, 1)) * light
            fields[well].append((image + random.normal(0, 9, image.shape)).astype(np.uint16))
    return fields


def nuclei_of(dna: np.ndarray) -> np.ndarray:
    smooth = ndimage.gaussian_filter(dna.astype(float), 2)
    return ndimage.label(smooth > np.quantile(smooth, 0.95))[0].astype(np.int32)


class OnDna(Segmentor):
    """Finds nuclei in one channel by a threshold."""

    channel = "DNA"

    def segment(self, frame, *, outlines=False):
        labels = nuclei_of(frame.plane(self.channel))
        return objects_in(labels, outlines=outlines, diameter_px=17.0, channel=self.channel)


def means(planes, labels: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    found = [ndimage.mean(plane, labels, numbers) for plane in planes]
    return np.stack(found, axis=1).astype(np.float32)


class Means(FeatureEngine):
    """The mean of each object in each channel."""

    columns = tuple(f"Intensity_MeanIntensity_{name}" for name in CHANNELS)

    def describe(self):
        return {"name": "means"}

    def profile(self, frames, objects):
        return [
            Features(of.name, self.columns, self.of_frame(frame, of))
            for frame, of in zip(frames, objects, strict=True)
        ]

    def of_frame(self, frame, objects):
        planes = [frame.plane(name) for name in CHANNELS]  # the stack has an order of its own
        return means(planes, objects.labels, objects.table["label"])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return store(tmp_path_factory.mktemp("small") / "fields", synthetic())


@pytest.mark.parametrize(
    ("kind", "forms"),
    [
        ("local", FORMS),
        ("http", ("files", "zarr 0.5", "OME-TIFF set")),
        ("s3", ("zarr 0.4", "OME-TIFF set")),
        pytest.param("http", FORMS, marks=pytest.mark.slow),
        pytest.param("s3", FORMS, marks=pytest.mark.slow),
    ],
)
def test_features_do_not_depend_on_the_file(small, kind, forms, tmp_path):
    """Of two wells with two fields each; each channel's are those of its own pixels."""
    found = {}
    with served(kind, small, tmp_path / "server") as (address, settings):
        for form in forms:
            table = table_of(form, small, address, settings)
            assert len(table) == 4
            found[form] = run(table, settings, tmp_path / form, OnDna(), engine=Means())
    check_same(found)
    (first, *_) = found.values()
    fields = [pixels for of_well in small.fields.values() for pixels in of_well]
    labels = [nuclei_of(pixels[CHANNELS.index("DNA")]) for pixels in fields]
    expected = [
        means(pixels, found, np.arange(1, found.max() + 1))
        for pixels, found in zip(fields, labels, strict=True)
    ]
    measured = first[list(Means.columns)].to_numpy()
    np.testing.assert_allclose(measured, np.concatenate(expected), rtol=1e-6)


def check_same(found: dict[str, pd.DataFrame]) -> None:
    (first, *others) = found.values()
    assert len(first) > 12
    for form, features in zip(list(found)[1:], others, strict=True):
        same = [name for name in first if not name.startswith("Metadata_Plate_")]
        pd.testing.assert_frame_equal(features[same], first[same], obj=form)


@pytest.fixture(scope="module")
def real(tmp_path_factory, shared_data):
    source = shared_data / "cellpainting" / "nyscf"
    if not source.is_dir():
        pytest.skip(f"no real field at {source}")
    names = [phenix_name("C3", 1, channel) for channel in range(1, 6)]
    pixels = np.stack([tifffile.imread(source / name) for name in names])
    made = store(tmp_path_factory.mktemp("real") / "fields", {"C3": [pixels]})
    for name in names:  # as the microscope wrote them
        copyfile(source / name, made.folder / "plate" / name)
    return made


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize(
    ("kind", "forms"),
    [("local", FORMS), ("http", ("files", "zarr 0.4", "OME-TIFF set")), ("s3", ("zarr 0.5",))],
)
def test_a_real_field_gives_the_same_features(real, kind, forms, tmp_path, reference):
    """With the shipped model of nuclei, and CellProfiler's measures of intensity."""
    pytest.importorskip("cp_measure")
    found = dict(reference)
    segment = {"model_type": "idrstream-nuclei", "diameter": 0, "segment_channel": "DNA"}
    engine = {"engines": ["classical"], "classical_features": ["intensity"]}
    with served(kind, real, tmp_path / "server") as (address, settings):
        for form in forms:
            table = table_of(form, real, address, settings)
            found[f"{form} of {kind}"] = run(
                table, settings, tmp_path / form, segment,
                size=real.fields["C3"][0].shape[1:], classical_processes=1, **engine,
            )  # fmt: skip
    reference.update(list(found.items())[:1])
    check_same(found)
    measured = [name for name in next(iter(found.values())) if "_MeanIntensity_" in name]
    assert len(measured) == len(CHANNELS)


@pytest.fixture(scope="module")
def reference():
    """The features that the first of the servers gave, for the others."""
    return {}


def test_of_a_set_only_the_files_that_are_needed_are_fetched(small, tmp_path):
    """In any order of files; one that is missing is told, and a name that leads away refused."""
    task = ImageTask("P1", "C3", 51, (1,), 1, {"Path": "set_c4_z0.ome.tif"})
    for wanted, names in ((None, "01234"), ([("DNA", "dna")], "34"), ([("x", "4")], "4")):
        source = make_downloader(method="local", root=small.folder / "C3 field 1")
        source.limit_to(None, channels=wanted)
        movie = source.download(task, tmp_path / names)
        there = list(movie.path.parent.glob("*.tif"))
        assert sorted(path.name[-12] for path in there) == list(names)
        assert movie.bytes_moved == sum(path.stat().st_size for path in there)


def test_of_a_companion_of_a_plate_the_files_of_one_field_are_fetched(tmp_path):
    (tmp_path / "plate").mkdir()
    name = companion(tmp_path / "plate", lambda key: np.full((16, 16), 1 + number_of(key), "u2"))
    source = make_downloader(method="local", root=tmp_path / "plate")
    source.limit_to(None, channels=[("A", "1")], z=1)
    task = ImageTask("P1", "A2", 2, (1,), site=4, metadata={"Path": name})
    movie = source.download(task, tmp_path / "new")
    there = {path.name for path in (tmp_path / "new").iterdir() if path.suffix != ".json"}
    assert there == {movie.path.name, "A02_2_1_1.tiff"}
    pixels = TiffReader(channel=1, z=1).at(site=4).read(movie.path, [1])[1]
    assert np.all(pixels == 1 + number_of(Key(0, 1, 2, 1, 1)))


def test_files_of_a_set_that_are_missing_or_elsewhere(small, tmp_path):
    movie = np.stack(small.fields["C3"][0])[:, None, None]
    settings = DownloadSettings(method="local", root=str(tmp_path))
    files = write_ome_set(tmp_path, movie, CHANNELS)
    files[3].unlink()
    table = table_of("CellH5", small, "", settings).iloc[:2].assign(Path=files[0].name)
    table.loc[1, "Path"] = f"{small.folder}/D4 field 1/set_c0_z0.ome.tif"
    result = run(table, settings, tmp_path / "missing", OnDna(), fails=True, engine=Means())
    (reason,) = result.failures()["Reason"]
    assert "set_c3_z0.ome.tif" in reason
    assert "not beside it" in reason
    away = tmp_path / "away"
    away.mkdir()
    name = write_ome_set(away, movie, CHANNELS)[0]
    name.write_bytes(name.read_bytes().replace(b"set_c1_z0.ome.tif", b"../../etc/passwd0"))
    source = make_downloader(method="local", root=away)
    task = ImageTask("P1", "C3", 51, (1,), 1, {"Path": name.name})
    with pytest.raises(MovieError, match=r"'\.\./\.\./etc/passwd0', which is no file"):
        source.download(task, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.tif"))
