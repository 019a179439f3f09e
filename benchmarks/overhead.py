"""What the stream itself costs: batches of one image with stages that do nothing.

    python benchmarks/overhead.py [--batches 1000 100000] [--no-journal]

For each number of batches, without and with the journal (which waits for the disk once for each
batch): milliseconds for each batch, of the clock and of the processor, and how much more memory the
process holds for each batch between the first tenth and the end. Both must not grow with the number
of batches.

What the disk alone costs is measured in the same run, after every 20th batch, and taken out of
the clock: appending 16 kB to a file and flushing it (``flush_ms``, what a journal's commit waits
for), and writing, flushing and renaming a file and flushing its folder (``table_ms``, what
publishing a table would add; the no-op stages write none). ``without_disk_ms`` is a batch less
its flush, ``times_flush`` how many flushes take as long. Writes benchmarks/results/overhead.json.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import _common
import numpy as np

from idrstream.config import RunOptions
from idrstream.files import atomic_path
from idrstream.records import Frame, ImageTask, Movie, Objects, Published
from idrstream.schedule.events import BatchFinished, Event
from idrstream.schedule.runner import Runner
from idrstream.schedule.stages import DiskNeed, Stages
from idrstream.screen import Plan, well_name

PROBE_EVERY = 20  # batches
PIXELS = np.zeros((1, 2, 2), np.uint8)
NO_NUCLEI = _common.objects_at(np.zeros((0, 2)), (2, 2))


class NoOp:
    """Every stage at once: does what is needed to be called, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Return a movie that is not there."""
        return Movie(folder / "movie.ch5", task, "nowhere", 0)

    def process(self, movie: Movie) -> list[Frame]:
        """Return one frame."""
        return [Frame(PIXELS, 1, movie.task)]

    def needs_plate_model(self, _plate: str) -> bool:
        """Return False."""
        return False

    def segment(self, frames: Sequence[Frame]) -> list[Objects]:
        """Return no nuclei."""
        return [NO_NUCLEI for _ in frames]

    def profile(self, frames: Sequence[Frame], _objects: Sequence[Objects]) -> list[None]:
        """Leave no frame out."""
        return [None] * len(frames)

    def publish(self, number: int, _tasks: Sequence[ImageTask]) -> Published:
        """Make an empty file."""
        path = self.folder / f"batch_{number}.csv.gz"
        path.touch()
        return Published(path, 0, "00" * 32)

    def size(self, _task: ImageTask) -> int:
        """Return 0."""
        return 0

    def expected_bytes(self, _task: ImageTask) -> int:
        """Return 0."""
        return 0

    def disk_need(self, _frame: Frame, _objects: Objects) -> DiskNeed:
        """Return 0."""
        return DiskNeed(0, 0)

    def nothing(self, *_: object) -> None:
        """Do nothing."""

    open = close = clear = fit_plate = interrupt = nothing


class Watch:
    """Notes the time and the memory at a tenth of the batches and at the end."""

    def __init__(self, batches: int, disk: Disk) -> None:
        self._at = (batches // 10, batches)
        self._seen = 0
        self._disk = disk
        self.marks: list[tuple[int, float, float, int]] = []

    def __call__(self, event: Event) -> None:
        """Count a batch."""
        if isinstance(event, BatchFinished):
            self._seen += 1
            if self._seen % PROBE_EVERY == 0:
                self._disk.probe()
            if self._seen in self._at:
                gc.collect()
                seconds = time.monotonic() - self._disk.taken_s
                cpu_s = time.process_time() - self._disk.taken_cpu_s
                self.marks.append((self._seen, seconds, cpu_s, _common.resident_bytes()))


class Disk:
    """What the disk alone takes, measured between batches."""

    def __init__(self, folder: Path) -> None:
        self.taken_s = self.taken_cpu_s = self.flush_s = self.table_s = 0.0
        self.count = 0
        self._folder = folder
        self._file = os.open(folder / "probe", os.O_CREAT | os.O_WRONLY)

    def probe(self) -> None:
        """Flush 16 kB; publish a small file."""
        began, began_cpu = time.monotonic(), time.process_time()
        os.write(self._file, bytes(16_384))
        os.fsync(self._file)
        flushed = time.monotonic()
        with atomic_path(self._folder / "table") as part:
            part.write_bytes(bytes(1000))
        ended = time.monotonic()
        self.flush_s += flushed - began
        self.table_s += ended - flushed
        self.taken_s += ended - began
        self.taken_cpu_s += time.process_time() - began_cpu
        self.count += 1

    def report(self) -> dict[str, float]:
        """Return milliseconds for each."""
        os.close(self._file)
        return {
            "flush_ms": 1000 * self.flush_s / self.count,
            "table_ms": 1000 * self.table_s / self.count,
        }


def measure(batches: int, *, journal: bool) -> dict[str, Any]:
    """Run a stream of no-op stages; return what it took for each batch."""
    tasks = tuple(
        ImageTask(f"P{row // 384:05d}", well_name(row % 384 + 1), row % 384 + 1, (1,), row=row)
        for row in range(batches)
    )
    plan = Plan(tasks, 1, tuple(range(batches)))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()
        (folder / "tmp").mkdir()
        (folder / "probe").mkdir()
        disk = Disk(folder / "probe")
        watch = Watch(batches, disk)
        noop = NoOp(folder / "out")
        stages = Stages(noop, noop.nothing, noop, noop.segment, [noop] * 3)
        with closing(_journal(folder / "out", plan)) if journal else nullcontext() as noting:
            listeners = [watch] if noting is None else [noting, watch]
            runner = Runner(stages, folder / "tmp" / "downloads", listeners, options=RunOptions())
            result = runner.run(plan)
        alone = disk.report()
    assert not result.rerun_batches
    (early, began_s, began_cpu_s, began_bytes), (late, ended_s, ended_cpu_s, ended_bytes) = (
        watch.marks
    )
    each_ms = 1000 * (ended_s - began_s) / (late - early)
    return {
        "batches": batches,
        "journal": journal,
        "ms_per_batch": each_ms,
        "without_disk_ms": each_ms - alone["flush_ms"] if journal else each_ms,
        "times_flush": each_ms / alone["flush_ms"],
        **alone,
        "cpu_ms_per_batch": 1000 * (ended_cpu_s - began_cpu_s) / (late - early),
        "bytes_per_batch": (ended_bytes - began_bytes) / (late - early),
        "seconds": result.seconds,
        "lanes": {lane.name: round(lane.share, 4) for lane in result.lanes},
    }


def _journal(folder: Path, plan: Plan) -> Any:
    from idrstream.folder.decide import decide
    from idrstream.folder.journal.journal import Journal, RunInfo
    from idrstream.folder.plans import RequestedPlan

    wanted = RequestedPlan.of(plan.tasks, {"benchmark": {}}, RunOptions(batch_size=plan.batch_size))
    journal = Journal(folder)
    info = RunInfo(pid=os.getpid(), host="benchmark", options={}, parts={}, versions={})
    journal.begin(info, wanted, decide(wanted, None, images=None, broken={}))
    return journal


def main() -> None:
    """Measure each case in a process of its own, print the table, keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--no-journal", action="store_true", help="only without the journal")
    parser.add_argument("--one", choices=["plain", "journal"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        import json

        sys.stdout.write(json.dumps(measure(given.batches[0], journal=given.one == "journal")))
        return
    rows = []
    for batches in given.batches:
        for kind in ("plain",) if given.no_journal else ("plain", "journal"):
            rows.append(_in_process(batches, kind))
            sys.stderr.write(f"{kind} {batches}: {rows[-1]['seconds']:.1f} s\n")
    _common.show([{k: v for k, v in row.items() if k != "lanes"} for row in rows])
    _common.write_result(
        _common.RESULTS / "overhead.json",
        "What does the stream itself cost for each batch?",
        ("numpy",),
        rows=rows,
    )


def _in_process(batches: int, kind: str) -> dict[str, Any]:
    import json

    command = [sys.executable, __file__, "--batches", str(batches), "--one", kind]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    content: dict[str, Any] = json.loads(done.stdout)
    return content


if __name__ == "__main__":
    main()
