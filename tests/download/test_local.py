from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from idrstream.config import DownloadSettings
from idrstream.download import (
    Downloader,
    LocalTransport,
    Transport,
    TransportDownloader,
    as_downloader,
    make_downloader,
)
from idrstream.download.omezarr._store import Store
from idrstream.download.transports.local import path_from_address
from idrstream.errors import (
    ConfigError,
    DownloadError,
    IncompleteFileError,
    MovieError,
    TransientDownloadError,
)
from idrstream.records import ImageTask, Movie

SCREEN = "LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3"
STUDY = "idr0013-neumann-mitocheck"
HDF5 = f"20150916-mitocheck-analysis/mitocheck/{SCREEN}/hdf5"


def local(root: Path | str, screens_path: Path | None = None) -> TransportDownloader:
    return make_downloader(method="local", root=root, screens_path=screens_path, sidecar=False)


@pytest.fixture
def mirror(tmp_path, movie_bytes) -> Path:
    """A mirror with well 4 of a plate, in a folder with a blank and a percent sign."""
    root = tmp_path / "my 100% mirror"
    folder = root / STUDY / HDF5
    folder.mkdir(parents=True)
    (folder / "00004_01.ch5").write_bytes(movie_bytes)
    return root


@pytest.mark.parametrize("below", ["", STUDY])
@pytest.mark.parametrize("with_plates", [True, False])
def test_root_above_or_at_the_study(
    mirror, below, with_plates, plates, task, tmp_path, movie_bytes
):
    downloader = local(mirror / below, plates if with_plates else None)
    assert isinstance(downloader, Downloader)
    movie = downloader.download(task, tmp_path / "new" / "LT0001_02")
    assert movie.path == tmp_path / "new" / "LT0001_02" / "00004_01.ch5"
    assert movie.path.read_bytes() == movie_bytes
    assert movie.size_bytes == len(movie_bytes)
    assert movie.source.startswith("local: ")
    assert list(movie.path.parent.iterdir()) == [movie.path]


def test_an_address_as_root(mirror, tmp_path, task, movie_bytes):
    address = mirror.as_uri()
    assert "%20" in address
    path = local(address).download(task, tmp_path / "out").path
    assert path.read_bytes() == movie_bytes


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/a/b c%20d", "/a/b c%20d"),
        ("file:///a/b%20c", "/a/b c"),
        ("file://localhost/a/b", "/a/b"),
        ("file:///a/what%3F#x?y", "/a/what?#x?y"),
        ("file:///a/%E2%82%AC", "/a/€"),
    ],
)
def test_addresses(address, path):
    assert path_from_address(address) == Path(path)


@pytest.mark.parametrize("address", ["https://ftp.ebi.ac.uk/pub", "file://server/share"])
def test_addresses_of_other_machines(address):
    with pytest.raises(ConfigError, match="on this machine"):
        local(address)


def test_real_folder(shared_data, tmp_path, task):
    for plates in (None, shared_data / "idr" / "idr0013-screenA-plates.tsv"):
        downloader = local(shared_data / "movies", plates)
        movie = downloader.download(task, tmp_path)
        assert movie.size_bytes == 551207
        with pytest.raises(DownloadError, match=r"there is no file .*00005_01\.ch5"):
            downloader.download(ImageTask("LT0001_02", "A5", 5, (1,)), tmp_path)


def test_missing_root_study_and_plate(tmp_path, mirror, task):
    with pytest.raises(ConfigError, match=r"no folder .*nowhere"):
        local(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=f"tried .*{STUDY}/2015.* and .*empty/2015"):
        local(tmp_path / "empty").download(task, tmp_path)
    unknown = ImageTask("LT0001", "A4", 4, (1,))
    with pytest.raises(DownloadError, match=r"one folder named LT0001 or LT0001--.* found none"):
        local(mirror).download(unknown, tmp_path)
    with pytest.raises(DownloadError, match="path separator"):
        local(mirror).download(ImageTask("../x", "A4", 4, (1,)), tmp_path)


def test_two_folders_of_a_plate_need_the_plates_file(mirror, task, tmp_path, plates):
    (mirror / STUDY / "20150916-mitocheck-analysis/mitocheck/LT0001_02--other").mkdir()
    with pytest.raises(
        DownloadError, match=r"found .*LT0001_02--ex.*, .*--other; give the study's"
    ):
        local(mirror).download(task, tmp_path)
    assert local(mirror, plates).download(task, tmp_path / "o").path.exists()


def test_screen_b_folders_are_found(tmp_path, movie_bytes):
    folder = tmp_path / "m/20150916-mitocheck-analysis/analysis/mitocheck/PB/hdf5"
    folder.mkdir(parents=True)
    (folder / "00001_01.ch5").write_bytes(movie_bytes)
    movie = local(tmp_path / "m").download(ImageTask("PB", "A1", 1, (1,)), tmp_path)
    assert movie.path.read_bytes() == movie_bytes


