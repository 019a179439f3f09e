"""Large images where they are: ranges over HTTP and S3, only the tiles needed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from idrstream.config import DownloadSettings
from idrstream.download.downloader import TransportDownloader
from idrstream.download.large import LargeImages, ReferenceDownloader
from idrstream.download.transports.local import LocalTransport
from idrstream.errors import DownloadError, RemoteFileNotFoundError
from idrstream.records import Box, ImageTask
from idrstream.simulate.slide import SlideSpec, slide_region, write_slide

SPEC = SlideSpec(1100, 1300, channels=5, empty=0.0)
BOX = Box(300, 520, 700, 900)
Put = Callable[[str, bytes], str]


@pytest.fixture(scope="module")
def slide(tmp_path_factory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slide") / "a.ome.tif", SPEC)


@pytest.fixture(params=["http", "s3"])
def put(request) -> Put:
    """Put a file on a server and return its address."""
    served = request.getfixturevalue("web" if request.param == "http" else "bucket")

    def put_there(path: str, content: bytes) -> str:
        served.put(path, content)
        if request.param == "http":
            return f"{served.address}{path}"
        return f"s3://{served.bucket}/{path}"

    return put_there


@pytest.fixture
def images(tmp_path, request) -> LargeImages:
    endpoint = {}
    if "s3" in request.node.name:
        server = request.getfixturevalue("bucket").address
        endpoint = {"s3_endpoint": server, "omezarr_endpoint_url": server, "s3_anonymous": True}
    settings = DownloadSettings(**endpoint)
    return LargeImages(TransportDownloader(LocalTransport(tmp_path), settings=settings))


def task_of(address: str) -> ImageTask:
    return ImageTask("P", "A1", 1, (1,), metadata={"URL": address})


def test_of_a_tiff_only_the_tiles_needed_are_moved(slide: Path, put: Put, images) -> None:
    address = put("large/a.ome.tif", slide.read_bytes())
    image = images.open(task_of(address))
    pixels, _ = slide_region(SPEC, BOX)
    before = image.bytes_moved
    assert before < 300_000  # directories of the file
    assert np.array_equal(image.read([0], BOX)[0], pixels)
    # 6 of 30 tiles, their gaps and the directory of the channel.
    assert image.bytes_moved - before < slide.stat().st_size / 2
    assert images.open(task_of(address)) is image


def test_of_ome_zarr_only_the_chunks_needed_are_moved(tmp_path, put: Put, images) -> None:
    pixels, _ = slide_region(SPEC, Box(0, 0, SPEC.height, SPEC.width))
    group = zarr.open_group(tmp_path / "b.zarr", mode="w")
    array = group.create_array("0", shape=(2, *pixels.shape), chunks=(1, 256, 256), dtype="uint16")
    array[0] = pixels
    array[1] = 7
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space"} for n in "yx")]
    multiscale = {"axes": axes, "datasets": [{"path": "0"}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    address = ""
    for path in sorted((tmp_path / "b.zarr").rglob("*")):
        if path.is_file():
            name = path.relative_to(tmp_path).as_posix()
            address = put(f"large/{name}", path.read_bytes()).removesuffix(name) + "b.zarr"
    image = images.open(task_of(address))
    before = image.bytes_moved
    assert np.array_equal(image.read([0], BOX)[0], pixels[BOX.slices])
    stored = sum(p.stat().st_size for p in (tmp_path / "b.zarr/0/c/0").rglob("*") if p.is_file())
    assert image.bytes_moved - before < stored / 2


def test_an_image_that_is_not_there_is_an_error_of_it(put: Put, images) -> None:
    address = put("large/c.ome.tif", b"x").replace("c.ome", "d.ome")
    with pytest.raises(RemoteFileNotFoundError, match=r"d\.ome\.tif"):
        images.open(task_of(address))


def test_a_server_without_ranges_is_told(slide: Path, web, tmp_path) -> None:
    web.put("whole/a.ome.tif", slide.read_bytes())
    images = LargeImages(TransportDownloader(LocalTransport(tmp_path)))
    with pytest.raises(DownloadError, match="range"):
        images.open(task_of(f"{web.address}norange/whole/a.ome.tif"))


def test_what_stands_for_an_image_on_the_disk_is_its_address(slide: Path, tmp_path) -> None:
    downloader = ReferenceDownloader(TransportDownloader(LocalTransport(slide.parent)))
    task = ImageTask("P", "A1", 1, (1,), metadata={"Path": str(slide)})
    movie = downloader.download(task, tmp_path / "movies")
    assert movie.path.read_text().strip() == slide.as_uri()
    assert downloader.size(task) == movie.size_bytes == movie.path.stat().st_size
