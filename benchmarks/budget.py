"""Measure whether a stream keeps to its disk budget, and what that costs.

    python benchmarks/budget.py [--movies 30] [--megabytes 20] [--rate 20e6] [--room 3]
                                [--repeat 1] [--output FILE]

Movies come from nginx over a link of 20 MB/s by the downloader and transport that streams use;
stages after the download write files as large as those of a stream with DeepProfiler (locations
until the batch is published, images and features while frames are profiled) but compute nothing.
The same stream runs, in turn, with no budget and with one of three movies. Everything under
``tmp_dir`` is counted every 50 ms by a thread that knows nothing of the stream. ``of the link`` is
the rate of the whole stream as a share of the link's: near 1 means that the link is the limit, as
it should be here. Writes benchmarks/results/budget.json. Takes a good minute; ``--movies 12`` is
the short form.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _common
import numpy as np
from fetch import nginx
from link import Link

from idrstream.config import DownloadSettings
from idrstream.download import HttpTransport, TransportDownloader
from idrstream.preprocess import BasePreprocessor
from idrstream.records import Frame, ImageTask, Movie, Objects, Published
from idrstream.schedule.runner import Runner
from idrstream.schedule.stages import BatchProfiling, DiskNeed, Stages
from idrstream.screen import Plan, well_name
from idrstream.text import format_size

FRAME_BYTES, FEATURE_BYTES, LOCATION_BYTES = 1024 * 1344, 150 * 1280 * 4, 150 * 64
BATCH, SLOTS, EVERY_S = 5, 3, 0.05
PIXELS = np.zeros((1, 1024, 1344), np.uint8)
NUCLEI = _common.objects_at(np.zeros((150, 2)), PIXELS.shape[1:])


class ByWell:
    """Movies are named by their wells; not as CellH5, which they are not."""

    def movie_path(self, task: ImageTask) -> str:
        """Return the name."""
        return f"{task.well_number:05d}_01.bin"


class Reading(BasePreprocessor):
    """Reads every byte of a movie and returns a frame."""

    def process(self, movie: Movie) -> list[Frame]:
        """Return one frame."""
        movie.path.read_bytes()
        return [Frame(PIXELS, 1, movie.task)]

    def needs_plate_model(self, _plate: str) -> bool:
        """Return False."""
        return False


class Slot(BatchProfiling):
    """Writes files as large as those of a batch and of DeepProfiler."""

    def __init__(self, folder: Path, out: Path) -> None:
        self.folder, self.out = folder, out

    def open(self) -> None:
        """Make the folder."""
        self.clear()

    def profile(self, frames: Sequence[Frame], _objects: Sequence[Objects]) -> list[None]:
        """Write locations, images and features; delete the latter two again."""
        passing = []
        for frame in frames:
            (self.folder / f"{frame.task.well}.csv").write_bytes(bytes(LOCATION_BYTES))
            for ending, size in ((".tif", FRAME_BYTES), (".npz", FEATURE_BYTES)):
                passing.append(self.folder / f"{frame.task.well}{ending}")
                passing[-1].write_bytes(bytes(size))
        for path in passing:
            path.unlink()
        return [None] * len(frames)

    def publish(self, number: int, _tasks: Sequence[ImageTask]) -> Published:
        """Write a table."""
        path = self.out / f"batch_{number}.csv.gz"
        path.touch()
        return Published(path, 0, "00" * 32)

    def clear(self) -> None:
        """Empty the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def close(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def expected_bytes(self, _task: ImageTask) -> int:
        """Return what an image needs."""
        return LOCATION_BYTES

    def disk_need(self, _frame: Frame, _objects: Objects) -> DiskNeed:
        """Return what a frame needs."""
        return DiskNeed(LOCATION_BYTES, FRAME_BYTES + FEATURE_BYTES)


class Sampler:
    """Counts the bytes under a folder every 50 ms; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.peak_bytes, self.samples = folder, 0, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Sampler:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            total = 0
            for parent, _, names in os.walk(self.folder):
                for name in names:
                    try:
                        total += os.stat(os.path.join(parent, name)).st_size  # noqa: PTH116, PTH118
                    except FileNotFoundError:
                        continue
            self.peak_bytes = max(self.peak_bytes, total)
            self.samples += 1


def measure(url: str, movies: int, size: int, rate: float, budget: int | None) -> dict[str, Any]:
    """Run the stream once."""
    tasks = tuple(ImageTask("P", well_name(n), n, (1,), row=n - 1) for n in range(1, movies + 1))
    with tempfile.TemporaryDirectory() as name:
        tmp, out = Path(name, "tmp"), Path(name, "out")
        tmp.mkdir()
        out.mkdir()
        stages = Stages(
            TransportDownloader(HttpTransport(url), ByWell(), DownloadSettings(fetch="file")),
            lambda _movie: None,
            Reading(),
            lambda frames: [NUCLEI for _ in frames],
            [Slot(tmp / f"project_{number}", out) for number in range(SLOTS)],
        )
        runner = Runner(stages, tmp / "downloads", budget_bytes=budget)
        with Sampler(tmp) as sampler:
            result = runner.run(Plan(tasks, BATCH, tuple(range(-(-len(tasks) // BATCH)))))
    assert not result.rerun_batches, result.failures()
    return {
        "budget": "none" if budget is None else format_size(budget),
        "seconds": result.seconds,
        "images_per_s": movies / result.seconds,
        "of the link": movies * size / result.seconds / rate,
        "peak": format_size(sampler.peak_bytes),
        "reserved": format_size(result.disk.reserved_bytes),
        "peak_bytes": sampler.peak_bytes,
        "budget_bytes": budget,
        "samples": sampler.samples,
    }


def _serve_link(port: int, rate: float, ready: Any) -> None:
    with Link(port, rate) as link:
        ready.send(link.port)
        ready.recv()


@contextmanager
def link_process(port: int, rate: float) -> Iterator[int]:
    """Run the link in a process of its own: in ours it would compete with the stream's threads."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_link, args=(port, rate, theirs))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def main() -> None:
    """Measure both, print the table, keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--movies", type=int, default=30)
    parser.add_argument("--megabytes", type=float, default=20.0, help="size of a movie")
    parser.add_argument("--rate", type=float, default=20e6, help="bytes a second of the link")
    parser.add_argument("--room", type=float, default=3.0, help="movies that the budget holds")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each kind, in turn")
    parser.add_argument("--output", type=Path, default=_common.RESULTS / "budget.json")
    given = parser.parse_args()
    size = int(given.megabytes * 1e6)
    budget = int(given.room * size)
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        content = np.random.default_rng(1).bytes(size)
        for number in range(1, given.movies + 1):
            Path(name, f"{number:05d}_01.bin").write_bytes(content)
        with nginx(Path(name)) as port, link_process(port, given.rate) as far:
            url = f"http://127.0.0.1:{far}/"
            rows = [
                measure(url, given.movies, size, given.rate, limit)
                for limit in (None, budget) * given.repeat
            ]
    _common.show([{k: row[k] for k in list(row)[:6]} for row in rows])
    ratios = [
        free["seconds"] / bound["seconds"]
        for free, bound in zip(rows[::2], rows[1::2], strict=True)
    ]
    ratio = statistics.median(ratios)
    kept = all(row["peak_bytes"] <= budget for row in rows[1::2])
    print(f"throughput with the budget: {ratio:.1%}; never above it: {kept}")
    _common.write_result(
        given.output,
        "Does a stream keep to its disk budget, and what does that cost?",
        ("numpy", "urllib3"),
        rows=rows,
        throughput_ratio=ratio,
        ratios=ratios,
        kept=kept,
    )


if __name__ == "__main__":
    main()
