r"""What the coordinator costs: many batches of stand-in workers through it, and through `collect`.

    python benchmarks/cluster_scale.py /dev/shm=100000 ~/somewhere=5000 \
        --out benchmarks/results/cluster_scale.json

The journal, receipts, digests, renames and flushes are real. Only the work is not: a stand-in for
a worker writes a small table and measures of each batch at once, in the coordinator's process, and
its time is taken off. Each folder is on a disk or in memory (tmpfs), and gets a run through the
coordinator and one that collects as many receipts that lie there, each in a process of its own:
seconds of the wall clock and of the processor, the process's largest memory, and how often it
waited for a disk (`os.fsync`; SQLite waits beside that, once for each flushed transaction).
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import uuid
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from _common import show, write_result

from idrstream.cluster.accept import Acceptor
from idrstream.cluster.coordinator import Coordinator
from idrstream.cluster.layout import ClusterFolder
from idrstream.cluster.receipts import ImageReceipt, Receipt, deliver
from idrstream.cluster.work import Ended, EndKind, Executor, Work, batch_key
from idrstream.config import RunOptions
from idrstream.folder.decide import decide
from idrstream.folder.journal.journal import Journal, RunInfo
from idrstream.folder.plans import RequestedPlan
from idrstream.quality.pictures import PictureStore
from idrstream.records import ImageTask
from idrstream.screen import Plan, well_name

FLUSHES = Counter[str]()
TABLE = b"a table of a batch, as small as one with no nuclei\n"


class StandIn(Executor):
    """Writes an attempt of every batch at once."""

    workers = 8

    def __init__(self, folder: ClusterFolder) -> None:
        self.folder = folder
        self.ended: list[Ended] = []
        self.seconds = self.processor_s = 0.0
        self.flushes = 0

    def capacity(self) -> int:
        """Return how many more pieces of work it takes."""
        return self.workers - len(self.ended)

    def give(self, work: Work, stream_file: Path) -> None:  # noqa: ARG002
        """Do a piece of work."""
        began, used, flushed = time.perf_counter(), time.process_time(), FLUSHES["n"]
        for number, tasks in work.batches.items():
            write_attempt(self.folder, number, tasks)
        self.ended.append(Ended(work, EndKind.FINISHED))
        self.seconds += time.perf_counter() - began
        self.processor_s += time.process_time() - used
        self.flushes += FLUSHES["n"] - flushed

    def wait(self, timeout_s: float) -> list[Ended]:  # noqa: ARG002
        """Return what ended."""
        found, self.ended = self.ended, []
        return found

    def close(self) -> None:
        """Do nothing: there are no workers."""


def write_attempt(folder: ClusterFolder, number: int, tasks: tuple[ImageTask, ...]) -> None:
    """Put an attempt of a batch into the inbox."""
    attempt = folder.staging / uuid.uuid4().hex
    (attempt / "qc").mkdir(parents=True)
    (attempt / f"batch_{number}.csv.gz").write_bytes(TABLE + str(number).encode())
    (attempt / "qc" / f"batch_{number}.csv").write_bytes(b"Plate,Well\n")
    receipt = Receipt(
        batch=number, key=batch_key("i", number, tasks), table=f"batch_{number}.csv.gz", rows=0,
        columns=1290, columns_sha256=hashlib.sha256(b"c").hexdigest(),
        images=tuple(
            ImageReceipt(nuclei=3, bytes=10**8, seconds={"download": 1.0, "segment": 2.0})
            for _ in tasks
        ),
        seconds={"compile": 0.1}, worker="stand-in", host="here",
    )  # fmt: skip
    deliver(attempt, folder.inbox, receipt)


def tasks_of(count: int) -> tuple[ImageTask, ...]:
    """Return images of plates with 384 wells."""
    return tuple(
        ImageTask(f"P{n // 384:04}", well_name(n % 384 + 1), n % 384 + 1, (1,))
        for n in range(count)
    )


def run(root: Path, batches: int, images: int, *, collect: bool) -> dict[str, object]:
    """Run so many batches through a coordinator, or let it collect their receipts."""
    root.mkdir()
    folder = ClusterFolder(root)
    folder.make()
    tasks = tasks_of(batches * images)
    options = RunOptions(batch_size=images)
    requested = RequestedPlan.of(tasks, {}, options, columns=())
    plan = Plan(tasks, images, tuple(range(batches)))
    executor = StandIn(folder)
    journal = Journal(root)
    journal.begin(
        RunInfo(pid=1, host="here", options={}, parts={}, versions={}), requested,
        decide(requested, None),
    )  # fmt: skip
    if collect:
        for number in range(batches):
            write_attempt(folder, number, plan.batch(number).tasks)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pictures = PictureStore(root, 0)
    coordinator = Coordinator(
        executor, folder, [journal], lambda emit: Acceptor(root, pictures, {}, emit),
        needs_model=lambda _: False, identity="i", plate_wells=12,
    )  # fmt: skip
    began, used, flushed = time.perf_counter(), time.process_time(), FLUSHES["n"]
    result = coordinator.run(plan)
    seconds = time.perf_counter() - began - executor.seconds
    used = time.process_time() - used - executor.processor_s
    flushes = FLUSHES["n"] - flushed - executor.flushes
    published = sum(item.published is not None for item in result.batches)
    journal.close()
    left = sum(1 for _ in folder.inbox.iterdir())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "batches": batches, "images_per_batch": images, "published": published, "inbox_left": left,
        "coordinator_s": round(seconds, 1), "processor_s": round(used, 1),
        "ms_per_batch": round(1000 * seconds / batches, 2),
        "processor_ms_per_batch": round(1000 * used / batches, 2), "flushes": flushes,
        "stand_in_s": round(executor.seconds, 1), "peak_mb": round(peak / 1024, 1),
        "before_run_mb": round(before / 1024, 1),
    }  # fmt: skip


def run_apart(place: Path, batches: int, images: int, *, collect: bool) -> dict[str, object]:
    """Call `run` in a process of its own, in a new folder in `place`."""
    root = Path(tempfile.mkdtemp(prefix="idrstream-scale-", dir=place))
    apart = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=apart, initializer=count_flushes) as pool:
            return pool.submit(run, root / "out", batches, images, collect=collect).result()
    finally:
        shutil.rmtree(root)


def count_flushes() -> None:
    """Count how often this process waits for the disk."""
    flush = os.fsync

    def counted(file: int) -> None:
        FLUSHES["n"] += 1
        flush(file)

    os.fsync = counted


def file_system(folder: Path) -> str:
    """Return the kind of the file system that a folder is on."""
    lines = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    above = [line for line in lines if folder.resolve().is_relative_to(line[1])]
    return max(above, key=lambda line: len(line[1]))[2]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("places", nargs="+", metavar="FOLDER=BATCHES")
    parser.add_argument("--images", type=int, default=1, help="in a batch")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, object]] = []
    for place in given.places:
        folder, _, batches = place.partition("=")
        kind = file_system(Path(folder))
        for what in ("through", "collect"):
            apart = run_apart(Path(folder), int(batches), given.images, collect=what == "collect")
            rows.append({"what": what, "file_system": kind, **apart})
            show(rows[-1:])
            write_result(given.out, __doc__, (), rows=rows)


if __name__ == "__main__":
    main()
