"""How long it takes to open a finished stream, to compute what is left, and to tell its status.

    python benchmarks/journal.py --batches 100000 --images 10 --out benchmarks/results/journal.json

A journal is made through the real interface, event by event, as a stream would write it; every
batch has a small file in the output folder. Then a process of its own opens the folder, three
times for each number, as `run_stream`, `resume` and `status` do. `--keep DIR` leaves the folder.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from idrstream.config import RunOptions
from idrstream.folder.decide import decide, needs_images
from idrstream.folder.journal.journal import Journal, RunInfo
from idrstream.folder.outputs import verify_outputs
from idrstream.folder.plans import RequestedPlan
from idrstream.folder.status import read_failures, read_status
from idrstream.records import Batch, ImageTask, Published
from idrstream.schedule.events import (
    BatchFinished,
    BatchPublished,
    BatchStarted,
    ImageFinished,
    StageFinished,
    StreamFinished,
)
from idrstream.schedule.result import RunResult
from idrstream.screen import Plan, well_name

REPEATS = 3
INFO = RunInfo(pid=1, host="benchmark", options={}, parts={}, versions={})
SETTINGS = {"segmentor": {"diameter": 17.0}}
COLUMNS = ("Gene_Replicate", "Original Gene Target", "Plate_Map_Name")


def make_tasks(count: int) -> tuple[ImageTask, ...]:
    """Return the images of a screen of 384-well plates, one frame each."""
    names = [well_name(number) for number in range(1, 385)]
    return tuple(
        ImageTask(
            f"LT{row // 384:05d}_01", names[row % 384], row % 384 + 1, (50,),
            metadata={"Original Gene Target": f"ENSG{row % 21000:011d}", "Gene_Replicate": "1"},
            row=row,
        )
        for row in range(count)
    )  # fmt: skip


def want(tasks: tuple[ImageTask, ...], batch_size: int) -> RequestedPlan:
    """Return what a start with this table wants."""
    return RequestedPlan.of(tasks, SETTINGS, RunOptions(batch_size=batch_size))


def make_folder(folder: Path, batches: int, images: int) -> dict[str, float]:
    """Write the journal and the files of a finished stream."""
    tasks = make_tasks(batches * images)
    wanted = want(tasks, images)
    started = time.perf_counter()
    journal = Journal(folder, durable=False)
    decision = decide(wanted, None)
    journal.begin(INFO, wanted, decision)
    accepted = time.perf_counter() - started
    seconds = {"download": 2.5, "preprocess": 0.7, "segment": 16.0, "profile": 8.0, "compile": 0.3}
    for number, content in decision.batches.items():
        batch = Batch(number, content)
        journal(BatchStarted(batch))
        for task in content:
            for stage in ("download", "preprocess", "segment"):
                journal(StageFinished(stage, batch, task, seconds[stage], 73_000_000))
            journal(ImageFinished(batch, task, 120, ()))
        path = folder / f"batch_{number}.csv.gz"
        path.write_bytes(b"table")
        published = Published(path, 120 * images, "0" * 64, 1290, "1" * 64)
        journal(BatchPublished(batch, published, 120 * images, (), seconds))
        journal(BatchFinished(batch, published, 120 * images, (), seconds=seconds))
    plan = Plan(tasks, images, tuple(range(-(-len(tasks) // images))))
    journal(StreamFinished(RunResult((), plan, 1.0)))
    journal.close()
    return {
        "accept_plan_s": accepted,
        "write_events_s": time.perf_counter() - started - accepted,
        "journal_bytes": (folder / "journal.sqlite").stat().st_size,
    }


def measure(folder: Path, batches: int, images: int) -> dict[str, list[float]]:
    """Time what a start and a look do; runs in a process of its own."""
    tasks = make_tasks(batches * images)
    times: dict[str, list[float]] = {}

    def timed(name: str, since: float) -> None:
        times.setdefault(name, []).append(round(time.perf_counter() - since, 4))

    for _ in range(REPEATS):
        started = time.perf_counter()
        wanted = want(tasks, images)
        timed("identity_of_the_table_s", started)
        journal = Journal(folder)
        known = journal.plan()
        read = time.perf_counter()
        proof = verify_outputs(folder, journal.outputs(), full=False)
        timed("prove_files_s", read)
        assert not needs_images(wanted, known)
        decision = decide(wanted, known, broken=proof.broken)
        journal.close()
        timed("open_and_what_is_left_s", started)
        assert decision.run == ()
        assert len(decision.done) == batches
        started = time.perf_counter()
        status = read_status(folder)
        timed("status_s", started)
        assert status.batches_done == batches
        started = time.perf_counter()
        read_failures(folder)
        timed("failures_s", started)
    grown = want((*tasks, ImageTask("new", "A1", 1, (1,))), images)
    started = time.perf_counter()
    journal = Journal(folder)
    known = journal.plan()
    decision = decide(grown, known, images=journal.images())
    journal.close()
    timed("what_is_left_of_a_table_that_grew_s", started)
    assert decision.run == (batches,)
    return times


def main() -> None:
    """Make a folder, measure, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=10, help="images per batch")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="make the folder here and leave it")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.batches, given.images)))
        return
    folder = given.keep or Path(tempfile.mkdtemp(prefix="idrstream-journal-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        made = make_folder(folder, given.batches, given.images)
        size = ["--batches", str(given.batches), "--images", str(given.images)]
        words = [sys.executable, __file__, "--measure", str(folder), *size]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    finally:
        if not given.keep:
            shutil.rmtree(folder)
    content = {
        "method": __doc__,
        "machine": {"python": platform.python_version(), "processor": platform.processor()},
        "batches": given.batches,
        "images_per_batch": given.images,
        "made": made,
        "measured": json.loads(done.stdout),
    }
    text = json.dumps(content, indent=1) + "\n"
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
