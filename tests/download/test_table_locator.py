from __future__ import annotations

import os
import string
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idrstream.download import (
    LocalTransport,
    TableLocator,
    TransportDownloader,
    make_downloader,
)
from idrstream.download.locate.table import given_location, target_name
from idrstream.errors import DownloadError, MovieError
from idrstream.records import ImageTask

STUDY = "idr0013-neumann-mitocheck"


def task(site=1, well_number=25, **metadata) -> ImageTask:
    return ImageTask("p", "B1", well_number, (1,), site=site, metadata=metadata)


@pytest.mark.parametrize(
    ("metadata", "study", "place"),
    [
        ({}, "", None),
        ({"Path": " "}, "", None),
        ({"Path": "/uod/idr/filesets/s/a b[1].tif"}, "", "s/a b[1].tif"),
        ({"Path": "/idr/filesets/s/a/b"}, "s", "a/b"),
        ({"Path": "a/b.ch5"}, "s", "a/b.ch5"),
        ({"Path": "/mnt/my movies/1.ch5"}, "s", "file:///mnt/my%20movies/1.ch5"),
        ({"Path": "https://x.org/1.ch5"}, "s", "https://x.org/1.ch5"),
        ({"URL": "s3://bucket/1.ch5", "Path": "ignored"}, "", "s3://bucket/1.ch5"),
    ],
)
def test_places(metadata, study, place):
    assert given_location(task(**metadata), study=study) == place


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            {"Path": "/uod/idr/filesets/other/x"},
            "the study other, but movies are taken from s; set",
        ),
        ({"Path": "a/../../x"}, "column Path: .* leads out"),
        ({"Path": "/uod/idr/filesets/s/../../x"}, "column Path: .* leads out"),
        ({"Path": "/mnt/../etc/passwd"}, "column Path: .* leads out"),
        ({"Path": "-rf"}, "begins with '-'"),
        ({"Path": "a\nb"}, "control character"),
        ({"URL": "javascript:alert(1)"}, "column URL: .* not an address that starts with file://"),
        ({"URL": "https://x.org/\x00"}, "column URL"),
        ({"Path": "gopher://x.org/1"}, "column URL"),
    ],
)
def test_places_that_are_none(metadata, message):
    with pytest.raises(DownloadError, match=message):
        given_location(task(**metadata), study="s")


def test_without_columns_another_locator_is_asked():
    class Other:
        def movie_path(self, task: ImageTask) -> str:
            return f"other/{task.well}"

    assert TableLocator(Other()).movie_path(task()) == "other/B1"
    with pytest.raises(DownloadError, match="plate p well B1: neither the column Path nor URL"):
        TableLocator().movie_path(task())


@given(st.text(max_size=400))
def test_names_on_disk_are_names(remote):
    name = target_name(task(site=3), remote)
    assert name == Path(name).name
    assert name.startswith("00025_03_")
    assert len(name.encode()) < 255
    assert set(name) <= {*string.ascii_letters, *string.digits, *"_.+=@,()[] -"}


def test_name_of_an_address():
    signed = "https://h/a/00004%2001.ch5?X-Amz-Signature=secret"
    assert target_name(task(), signed) == "00025_01_00004 01.ch5"


class Counting(LocalTransport):
    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fetched: list[str] = []
        self.started = threading.Event()

    def fetch(self, remote, target):
        self.fetched.append(remote)
        return super().fetch(remote, target)


def test_a_file_that_wells_share_is_brought_once(tmp_path, movie_bytes):
    (tmp_path / "plate.ch5").write_bytes(movie_bytes)
    transport = Counting(tmp_path)
    downloader = TransportDownloader(transport)
    tasks = [task(site=site, well_number=n, Path="plate.ch5") for n in (1, 2) for site in (1, 2)]
    with ThreadPoolExecutor(4) as pool:
        movies = list(pool.map(lambda one: downloader.download(one, tmp_path / "out"), tasks))
    assert transport.fetched == ["plate.ch5"]
    assert len({movie.path for movie in movies}) == 4
    assert {movie.path.read_bytes() for movie in movies} == {movie_bytes}
    assert [movie.task for movie in movies] == tasks
    movies[0].path.unlink()
    assert movies[1].path.read_bytes() == movie_bytes


def test_a_shared_file_that_is_gone_or_changed_is_brought_again(tmp_path, movie_bytes):
    (tmp_path / "plate.ch5").write_bytes(movie_bytes)
    transport = Counting(tmp_path)
    downloader = TransportDownloader(transport)
    first = downloader.download(task(site=1, Path="plate.ch5"), tmp_path / "out")
    first.path.unlink()
    second = downloader.download(task(site=2, Path="plate.ch5"), tmp_path / "out")
    second.path.write_bytes(b"changed meanwhile")
    third = downloader.download(task(site=3, Path="plate.ch5"), tmp_path / "out")
    assert third.path.read_bytes() == movie_bytes
    assert len(transport.fetched) == 3


def test_an_address_is_fetched_whatever_the_root(tmp_path, movie_bytes):
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "m 1.ch5"
    file.write_bytes(movie_bytes)
    (tmp_path / "root").mkdir()
    downloader = TransportDownloader(LocalTransport(tmp_path / "root"))
    for metadata in ({"URL": file.as_uri()}, {"Path": str(file)}):
        movie = downloader.download(task(**metadata), tmp_path / "out")
        assert movie.path.name == "00025_01_m 1.ch5"
        assert movie.path.read_bytes() == movie_bytes


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "t.ch5").write_bytes(b"<html>404</html>")
    for path, error in (
        ("pipe", DownloadError),
        ("/dev/zero", DownloadError),
        ("t.ch5", MovieError),
    ):
        with pytest.raises(error):
            make_downloader(method="local", root=tmp_path).download(
                task(Path=path), tmp_path / "new"
            )


def test_the_same_path_on_two_servers_is_two_files(tmp_path, monkeypatch):
    for server in ("one", "two"):
        (tmp_path / server).mkdir()
        (tmp_path / server / "which").write_text(server)

    def local(self, task):
        address = self.locator.movie_path(task)
        server = address.removeprefix("https://").partition("/")[0]
        return LocalTransport(tmp_path / server), "which", f"{task.site}_which"

    monkeypatch.setattr(TransportDownloader, "resolve", local)
    downloader = TransportDownloader(LocalTransport(tmp_path))
    for site, server in ((1, "one"), (2, "two")):
        one = task(site=site, URL=f"https://{server}/which")
        assert downloader.download(one, tmp_path / "out").path.read_text() == server