@pytest.mark.parametrize(
    "metadata",
    [
        {"Path": f"{STUDY}/{HDF5}/00004_01.ch5"},
        {"Path": f"/uod/idr/filesets/{STUDY}/{HDF5}/00004_01.ch5"},
        {"URL": "FILE"},
        {"Path": "ABSOLUTE"},
    ],
)
def test_path_and_url_columns(mirror, metadata, tmp_path, movie_bytes):
    file = mirror / STUDY / HDF5 / "00004_01.ch5"
    metadata = {
        column: file.as_uri() if text == "FILE" else str(file) if text == "ABSOLUTE" else text
        for column, text in metadata.items()
    }
    any_task = ImageTask("any plate", "B1", 25, (1,), site=2, metadata=metadata)
    movie = local(mirror).download(any_task, tmp_path / "out")
    assert movie.path.name == "00025_02_00004_01.ch5"
    assert movie.path.read_bytes() == movie_bytes


def test_archive_paths_with_the_study_as_root(mirror, tmp_path):
    metadata = {"Path": f"/uod/idr/filesets/{STUDY}/{HDF5}/00004_01.ch5"}
    any_task = ImageTask("p", "A1", 1, (1,), metadata=metadata)
    assert local(mirror / STUDY).download(any_task, tmp_path).path.exists()


def test_bad_columns(mirror, tmp_path):
    task = ImageTask("p", "A1", 1, (1,), metadata={"URL": "gopher://example.org/x.ch5"})
    with pytest.raises(DownloadError, match="plate p well A1: column URL"):
        local(mirror).download(task, tmp_path)
    task = ImageTask("p", "A1", 1, (1,), metadata={"Path": "../secret.ch5"})
    with pytest.raises(DownloadError, match="leads out of"):
        local(mirror).download(task, tmp_path)


def test_a_movie_cut_off_in_the_mirror_is_refused_at_once(mirror, task, tmp_path, movie_bytes):
    file = mirror / STUDY / HDF5 / "00004_01.ch5"
    file.write_bytes(movie_bytes[:-100])
    with pytest.raises(IncompleteFileError, match="truncated"):
        local(mirror).download(task, tmp_path / "out")
    file.write_bytes(b"<html>404</html>")
    with pytest.raises(MovieError, match="error page"):
        local(mirror).download(task, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


class Failing:
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, *_args) -> None:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ESTALE, TransientDownloadError),
        (errno.EIO, TransientDownloadError),
        (errno.EACCES, DownloadError),
    ],
)
def test_system_errors(tmp_path, monkeypatch, number, kind):
    (tmp_path / "x").write_bytes(b"abc")
    (tmp_path / "out").mkdir()
    slept: list[float] = []
    settings = DownloadSettings(download_attempts=3)
    transport = LocalTransport(tmp_path, settings, sleep=slept.append)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", Failing(number))
        with pytest.raises(DownloadError, match=os.strerror(number)) as caught:
            transport.fetch("x", tmp_path / "out" / "x")
    assert type(caught.value) is kind
    assert len(slept) == (2 if kind is TransientDownloadError else 0)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_source_that_grows_meanwhile(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"abc")
    (tmp_path / "out").mkdir()
    look = os.fstat

    def grow(descriptor: int) -> os.stat_result:
        with (tmp_path / "x").open("ab") as file:
            file.write(b"more")
        return look(descriptor)

    monkeypatch.setattr(os, "fstat", grow)
    with pytest.raises(TransientDownloadError, match="still being written"):
        LocalTransport(tmp_path, sleep=lambda _: None).fetch("x", tmp_path / "out" / "x")
    assert list((tmp_path / "out").iterdir()) == []


def test_transport_with_any_locator(tmp_path, task, movie_bytes):
    class Anywhere:
        def movie_path(self, task: ImageTask) -> str:
            return f"some/{task.well}.ch5"

    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "A4.ch5").write_bytes(movie_bytes)
    transport = LocalTransport(tmp_path)
    assert isinstance(transport, Transport)
    movie = TransportDownloader(transport, Anywhere()).download(task, tmp_path / "out")
    size = len(movie_bytes)
    assert movie == Movie(
        tmp_path / "out" / "A4.ch5", task, "local: some/A4.ch5", size, bytes_moved=size, requests=1
    )


def test_as_downloader(tmp_path, task, mirror):
    class Legacy:
        def download_image(self, plate, well_num, save_dir):
            return f"{save_dir}/{plate}_{well_num}.ch5"

    downloader = local(mirror)
    assert as_downloader(downloader) is downloader
    movie = as_downloader(Legacy()).download(task, tmp_path)
    assert movie == Movie(tmp_path / "LT0001_02_4.ch5", task, "Legacy", None)
    with pytest.raises(
        ConfigError, match="cannot be used as Downloader: it has no method download"
    ):
        as_downloader(object())


def test_unreadable_folder(mirror, task, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "iterdir", Failing(errno.EIO))
    with pytest.raises(DownloadError, match="cannot be read"):
        local(mirror).download(task, tmp_path)


@pytest.mark.timeout(20)
def test_a_pipe_or_device_is_not_read_by_ranges_or_as_zarr(tmp_path):
    os.mkfifo(tmp_path / "x.ch5")
    with pytest.raises(DownloadError, match="not a file"):
        LocalTransport(tmp_path).open_ranges("x.ch5", 64)
    os.mkfifo(tmp_path / ".zattrs")
    (tmp_path / "zarr.json").symlink_to("/dev/zero")
    store = Store(str(tmp_path))
    assert store.get(".zattrs") is None
    assert store.get("zarr.json") is None
    with pytest.raises(DownloadError, match="leads out"):
        store.get("../x")
