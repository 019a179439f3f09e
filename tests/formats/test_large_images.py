"""Rectangles of large images: TIFF of every layout, OME-Zarr, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from idrstream.config import DownloadSettings
from idrstream.download.downloader import TransportDownloader
from idrstream.download.large import LargeImages
from idrstream.download.transports.local import LocalTransport
from idrstream.errors import DownloadError, MovieError
from idrstream.formats.large.image import LargeImage
from idrstream.records import Box, ImageTask

Pixels = NDArray[Any]


def open_image(path: Path, *, z: int | None = None) -> LargeImage:
    """Open an image as a stream does."""
    images = LargeImages(TransportDownloader(LocalTransport(path.parent)), z=z)
    return images.open(ImageTask("P", "A1", 1, (1,), metadata={"Path": str(path)}))


def two_channels(seed: int = 0, shape: tuple[int, int] = (300, 410)) -> Pixels:
    return np.random.default_rng(seed).integers(0, 4000, (2, *shape)).astype(np.uint16)


def tiled(path: Path, pixels: Pixels, **options: Any) -> None:
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None, **options)


def pyramid(path: Path, pixels: Pixels) -> None:
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as writer:
        options: dict[str, Any] = {"photometric": "minisblack", "tile": (64, 64)}
        names = {"axes": "CYX", "Channel": {"Name": ["DNA", "ER"]}, "PhysicalSizeX": 325.0,
                 "PhysicalSizeXUnit": "nm"}  # fmt: skip
        writer.write(pixels, subifds=2, metadata=names, compression="zlib", **options)
        for step in (2, 4):
            writer.write(
                np.ascontiguousarray(pixels[:, ::step, ::step]),
                subfiletype=1,
                metadata=None,
                **options,
            )


def old_pyramid(path: Path, pixels: Pixels) -> None:
    with tifffile.TiffWriter(path) as writer:
        for channel in pixels:
            writer.write(channel, tile=(64, 64), photometric="minisblack", metadata=None)
        writer.write(pixels[0, ::2, ::2], tile=(64, 64), subfiletype=1, metadata=None)


def by_planes(path: Path, pixels: Pixels) -> None:
    """Two z-planes; the second is the one of the pixels, and channels change slowest."""
    stack = np.stack([np.zeros_like(pixels), pixels], axis=1)  # c, z
    tifffile.imwrite(
        path, stack, ome=True, photometric="minisblack", tile=(64, 64), metadata={"axes": "CZYX"}
    )


def zarr_image(path: Path, pixels: Pixels, **options: Any) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=options.pop("zarr_format", 3))
    array: Any = group.create_array(
        "0", shape=(1, 2, 1, *pixels.shape[1:]), dtype="uint16", **options
    )
    array[0, :, 0] = pixels
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = {"type": "scale", "scale": [1.0, 1.0, 1.0, 0.325, 0.325]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    ome = {
        "version": "0.5" if group.metadata.zarr_format == 3 else "0.4",
        "multiscales": [{"axes": axes, "datasets": datasets}],
        "omero": {"channels": [{"label": "DNA"}, {"label": "ER"}]},
    }
    group.attrs.update({"ome": ome} if group.metadata.zarr_format == 3 else ome)


LAYOUTS: dict[str, Callable[[Path, Pixels], None]] = {
    "tiles.tif": lambda p, a: tiled(p, a, tile=(64, 48)),
    "packed_tiles.tif": lambda p, a: tiled(p, a, tile=(64, 48), compression="zlib", predictor=True),
    "big_endian.tif": lambda p, a: tiled(p, a, byteorder=">", rowsperstrip=7),
    "big.btf": lambda p, a: tiled(p, a, tile=(128, 128), bigtiff=True, compression="zstd"),
    "strips.tif": lambda p, a: tiled(p, a, rowsperstrip=16),
    "one_strip.tif": lambda p, a: tiled(p, a, rowsperstrip=300),
    "packed_strips.tif": lambda p, a: tiled(p, a, rowsperstrip=16, compression="lzw"),
    "planar.tif": lambda p, a: tifffile.imwrite(
        p, a, photometric="minisblack", planarconfig="separate", tile=(64, 64), metadata=None
    ),
    "interleaved.tif": lambda p, a: tifffile.imwrite(
        p, np.ascontiguousarray(a.transpose(1, 2, 0)), photometric="minisblack",
        planarconfig="contig", tile=(64, 64), compression="zlib", metadata=None,
    ),
    "pyramid.ome.tif": pyramid,
    "old_pyramid.tif": old_pyramid,
    "planes.ome.tif": by_planes,
    "v3.ome.zarr": lambda p, a: zarr_image(p, a, chunks=(1, 1, 1, 64, 80)),
    "v2.ome.zarr": lambda p, a: zarr_image(p, a, chunks=(1, 2, 1, 64, 80), zarr_format=2),
    "shards.ome.zarr": lambda p, a: zarr_image(
        p, a, chunks=(1, 1, 1, 32, 32), shards=(1, 1, 1, 128, 128)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_rectangles_of_every_layout_are_those_of_the_image(tmp_path: Path, name: str) -> None:
    pixels = two_channels()
    LAYOUTS[name](tmp_path / name, pixels)
    image = open_image(tmp_path / name, z=1 if name.startswith("planes") else None)
    assert image.info.shape == pixels.shape[1:]
    assert len(image.info.channels) == 2
    for box in (
        Box(0, 0, 300, 410),
        Box(13, 5, 14, 6),
        Box(63, 47, 200, 320),
        Box(250, 400, 300, 410),
    ):
        wanted = pixels[[1, 0]][:, box.top : box.bottom, box.left : box.right]
        for alone in (None, box, Box(100, 100, 110, 110)):
            found = image.read([1, 0], box, alone)
            assert found.dtype == np.uint16
            assert np.array_equal(found, wanted), (box, alone)
    image.close()


@pytest.mark.parametrize("name", ["pyramid.ome.tif", "v3.ome.zarr", "v2.ome.zarr"])
def test_channels_have_names_and_pixels_a_size(tmp_path: Path, name: str) -> None:
    LAYOUTS[name](tmp_path / name, two_channels())
    info = open_image(tmp_path / name).info
    assert info.channels == ("DNA", "ER")
    assert info.pixel_um == pytest.approx(0.325)
    assert [info.channel(key, name) for key in ("dna", "ER", "0", "1")] == [0, 1, 0, 1]
    for key in ("2", "AGP", ""):
        with pytest.raises(MovieError, match="0=DNA, 1=ER"):
            info.channel(key, name)


def test_only_the_chunks_of_a_rectangle_are_read_and_shared_ones_once(tmp_path: Path) -> None:
    pixels = two_channels(shape=(1024, 1024))
    tiled(tmp_path / "a.tif", pixels, tile=(64, 64))
    image = open_image(tmp_path / "a.tif")
    before = image.bytes_moved
    image.read([0], Box(0, 0, 100, 100), Box(0, 0, 64, 64))
    assert image.bytes_moved - before <= 4 * 64 * 64 * 2 + 2 * 160 * 1024  # and gaps between
    before = image.bytes_moved
    found = image.read([0], Box(64, 64, 128, 128))
    assert image.bytes_moved == before
    assert np.array_equal(found[0], pixels[0, 64:128, 64:128])


def test_tiles_that_were_never_written_are_zeros_and_cost_nothing(tmp_path: Path) -> None:
    from idrstream.simulate.slide import SlideSpec, slide_region, write_slide

    spec = SlideSpec(600, 700, channels=40, empty=0.5)
    image = open_image(write_slide(tmp_path / "a.ome.tif", spec))
    assert image.info.channels[0] == "DNA"
    assert len(image.info.channels) == 40
    pixels, labels = slide_region(spec, Box(100, 50, 480, 600))
    assert labels.max() > 0
    found = image.read([0, 39], Box(100, 50, 480, 600))
    assert np.array_equal(found[0], pixels)
    assert not found[1].any()
    before = image.bytes_moved
    image.read([17], Box(0, 0, 600, 700))
    assert image.bytes_moved - before < 128 * 1024  # its directory


def test_a_missing_chunk_of_zarr_is_its_fill_value(tmp_path: Path) -> None:
    zarr_image(tmp_path / "a.zarr", two_channels(), chunks=(1, 1, 1, 64, 80))
    (tmp_path / "a.zarr/0/c/0/0/0/1/1").unlink()
    found = open_image(tmp_path / "a.zarr").read([0], Box(64, 80, 128, 160))
    assert not found.any()


PIXELS_OF_9999_CHANNELS = (
    '<OME><Image><Pixels DimensionOrder="XYCZT" Type="uint8" SizeX="9" SizeY="9" SizeC="9999" '
    'SizeZ="1" SizeT="1"/></Image></OME>'
)


def ome(path: Path, text: str) -> Path:
    tifffile.imwrite(path, np.zeros((8, 8), np.uint16), description=text, metadata=None)
    return path


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("text.tif", lambda p: p.write_text("no image"), "no TIFF"),
        ("empty.tif", lambda p: p.write_bytes(b""), "no TIFF|cannot be read"),
        ("float.tif", lambda p: tiled(p, np.zeros((8, 8), np.float32)), "float32"),
        (
            "times.ome.tif",
            lambda p: tifffile.imwrite(
                p, np.zeros((3, 8, 8), "u2"), ome=True, metadata={"axes": "TYX"}
            ),
            "3 time points",
        ),
        ("planes.ome.tif", lambda p: by_planes(p, two_channels()), "set z"),
        (
            "bomb.ome.tif",
            lambda p: ome(p, '<!DOCTYPE a [<!ENTITY b "c">]><OME><Pixels SizeC="1"/></OME>'),
            "document type",
        ),
        ("broken.ome.tif", lambda p: ome(p, "<OME><Pixels"), "OME-XML"),
        ("huge.ome.tif", lambda p: ome(p, PIXELS_OF_9999_CHANNELS), "9999 channels"),
        ("none.zarr", lambda p: p.mkdir(), "no OME-Zarr"),
        ("plain.zarr", lambda p: zarr.open_group(p, mode="w"), "no OME-Zarr"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_its_name(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises((MovieError, DownloadError), match=message) as caught:
        open_image(tmp_path / name)
    assert name in str(caught.value)


def test_a_truncated_file_fails_where_its_bytes_lack(tmp_path: Path) -> None:
    tiled(tmp_path / "a.tif", two_channels(), tile=(64, 64))
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(MovieError, match=r"a\.tif"):
        open_image(tmp_path / "a.tif").read([1], Box(250, 350, 300, 410))


def test_a_damaged_tile_is_an_error_of_the_image(tmp_path: Path) -> None:
    tiled(tmp_path / "a.tif", two_channels(), tile=(64, 64), compression="zlib")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[5000:5600] = bytes(600)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(MovieError, match=r"a\.tif"):
        open_image(tmp_path / "a.tif").read([0, 1], Box(0, 0, 300, 410))


def test_images_over_a_limit_of_open_ones_are_opened_again(tmp_path: Path) -> None:
    images = LargeImages(TransportDownloader(LocalTransport(tmp_path), settings=DownloadSettings()))
    for number in range(6):
        tiled(tmp_path / f"{number}.tif", two_channels(number), tile=(64, 64))
    for number in (0, 1, 2, 3, 4, 5, 0):
        task = ImageTask("P", "A1", 1, (1,), metadata={"Path": str(tmp_path / f"{number}.tif")})
        found = images.open(task).read([0], Box(0, 0, 9, 9))
        assert np.array_equal(found[0], two_channels(number)[0, :9, :9])
    images.close()
