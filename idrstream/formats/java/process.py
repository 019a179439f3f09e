"""A reader that works through a Java library in its own process.

The process is started at the first request, and again if it died. It has its own folder as
working directory and for Java's temporary files, and does not share the caller's working
directory, standard output or signals.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from idrstream.errors import FrameError, MissingToolError, MovieError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.movie_checks import (
    check_pixel_type,
    frame_problem,
    hole,
    image_to_read,
    plane_to_read,
)
from idrstream.formats.reader import BaseReader, MovieInfo, Pixels
from idrstream.workers.process import DiedError, WorkerProcess

logger = logging.getLogger("idrstream.formats.java")

_PATIENCE_S = 5.0  # for a request in progress when the reader is closed
_CELLH5_SUFFIXES = frozenset({".ch5", ".cellh5"})


class JavaReader(BaseReader):
    """Base of the readers that work through Java.

    Safe to use from several threads, one request at a time; usable as a context manager.

    Parameters
    ----------
    location : Path or str
        Where the library is.
    channel : int
        Channel to read, counted from 0.
    z : int, optional
        Plane to read, counted from 0; needed only for movies with several.
    series : int, optional
        Image of a file to read, counted from 0; by default that of the site.
    start_timeout_s : float
        Time limit for starting Java with its library.
    request_timeout_s : float
        Time limit for one request.
    """

    name = "java"

    def __init__(
        self,
        location: Path | str,
        *,
        channel: int = 0,
        z: int | None = None,
        series: int | None = None,
        start_timeout_s: float = 180.0,
        request_timeout_s: float = 300.0,
    ) -> None:
        super().__init__(channel=channel, z=z)
        self.location = str(location)
        self.series = series
        self.start_timeout_s = start_timeout_s
        self.request_timeout_s = request_timeout_s
        self._lock = threading.RLock()
        self._process: WorkerProcess | None = None
        self._interrupts = 0
        self._cellh5 = CellH5Reader(channel=channel, z=z)

    def __enter__(self) -> JavaReader:
        """Return the reader; it is closed at the end of the block."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close the reader."""
        self.close()

    def close(self) -> None:
        """End the Java process; the next request starts a new one."""
        if not self._lock.acquire(timeout=_PATIENCE_S):  # it hangs at a request
            self.interrupt()
            self._lock.acquire()
        try:
            process, self._process = self._process, None
        finally:
            self._lock.release()
        if process is not None:
            process.end()

    def interrupt(self) -> None:
        """End the process at once, from any thread; reads in progress or waiting fail."""
        self._interrupts += 1
        process = self._process
        if process is not None:
            process.kill()

    def describe(self) -> dict[str, object]:
        """Return what changes a result."""
        chosen = {} if self.series is None else {"series": self.series}
        return {**super().describe(), **chosen}

    def info(self, path: Path, *, site: int = 1) -> MovieInfo:
        """Return what the movie has; see `MovieReader.info`."""
        return self._info(Path(path).absolute(), site)[0]

    def read(
        self, path: Path, numbers: Sequence[int], *, site: int = 1
    ) -> dict[int, Pixels | FrameError]:
        """Read frames; see `MovieReader.read`."""
        path = Path(path).absolute()
        known: dict[int, FrameError] = {}
        if path.suffix.lower() in _CELLH5_SUFFIXES:
            known = self._cellh5.problems(path, numbers)
        frames: dict[int, Pixels | FrameError] = {}
        interrupts = self._interrupts
        with self._lock:
            self._check_not_interrupted(path, interrupts)
            info, place = self._info(path, site)
            for number in numbers:
                problem = known.get(number) or frame_problem(info, number, path)
                frames[number] = problem or self._frame(path, info, number, place)
            # The movie will be deleted: an open file would keep its space on the disk.
            self._request(path, {"ask": "close"})
        return frames

    def check(self) -> None:
        """Raise `MissingToolError` if the library is not at `location`."""

    def _command(self, folder: str) -> list[str]:
        module = "idrstream.formats.java.worker"
        return [sys.executable, "-m", module, self.name, self.location, folder]

    def _info(self, path: Path, site: int) -> tuple[MovieInfo, dict[str, int]]:
        """Return what a movie has, and which image and plane to read."""
        if not path.is_file():
            msg = f"{path} does not exist"
            raise MovieError(msg)
        # The Java libraries do not know CellH5's attribute 'valid'.
        marked = None
        if path.suffix.lower() in _CELLH5_SUFFIXES:
            marked = self._cellh5.info(path)
        answer = self._ask_info(path, 0)
        image = 0
        if marked is None:  # the further images of a CellH5 file are labels
            image = image_to_read(path, int(answer["n_images"]), site, self.series)
        if image:
            answer = self._ask_info(path, image)
        dtype = str(answer["dtype"])
        check_pixel_type(path, dtype)
        n_frames, n_channels = int(answer["n_frames"]), int(answer["n_channels"])
        if not 0 <= self.channel < n_channels:
            msg = f"{path} has {n_channels} channel(s); channel {self.channel} is not among them"
            raise MovieError(msg)
        plane = plane_to_read(path, int(answer["n_planes"]), self.z)
        shape = (int(answer["height"]), int(answer["width"]))
        valid = marked.valid if marked is not None else (True,) * n_frames
        if len(valid) != n_frames:
            msg = f"{path}: {self.name} sees {n_frames} frames, h5py {len(valid)}"
            raise MovieError(msg)
        place = {"image": image, "channel": self.channel, "z": plane}
        return MovieInfo(n_frames, shape, dtype, valid), place

    def _ask_info(self, path: Path, image: int) -> dict[str, Any]:
        try:
            answer = self._request(path, {"ask": "info", "image": image})[0]["info"]
        except _RefusedError as error:
            msg = f"{path} cannot be read by {self.name}: {error}"
            raise MovieError(msg) from error
        return dict(answer)

    def _frame(
        self, path: Path, info: MovieInfo, number: int, place: dict[str, int]
    ) -> Pixels | FrameError:
        request = {"ask": "plane", "t": number - 1, **place}
        try:
            pixels = self._request(path, request)[1]
        except _RefusedError as error:
            return FrameError(f"frame {number} of {path} cannot be decoded: {error}")
        stored = np.dtype(info.dtype).newbyteorder("<")
        if len(pixels) != info.shape[0] * info.shape[1] * stored.itemsize:
            return FrameError(
                f"frame {number} of {path}: {self.name} returned {len(pixels):,} bytes for "
                f"{info.shape[0]} x {info.shape[1]} pixels of {info.dtype}"
            )
        frame = np.frombuffer(pixels, dtype=stored).reshape(info.shape).astype(info.dtype)
        return hole(frame, number, path) or frame

    def _request(self, path: Path, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Send a request to the process, which is started if it does not run."""
        interrupts = self._interrupts
        with self._lock:
            self._check_not_interrupted(path, interrupts)
            if self._process is None or not self._process.alive:
                self.close()
                self._process = self._start(path, interrupts)
            try:
                header, body = self._process.ask(
                    {**request, "path": str(path)}, self.request_timeout_s
                )
            except DiedError as error:
                self.close()
                msg = f"{path}: the {self.name} process {error}"
                raise MovieError(msg) from error
        if header.get("error") == "missing":
            raise MissingToolError(header["message"])
        if "error" in header:
            raise _RefusedError(header["message"])
        return header, body

    def _check_not_interrupted(self, path: Path, interrupts: int) -> None:
        """Raise if there was an interrupt while the movie waited for its turn."""
        if interrupts != self._interrupts:
            msg = f"{path}: reading was stopped"
            raise MovieError(msg)

    def _start(self, path: Path, interrupts: int) -> WorkerProcess:
        self.check()
        started = time.monotonic()
        try:
            process = WorkerProcess(self._command)
        except OSError as error:
            msg = f"the {self.name} reader did not start: {error}"
            raise MissingToolError(msg) from error
        self._process = process  # so that it can be interrupted while it starts
        try:
            header, _ = process.receive(self.start_timeout_s)
        except DiedError as error:
            self.close()
            self._check_not_interrupted(path, interrupts)
            msg = f"the {self.name} reader did not start: its process {error}"
            raise MissingToolError(msg) from error
        if "error" in header:
            self.close()
            msg = f"the {self.name} reader did not start: {header['message']}"
            raise MissingToolError(msg)
        logger.debug("%s reader started in %.1f s", self.name, time.monotonic() - started)
        return process


class _RefusedError(Exception):
    """The library cannot read the image; its message."""
