r"""What a tracked movie takes beyond its segmentation.

    python benchmarks/movie_time.py --out benchmarks/results/movie_time.json

A simulated movie as those of Mitocheck (1024 x 1344 pixels, 93 frames, 160 nuclei at first) is
streamed with the shipped networks in a process of its own: with tracks and without, in turns.
``seconds`` is the time at work, models loaded; ``busy_s`` what each lane had to do in it;
``over_segmentation`` its time beyond that of the lane ``segment``, as a share of it;
``of_tracking`` what tracks add to the time. ``tracker`` is the tracker alone, on the true masks of
the movie: processor seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from _common import show, write_result

from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen
from idrstream.demo import config_for
from idrstream.records import Frame, ImageTask
from idrstream.schedule.events import StreamStarted
from idrstream.segment import objects_in
from idrstream.simulate import simulate_movie
from idrstream.simulate.screen import TABLE
from idrstream.track import Detections, NucleusTracker

SIZE = (1024, 1344)
SPEC = ScreenSpec(
    plates=1, wells_per_plate=1, frames=93, height=SIZE[0], width=SIZE[1],
    nuclei_per_frame=160, seed=1,
)  # fmt: skip
KINDS = ("untracked", "tracked")


def measure(kind: str, mirror: Path, work: Path) -> dict[str, Any]:
    """Do one kind in this process; return its seconds."""
    one = IdrStream("idr0013", work / "tmp", work / "out", log=work / "log")
    with closing(one):
        screens = mirror / "idr0013-screenA-plates.tsv"
        one.init_downloader(make_downloader(method="local", root=mirror, screens_path=screens))
        one.init_preprocessor(None, True)
        one.init_segmentor({"model_type": "idrstream-nuclei", "diameter": 18})
        one.copy_DP_files(config_for(*SIZE, work))
        began: list[float] = []

        def note(event: object) -> None:
            if isinstance(event, StreamStarted):
                began.append(time.monotonic())

        table = read_table(mirror / TABLE).iloc[:1].assign(Frames="all")
        result = one.run_stream(
            table, batch_size=1, progress=False, track=kind == "tracked", listeners=[note]
        )
        ended = time.monotonic()
    if result.failed_batches:
        sys.exit(f"the stream failed: {result}")
    busy = {lane.name: round(lane.busy_s, 1) for lane in result.lanes}
    return {"seconds": ended - began[0], "nuclei": result.nuclei, "busy_s": busy}


def tracker_alone() -> dict[str, float]:
    """Return what the tracker takes for the true nuclei of the movie."""
    movie = simulate_movie(SPEC, plate=SPEC.plate_names[0], well=SPEC.wells[0])
    task = ImageTask("P", "A1", 1, ())
    frames = [
        Detections.of(Frame(pixels[None], number, task), objects_in(labels.astype(np.int32)))
        for number, (pixels, labels) in enumerate(zip(movie.frames, movie.masks, strict=True), 1)
    ]
    started = time.process_time()
    NucleusTracker().track(frames)
    seconds = time.process_time() - started
    counts = [len(frame.table) for frame in frames]
    return {"frames": len(frames), "nuclei_a_frame": float(np.mean(counts)), "seconds": seconds}


def main() -> None:
    """Measure each kind in processes of their own, in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--here", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        kind, mirror, work = given.here
        print(json.dumps(measure(kind, Path(mirror), Path(work))))
        return
    runs = []
    with tempfile.TemporaryDirectory(prefix="idrstream-movie-") as name:
        mirror = Path(name) / "mirror"
        simulate_screen(mirror, SPEC)
        for number in range(given.rounds):
            for kind in KINDS:
                work = Path(name) / f"{kind}-{number}"
                work.mkdir()
                words = [sys.executable, "-W", "ignore", __file__, "--here", kind]
                done = subprocess.run(
                    [*words, str(mirror), str(work)], stdout=subprocess.PIPE, text=True, check=True
                )
                runs.append({"kind": kind, **json.loads(done.stdout.splitlines()[-1])})
                show(runs[-1:])

    def median(kind: str) -> float:
        return statistics.median(run["seconds"] for run in runs if run["kind"] == kind)

    beyond = [
        run["seconds"] / run["busy_s"]["segment"] - 1 for run in runs if run["kind"] == "tracked"
    ]
    found = {
        "over_segmentation": round(statistics.median(beyond), 3),
        "of_tracking": round(median("tracked") / median("untracked") - 1, 3),
        "tracker": tracker_alone(),
    }
    show([found])
    packages = ("torch", "cellpose", "numpy", "basicpy", "laptrack")
    write_result(given.out, __doc__.splitlines()[0], packages, size=SIZE, runs=runs, **found)


if __name__ == "__main__":
    main()
