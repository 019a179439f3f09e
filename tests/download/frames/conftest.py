"""Movies laid out as CellCognition does, and a web server that can play every fault."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from idrstream.config import DownloadSettings
from idrstream.download.client.http import HttpClient
from idrstream.download.ranges.http import HttpFile
from idrstream.formats.hdf5_ranges.errors import NoRangesError
from idrstream.records import ImageTask


def write_movie(
    path: Path, frames: np.ndarray, *, valid=None, written=None, chunks=(), labels=True, **options
) -> Path:
    """Write a movie (c, t, z, y, x) frame by frame, pixels and labels interleaved."""
    import h5py

    n_channels, n_frames, _, height, width = frames.shape
    chunks = chunks if chunks != () else (n_channels, 1, 1, max(1, height // 4), max(1, width // 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", libver=options.pop("libver", None)) as file:
        for name in ("image", "object", "feature"):
            file.create_group(f"definition/{name}")
        image = file.create_group("sample/0/plate/PL--x/experiment/00004/position/1/image")
        create = {"chunks": chunks, "compression": "gzip", **options}
        channel = image.create_dataset("channel", frames.shape, frames.dtype, **create)
        region = image.create_dataset("region", frames.shape, "u2", **create)
        channel.attrs["valid"] = np.ones(n_frames) if valid is None else np.asarray(valid, float)
        for t in range(n_frames) if written is None else written:
            channel[:, t] = frames[:, t]
            if labels:
                region[:, t] = frames[:, t] > 100
    return path


def random_movie(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    native = np.dtype(dtype).newbyteorder("=")
    high = np.iinfo(native).max
    return np.random.default_rng(seed).integers(1, high, shape, dtype=native).astype(dtype)


class RangeServer(ThreadingHTTPServer):
    """Serves a folder with ranges, an etag of each file's content, and faults on request."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.plan: list[str] = []
        self.always = ""
        self.log: list[tuple[str, int, int]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def bytes_sent(self) -> int:
        return sum(size for _, _, size in self.log)

    def handle_error(self, request, client_address):
        """Say nothing: connections are cut on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        with self.server.lock:
            fault = self.server.plan.pop(0) if self.server.plan else self.server.always
        path = self.server.root / self.path.lstrip("/")
        if fault.isdigit() or not path.is_file():
            self._reply(int(fault) if fault.isdigit() else 404, b"")
            return
        data = path.read_bytes()
        etag = f'"{hash(data) & 0xFFFFFFFF:x}"'
        if self.headers.get("If-Match", etag) != etag:
            self._reply(412, b"")
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match is None or fault == "no-range":
            self._reply(200, data, etag)
            return
        first, last = int(match[1]), min(int(match[2]), len(data) - 1)
        if first >= len(data):
            self._reply(416, b"", etag)
            return
        part, size = data[first : last + 1], len(data)
        if fault == "other-range":
            first, last = first + 1, last + 1
        if fault == "other-etag":
            etag = '"another"'
        self._reply(
            206,
            part,
            etag,
            f"bytes {first}-{last}/{size}",
            cut=fault == "cut",
            reset=fault == "reset",
        )

    def _reply(self, status, body, etag="", content_range="", *, cut=False, reset=False):
        if reset:
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if etag:
            self.send_header("ETag", etag)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        sent = body[: len(body) // 2] if cut else body
        with self.server.lock:
            self.server.log.append((self.headers.get("Range", ""), status, len(sent)))
        self.wfile.write(sent)
        if cut:
            self.close_connection = True


@pytest.fixture
def server(tmp_path):
    """Return a running `RangeServer` on an empty folder."""
    root = tmp_path / "served"
    root.mkdir()
    server = RangeServer(root)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


class HttpRanges:
    """The range side of a web transport."""

    name = "http"

    def __init__(self, url: str, **options) -> None:
        self.url = url
        self.settings = DownloadSettings(
            **{"retry_wait_s": 0.001, "longest_retry_wait_s": 0.002, **options}
        )

    def open_ranges(self, remote: str, head_bytes: int) -> HttpFile | None:
        try:
            return HttpFile(f"{self.url}/{remote}", head_bytes, HttpClient(self.settings))
        except NoRangesError:
            return None


@pytest.fixture
def http(server) -> HttpRanges:
    return HttpRanges(server.url)


@pytest.fixture
def task() -> Callable[..., ImageTask]:
    """Return a maker of tasks that want the frames given."""

    def make(*frames: int) -> ImageTask:
        return ImageTask("PL", "A4", 4, frames)

    return make


@pytest.fixture
def served(server) -> Callable[..., Path]:
    """Return a writer of movies that the server serves: ``served(shape, name=..., **layout)``."""

    def write(*shape: int, name: str = "00004_01.ch5", dtype="uint8", seed=0, **layout) -> Path:
        return write_movie(
            server.root / name, random_movie(*shape, dtype=dtype, seed=seed), **layout
        )

    return write
