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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from idrstream.errors import FrameError, MissingToolError, MovieError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.movie_checks import (
    channel_to_read,
    check_pixel_type,
    frame_problem,
    hole,
    image_to_read,
    planes_to_read,
)
from idrstream.formats.projection import Projection, projected
from idrstream.formats.reader import BaseReader, ImageSizes, MovieInfo, Pixels
from idrstream.workers.process import DiedError, WorkerProcess

logger = logging.getLogger("idrstream.formats.java")

_PATIENCE_S = 5.0  # for a request in progress when the reader is closed
_CELLH5_SUFFIXES = frozenset({".ch5", ".cellh5"})


@dataclass(slots=True)
class _Java:
    """The one process of a reader and of all that `BaseReader.at` makes of it."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    process: WorkerProcess | None = None
    interrupts: int = 0


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
    projection : {"max", "mean", "sharpest"}, optional
        Read all planes instead, and make one image of them.
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
        projection: Projection | None = None,
        series: int | None = None,
        start_timeout_s: float = 180.0,
        request_timeout_s: float = 300.0,
    ) -> None:
        super().__init__(channel=channel, z=z, projection=projection)
        self.selection = replace(self.selection, series=series)
        self.location = str(location)
        self.start_timeout_s = start_timeout_s
        self.request_timeout_s = request_timeout_s
        self._java = _Java()

    def __enter__(self) -> JavaReader:
        """Return the reader; it is closed at the end of the block."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close the reader."""
        self.close()

    def close(self) -> None:
        """End the Java process; the next request starts a new one."""
        if not self._java.lock.acquire(timeout=_PATIENCE_S):  # it hangs at a request
            self.interrupt()
            self._java.lock.acquire()
        try:
            process, self._java.process = self._java.process, None
        finally:
            self._java.lock.release()
        if process is not None:
            process.end()

    def interrupt(self) -> None:
        """End the process at once, from any thread; reads in progress or waiting fail."""
        self._java.interrupts += 1
        process = self._java.process
        if process is not None:
            process.kill()

    def info(self, path: Path) -> MovieInfo:
        """Return what the movie has; see `MovieReader.info`."""
        return self._info(Path(path).absolute())[0]

    def sizes(self, path: Path) -> ImageSizes:
        """Return how many images, channels and planes a file has; see `BaseReader.sizes`."""
        path = Path(path).absolute()
        _, image, _ = self._info(path)
        answer = self._ask_info(path, image)
        self._request(path, {"ask": "close"})
        is_cellh5 = path.suffix.lower() in _CELLH5_SUFFIXES  # its further images are labels
        return ImageSizes(
            1 if is_cellh5 else int(answer["n_images"]),
            int(answer["n_channels"]),
            int(answer["n_planes"]),
            int(answer.get("n_files", 0)),
        )

    def read(self, path: Path, numbers: Sequence[int]) -> dict[int, Pixels | FrameError]:
        """Read frames; see `MovieReader.read`."""
        path = Path(path).absolute()
        known: dict[int, FrameError] = {}
        if path.suffix.lower() in _CELLH5_SUFFIXES:
            known = self._cellh5().problems(path, numbers)
        frames: dict[int, Pixels | FrameError] = {}
        interrupts = self._java.interrupts
        with self._java.lock:
            self._check_not_interrupted(path, interrupts)
            info, image, planes = self._info(path)
            for number in numbers:
                problem = known.get(number) or frame_problem(info, number, path)
                places = ({"image": image, "t": number - 1, "z": z} for z in planes)
                frames[number] = problem or projected(
                    (self._plane(path, info, place) for place in places),
                    self.selection.projection,
                )
            # The movie will be deleted: an open file would keep its space on the disk.
            self._request(path, {"ask": "close"})
        return frames

    def check(self) -> None:
        """Raise `MissingToolError` if the library is not at `location`."""

    def _command(self, folder: str) -> list[str]:
        module = "idrstream.formats.java.worker"
        return [sys.executable, "-m", module, self.name, self.location, folder]

    def _cellh5(self) -> CellH5Reader:
        chosen = self.selection
        return CellH5Reader(channel=chosen.channel, z=chosen.z, projection=chosen.projection)

    def _info(self, path: Path) -> tuple[MovieInfo, int, range]:
        """Return what a movie has, and which image and planes to read."""
        if not path.is_file():
            msg = f"{path} does not exist"
            raise MovieError(msg)
        # The Java libraries do not know CellH5's attribute 'valid'.
        marked = None
        if path.suffix.lower() in _CELLH5_SUFFIXES:
            marked = self._cellh5().info(path)
        answer = self._ask_info(path, 0)
        image = 0
        if marked is None:  # the further images of a CellH5 file are labels
            image = image_to_read(path, int(answer["n_images"]), self.selection)
        if image:
            answer = self._ask_info(path, image)
        dtype = str(answer["dtype"])
        check_pixel_type(path, dtype)
        n_frames, n_channels = int(answer["n_frames"]), int(answer["n_channels"])
        channel_to_read(path, n_channels, self.selection)
        planes = planes_to_read(path, int(answer["n_planes"]), self.selection)
        shape = (int(answer["height"]), int(answer["width"]))
        valid = marked.valid if marked is not None else (True,) * n_frames
        if len(valid) != n_frames:
            msg = f"{path}: {self.name} sees {n_frames} frames, h5py {len(valid)}"
            raise MovieError(msg)
        return MovieInfo(n_frames, shape, dtype, valid), image, planes

    def _ask_info(self, path: Path, image: int) -> dict[str, Any]:
        try:
            answer = self._request(path, {"ask": "info", "image": image})[0]["info"]
        except _RefusedError as error:
            msg = f"{path} cannot be read by {self.name}: {error}"
            raise MovieError(msg) from error
        return dict(answer)

    def _plane(self, path: Path, info: MovieInfo, place: dict[str, int]) -> Pixels | FrameError:
        number = place["t"] + 1
        request = {"ask": "plane", "channel": self.channel, **place}
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
        interrupts = self._java.interrupts
        with self._java.lock:
            self._check_not_interrupted(path, interrupts)
            if self._java.process is None or not self._java.process.alive:
                self.close()
                self._java.process = self._start(path, interrupts)
            try:
                header, body = self._java.process.ask(
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
        if interrupts != self._java.interrupts:
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
        self._java.process = process  # so that it can be interrupted while it starts
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
