"""What workers cost and gain with real models: this process, one worker, two workers.

    python benchmarks/cluster_overhead.py --out benchmarks/results/cluster_overhead.json

A simulated screen in a local folder is streamed to features, its segmentation and profiling with
one thread each, by this machine's own runner (``here``), by one worker process (``one``) and by
two (``two``), in turns, each in a process of its own. Told of each run:

- ``seconds``: from the call to its end, models loaded anew each time; ``processor_s`` with all
  children;
- ``loading_s``: until the models are loaded, of the slowest worker;
- ``at_work_s``: from the begin of the first batch to the end of the last, without loading;
- ``batch_s``: seconds from the end of one batch to that of the next, in turn; the first from the
  begin of the work, when models are loaded: a model that was loaded anew would show here.

``overhead`` is one worker's time beyond that of this machine's own runner, as a share of it;
``speed_up`` how many times as fast two workers are as one: medians over the rounds, of the whole
time and of the time at work. The tables must have the same bytes everywhere.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import show, write_result

KINDS = {"here": 0, "one": 1, "two": 2}  # workers
HEIGHT, WIDTH = 512, 672


def child(kind: str, screen: Path, work: Path, batch_size: int) -> dict[str, Any]:
    """Stream the screen once; return times and digests of tables."""
    from idrstream import IdrStream, load_settings, read_table
    from idrstream.cluster import Processes
    from idrstream.demo import config_for
    from idrstream.folder.journal.reader import open_journal

    out = work / "out"
    settings = load_settings(
        None,
        environment={},
        options={
            "table": str(screen / "data_to_process.tsv"), "root": str(screen), "method": "local",
            "screens_path": str(screen / "idr0013-screenA-plates.tsv"), "diameter": "17",
            "final_data_dir": str(out), "tmp_dir": str(work / "tmp"), "progress": "false",
            "dp_config": str(config_for(HEIGHT, WIDTH, work)), "cores": "1", "threads": "1",
        },
    )  # fmt: skip
    stream = IdrStream.from_settings(settings)
    table = read_table(screen / "data_to_process.tsv")
    executor = Processes(KINDS[kind], threads=1) if KINDS[kind] else None
    begun: list[float] = []

    def note(event: object) -> None:
        if type(event).__name__ == "StreamStarted":
            begun.append(time.time())

    started = time.time()
    result = stream.run_stream(
        table, batch_size, progress=False, cores=1, executor=executor, listeners=[note]
    )
    seconds = time.time() - started
    stream.close()
    if result.failed_batches or result.remaining_batches:
        sys.exit(f"batches failed: {result.failures()}")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    with open_journal(out) as journal:
        done, ends = journal.worker_attempts(), sorted(
            one.ended for one in journal.published_attempts()
        )  # fmt: skip
    first, loading_s = begun[0], begun[0] - started
    if done:
        ends = sorted(one.begun + one.worked_s for one in done)
        first, loading_s = min(one.begun for one in done), max(one.loading_s for one in done)
    return {
        "kind": kind, "seconds": seconds,
        "processor_s": sum(one.ru_utime + one.ru_stime for one in used),
        "loading_s": loading_s, "at_work_s": ends[-1] - first,
        "batch_s": [round(b - a, 2) for a, b in zip([first, *ends], ends, strict=False)],
        "workers": len({one.worker for one in done}), "load": os.getloadavg()[0],
        "tables": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(out.glob("batch_*"))
        },
    }  # fmt: skip


def run(kind: str, screen: Path, work: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Call `child` in a process of its own."""
    work.mkdir(parents=True)
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    words = [sys.executable, "-W", "ignore", __file__, "--batch-size", str(given.batch_size)]
    done = subprocess.run(
        [*words, "--child", kind, str(screen), str(work)],
        env={**os.environ, **one_thread}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{kind} failed:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads((work / "result.json").read_text(encoding="utf-8"))
    return found


def compared(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return overhead and speed-up, of medians over the rounds."""

    def median(kind: str, name: str) -> float:
        return statistics.median(one[name] for one in runs if one["kind"] == kind)

    found = {}
    for name in ("seconds", "at_work_s", "processor_s"):
        found[f"overhead_{name}"] = median("one", name) / median("here", name) - 1
        found[f"speed_up_{name}"] = median("one", name) / median("two", name)
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--nuclei", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9.0, help="begin no round after that")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        kind, screen, work = given.child
        found = child(kind, Path(screen), Path(work), given.batch_size)
        (Path(work) / "result.json").write_text(json.dumps(found), encoding="utf-8")
        return
    from idrstream import ScreenSpec, simulate_screen

    began, runs = time.monotonic(), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="idrstream-workers-") as name:
        folder = Path(name)
        spec = ScreenSpec(
            plates=1, wells_per_plate=given.images, frames=3, height=HEIGHT, width=WIDTH,
            nuclei_per_frame=given.nuclei, invalid_frames=(), empty_wells=(), wanted_frames=(2,),
        )  # fmt: skip
        screen = simulate_screen(folder / "screen", spec).folder
        for number in range(given.rounds):
            longest = (time.monotonic() - began) / max(1, number)
            if number and time.monotonic() - began + longest > 60 * given.minutes:
                break
            runs += [run(kind, screen, folder / f"{kind}-{number}", given) for kind in KINDS]
            show([{k: v for k, v in one.items() if k not in ("tables", "batch_s")} for one in runs])
    same = all(one["tables"] == runs[0]["tables"] for one in runs)
    found = compared(runs)
    show([{"same_bytes": same, **found}])
    packages = ("torch", "cellpose", "numpy", "basicpy")
    runs = [{k: v for k, v in one.items() if k != "tables"} for one in runs]
    options = {k: v for k, v in vars(given).items() if k in ("images", "nuclei", "batch_size")}
    write_result(given.out, __doc__, packages, options=options, same_bytes=same, runs=runs, **found)
    if not same:
        sys.exit("the tables differ")


if __name__ == "__main__":
    main()
