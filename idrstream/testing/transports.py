"""Conformance tests for every `Transport`.

Examples
--------
::

    class TestMyTransport(TransportTests):
        @pytest.fixture
        def transport(self, server):
            return MyTransport(server.address)

        @pytest.fixture
        def serve(self, server):
            return server.put          # (path, content) -> None
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from idrstream.download import Fetched, Transport
from idrstream.errors import DownloadError, ImageError, MovieError

Serve = Callable[[str, bytes], None]

NAMES = (
    "00004_01.ch5",
    "a folder/of its own/00004_01.ch5",
    "[x] (1) +&'=,;.tif",
    "50%20 #no?query.tif",
    "-rf.tif",
    "é €.tif",
)


class TransportTests:
    """Inherit, and override the fixtures `transport` and `serve`."""

    @pytest.fixture
    def transport(self) -> Transport:
        """Return the transport under test, with small limits and an empty root."""
        raise NotImplementedError

    @pytest.fixture
    def serve(self) -> Serve:
        """Return a function that puts a file under the transport's root."""
        raise NotImplementedError

    @pytest.fixture
    def movie(self, tmp_path: Path) -> bytes:
        """Return the bytes of a small HDF5 file."""
        import h5py
        import numpy as np

        path = tmp_path / "made.ch5"
        with h5py.File(path, "w") as file:
            noise = np.random.default_rng(3).integers(0, 255, (12, 64, 64), dtype=np.uint8)
            file.create_dataset("image", data=noise, chunks=(1, 32, 32), compression="gzip")
        return path.read_bytes()

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return the folder for downloaded files."""
        folder = tmp_path / "to here"
        folder.mkdir()
        return folder

    def test_is_a_transport(self, transport: Transport) -> None:
        """It has the protocol's names, and a name of its own."""
        assert isinstance(transport, Transport)
        assert transport.name

    def test_fetches_a_movie(
        self, transport: Transport, serve: Serve, movie: bytes, folder: Path
    ) -> None:
        """All bytes arrive under the final name, with nothing else but the sidecar."""
        serve("study/00004_01.ch5", movie)
        target = folder / "00004_01.ch5"
        fetched = transport.fetch("study/00004_01.ch5", target)
        assert target.read_bytes() == movie
        _check_fetched(fetched, movie)
        sidecar = folder / "00004_01.ch5.source.json"
        assert {path.name for path in folder.iterdir()} <= {target.name, sidecar.name}
        if sidecar.exists():
            note = json.loads(sidecar.read_text())
            assert note["size_bytes"] == len(movie)
            assert note["sha256"] == hashlib.sha256(movie).hexdigest()
            assert note["served_by"] == fetched.served_by
            assert {"address", "etag", "time"} <= note.keys()

    @pytest.mark.parametrize("name", NAMES)
    def test_names_are_plain_text(
        self, transport: Transport, serve: Serve, movie: bytes, folder: Path, name: str
    ) -> None:
        """Characters of a path are never part of an address or an option."""
        content = movie if name.endswith(".ch5") else _tiff(name)
        serve(f"study/{name}", content)
        target = folder / "x.bin"
        transport.fetch(f"study/{name}", target)
        assert target.read_bytes() == content

    def test_size(self, transport: Transport, serve: Serve, movie: bytes) -> None:
        """The size is right or None; a missing file is an error."""
        serve("study/00004_01.ch5", movie)
        size = transport.size("study/00004_01.ch5")
        assert size in (None, len(movie))
        if size is not None:
            with pytest.raises(DownloadError):
                transport.size("study/nosuch.ch5")

    def test_missing(self, transport: Transport, serve: Serve, movie: bytes, folder: Path) -> None:
        """A missing file is an error of this image and leaves nothing."""
        serve("study/00004_01.ch5", movie)
        with pytest.raises(DownloadError, match=r"nosuch\.ch5"):
            transport.fetch("study/nosuch.ch5", folder / "x.ch5")
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("remote", ["../secret.ch5", "study/../../secret.ch5"])
    def test_stays_under_its_root(self, transport: Transport, folder: Path, remote: str) -> None:
        """Paths that lead out of the root are refused."""
        with pytest.raises(DownloadError):
            transport.fetch(remote, folder / "x.ch5")
        assert list(folder.iterdir()) == []

    def test_a_movie_that_is_truncated_at_its_source(
        self, transport: Transport, serve: Serve, movie: bytes, folder: Path
    ) -> None:
        """The length in the HDF5 header is checked before the file gets its name."""
        serve("study/cut.ch5", movie[: len(movie) // 2])
        with pytest.raises(ImageError, match="truncated"):
            transport.fetch("study/cut.ch5", folder / "x.ch5")
        assert list(folder.iterdir()) == []

    def test_an_error_page_is_no_movie(
        self, transport: Transport, serve: Serve, folder: Path
    ) -> None:
        """An error page never gets a movie's name."""
        serve("study/page.ch5", b"<html><title>we are sorry</title></html>")
        with pytest.raises(MovieError, match="error page"):
            transport.fetch("study/page.ch5", folder / "x.ch5")
        assert list(folder.iterdir()) == []

    def test_an_older_file_is_replaced(
        self, transport: Transport, serve: Serve, movie: bytes, folder: Path
    ) -> None:
        """Nothing of an older file or partial file remains."""
        serve("study/00004_01.ch5", movie)
        target = folder / "00004_01.ch5"
        target.write_bytes(b"old" * 100_000)
        (folder / "00004_01.ch5.part").write_bytes(b"of another transfer")
        transport.fetch("study/00004_01.ch5", target)
        assert target.read_bytes() == movie

    def test_several_threads(
        self, transport: Transport, serve: Serve, movie: bytes, folder: Path
    ) -> None:
        """Different targets may be fetched at the same time."""
        names = [f"{number}.ch5" for number in range(6)]
        for name in names:
            serve(f"study/{name}", movie)
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda name: transport.fetch(f"study/{name}", folder / name), names))
        assert all((folder / name).read_bytes() == movie for name in names)
        assert not list(folder.glob("*.part*"))


def _check_fetched(fetched: Fetched, content: bytes) -> None:
    assert isinstance(fetched, Fetched)
    assert fetched.size_bytes == len(content)
    assert fetched.served_by
    assert fetched.bytes_moved is None or fetched.bytes_moved >= len(content)
    assert fetched.sha256 in ("", hashlib.sha256(content).hexdigest())
    assert fetched.seconds >= 0


def _tiff(text: str) -> bytes:
    """Return a small TIFF file: transports refuse one that is not complete."""
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, np.ones((2, 2), np.uint8), description=text.encode(), metadata=None)
    return file.getvalue()
