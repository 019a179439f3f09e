"""Stages that work with real, small files and misbehave on purpose, at random speed."""

from __future__ import annotations

import random
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from idrstream.download import Downloader
from idrstream.errors import DownloadError, ImageError, SegmentationError
from idrstream.preprocess import BasePreprocessor
from idrstream.records import OBJECT_FIELDS, Frame, Movie, Objects, Published, Skipped
from idrstream.schedule.disk.budget import tree_bytes
from idrstream.schedule.stages import BatchProfiling, DiskNeed, Stages

FRAME_BYTES, FEATURE_BYTES = 30_000, 20_000


@dataclass
class SimStages(Downloader, BasePreprocessor):
    """All stages over one folder; `faults` maps (step, row or batch) to an exception.

    `used` collects how much was under the folder after every write.
    """

    tmp: Path
    out: Path
    faults: dict = field(default_factory=dict)
    sizes: dict = field(default_factory=dict)
    invalid: frozenset = frozenset()
    plate_models: bool = False
    reports_sizes: bool = True
    slow_s: float = 0.0
    seed: int = 0
    slots: int = 3
    fail_groups: bool = False  # by the error of one of their frames
    expect: int = FRAME_BYTES
    kept_bytes: int = FRAME_BYTES  # of a frame
    scratch_bytes: int = FEATURE_BYTES  # of a frame while it is profiled
    used: list = field(default_factory=list)
    downloads: list = field(default_factory=list)
    fitted: dict = field(default_factory=dict)

    def __post_init__(self):
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def size(self, task):
        self.pause()
        return self.size_of(task) if self.reports_sizes else None

    def size_of(self, task):
        return self.sizes.get(task.row, 100_000)

    def pause(self):
        if self.slow_s:
            with self._lock:  # mostly quick, now and then very slow: that mixes the order most
                seconds = self.slow_s if self._random.random() < 0.15 else 0.0
            time.sleep(seconds)

    def enter(self, step, key):
        self.pause()
        if (step, key) in self.faults:
            fault = self.faults[step, key]
            raise type(fault)(*fault.args)

    def measure(self):
        self.used.append(tree_bytes(self.tmp))

    def download(self, task, folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "movie.ch5"  # the same name for all: folders must keep them apart
        assert not path.exists()
        with self._lock:
            self.downloads.append(task.row)
        size = self.size_of(task)
        with path.open("wb") as file:
            file.write(b"%010d" % task.row)
            file.flush()
            self.enter("download", task.row)
            file.write(bytes(size - 10))
        self.measure()
        return Movie(path, task, "sim", size)

    def wait(self, movie):
        self.enter("wait", movie.task.row)

    def process(self, movie):
        self.pause()
        assert int(movie.path.read_bytes()[:10]) == movie.task.row
        self.enter("process", movie.task.row)
        plate = movie.task.plate
        shift = self.fitted[plate] if self.plate_models else 0
        return [
            Skipped(movie.task, number, "preprocess", "FrameError", "not valid")
            if (movie.task.row, number) in self.invalid
            else Frame(np.full((1, 2, 3), number + shift, np.uint16), number, movie.task)
            for number in movie.task.frames
        ]

    def needs_plate_model(self, plate):
        return self.plate_models and plate not in self.fitted

    def fit_plate(self, plate, movies):
        assert plate not in self.fitted
        seen = []
        for movie in movies:
            assert int(movie.path.read_bytes()[:10]) == movie.task.row
            seen.append(movie.task.row)
            self.pause()
        self.enter("fit", plate)
        if not seen:
            raise DownloadError("none of its frames could be read")
        self.fitted[plate] = sum(seen)

    def segment_one(self, frame):
        self.enter("segment", (frame.task.row, frame.number))
        count = (frame.task.row + frame.number) % 4
        return Objects("Nuclei", np.zeros(frame.shape, np.int32), np.zeros(count, OBJECT_FIELDS))

    def segment(self, frames):
        if self.fail_groups:
            return [self.segment_one(frame) for frame in frames]
        return [self._result(frame) for frame in frames]

    def _result(self, frame):
        try:
            return self.segment_one(frame)
        except SegmentationError as error:
            return error

    def stages(self):
        slots = [SimSlot(self, number) for number in range(self.slots)]
        return Stages(self, self.wait, self, self.segment, slots)


@dataclass
class SimSlot(BatchProfiling):
    sim: SimStages
    number: int
    added: dict = field(default_factory=dict)

    @property
    def folder(self):
        return self.sim.tmp / f"project_{self.number}"

    def open(self):
        self.clear()

    def profile(self, frames, objects):
        self.folder.mkdir(exist_ok=True)
        scratch = self.folder / "scratch"  # while the engine is at it
        scratch.write_bytes(bytes(self.sim.scratch_bytes * len(frames)))
        try:
            return [self._add(frame, of) for frame, of in zip(frames, objects, strict=True)]
        finally:
            self.sim.measure()
            scratch.unlink(missing_ok=True)

    def _add(self, frame, objects):
        self.sim.enter("profile", frame.task.row)
        try:
            self.sim.enter("add", (frame.task.row, frame.number))
            key = (frame.task.plate, frame.task.well_number, frame.number)
            if key in self.added:
                raise ImageError("listed twice")
        except (ImageError, KeyError) as error:
            return error
        (self.folder / "_".join(map(str, key))).write_bytes(bytes(self.sim.kept_bytes))
        self.sim.measure()
        self.added[key] = (frame.task, int(frame.pixels[0, 0, 0]), len(objects))
        return None

    def publish(self, number, tasks):
        self.sim.enter("publish", tasks[0].row)
        order = {
            (task.row, frame): (place, index)
            for place, task in enumerate(tasks)
            for index, frame in enumerate(task.frames)
        }
        lines = sorted(
            (order[task.row, key[2]], f"{task.row},{key[2]},{pixel},{nuclei}\n")
            for key, (task, pixel, nuclei) in self.added.items()
        )
        path = self.sim.out / f"batch_{number}.csv.gz"
        path.write_text("".join(line for _, line in lines))
        return Published(path, len(lines), "digest")

    def clear(self):
        self.sim.pause()
        self.added.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self):
        self.clear()

    def expected_need(self, task):
        n_frames = len(task.frames)  # too little: nobody knows the nuclei yet
        return DiskNeed(n_frames * self.sim.expect, n_frames * self.sim.scratch_bytes)

    def disk_need(self, frame, objects):
        return DiskNeed(self.sim.kept_bytes, self.sim.scratch_bytes)
