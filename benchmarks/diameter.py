"""What one diameter for a plate saves, and what it does to features from frame to frame.

``python benchmarks/diameter.py [--out results/diameter.json] [--movie MOVIE.ch5 ...]``

For three sizes of frames: the processor time to segment a frame on one thread when its diameter is
estimated (``diameter = 0``) and when it is known (``diameter = "plate"``), and that of the one
estimate.
For every movie, simulated and given: how much the mean features of its frames vary from frame to
frame, in units of their spread among nuclei.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from _common import RESULTS, show, write_result

from idrstream import models
from idrstream.config import ProfileSettings
from idrstream.formats import make_reader
from idrstream.profile import DeepModel, TorchEngine
from idrstream.records import Frame, ImageTask, Objects
from idrstream.segment import CellPoseSegmentor
from idrstream.simulate import ScreenSpec
from idrstream.simulate.movie import simulate_movie

SIZES = {(192, 256): 10, (512, 672): 40, (1024, 1344): 120}
"""Sizes of frames, and nuclei in them."""
WELLS = 6


def simulated(shape: tuple[int, int], nuclei: int, frames: int, seed: int) -> list[Frame]:
    """Return the frames of a simulated movie."""
    spec = ScreenSpec(
        plates=1, wells_per_plate=1, frames=frames, height=shape[0], width=shape[1],
        nuclei_per_frame=nuclei, seed=seed,
    )  # fmt: skip
    return as_frames(simulate_movie(spec, well="A1").frames, f"A{seed + 1}")


def as_frames(movie: Any, well: str) -> list[Frame]:
    """Return the frames of pixels of shape ``(T, Y, X)``."""
    tasks = [ImageTask("P1", well, 1, (number,)) for number in range(1, len(movie) + 1)]
    return [
        Frame(np.asarray(pixels)[np.newaxis], number, task)
        for number, (pixels, task) in enumerate(zip(movie, tasks, strict=True), start=1)
    ]


def segmentor(diameter: float | str) -> CellPoseSegmentor:
    """Return the shipped model on one thread."""
    made = CellPoseSegmentor(
        {"model_type": "idrstream-nuclei", "diameter": diameter, "gpu": False, "threads": 1}
    )
    made.load()
    return made


def timed(call: Any, frames: list[Frame]) -> tuple[float, list[Objects]]:
    """Return the median processor seconds of a frame, and what was found."""
    call(frames[0])
    seconds, found = [], []
    for frame in frames:
        begin = time.process_time()
        found.append(call(frame))
        seconds.append(time.process_time() - begin)
    return float(np.median(seconds)), found


def speed(shape: tuple[int, int], nuclei: int) -> dict[str, Any]:
    """Measure frames of a size."""
    frames = [simulated(shape, nuclei, 2, seed)[1] for seed in range(WELLS)]
    each, plate = segmentor(0), segmentor("plate")
    begin = time.process_time()
    plate.fit_plate("P1", frames)
    fit_s = time.process_time() - begin
    each_s, _ = timed(each.segment, frames)
    plate_s, _ = timed(plate.segment, frames)
    return {
        "frame": f"{shape[1]} x {shape[0]}", "nuclei": nuclei, "estimated_s": each_s,
        "plate_s": plate_s, "times_as_fast": each_s / plate_s, "estimate_of_plate_s": fit_s,
        "wells": WELLS,
    }  # fmt: skip


def variation(name: str, frames: list[Frame], engine: TorchEngine) -> dict[str, Any]:
    """Measure how features vary over the frames of a movie."""
    row: dict[str, Any] = {"movie": name, "frames": len(frames)}
    plate = segmentor("plate")
    plate.fit_plate("P1", frames[:: max(1, len(frames) // WELLS)][:WELLS])
    for how, made in (("estimated", segmentor(0)), ("plate", plate)):
        objects = [made.segment(frame) for frame in frames]
        diameters = {round(one.diameter_px, 2) for one in objects}
        deep = [found.values for found in engine.profile(frames, objects)]
        area = [one.table["area"][:, np.newaxis].astype(float) for one in objects]
        row |= {
            f"{how}_diameters": len(diameters), f"{how}_deep": _spread(deep),
            f"{how}_area": _spread(area),
        }  # fmt: skip
    return row


def _spread(of_frames: list[Any]) -> float:
    """Return the jumps of the frames' means from one to the next, in spreads among nuclei.

    Jumps, not the whole variance: a movie's cells grow and divide slowly.
    """
    among = np.concatenate(of_frames).std(axis=0)
    means = np.array([values.mean(axis=0) for values in of_frames if len(values)])
    varies = among > 1e-9
    jumps = np.abs(np.diff(means, axis=0))[:, varies] / among[varies]
    return float(jumps.mean())


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "diameter.json")
    parser.add_argument("--movie", type=Path, nargs="*", default=[], help="CellH5 movies")
    parser.add_argument("--frames", type=int, default=12, help="frames of every movie")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    speeds = [speed(shape, nuclei) for shape, nuclei in SIZES.items()]
    show(speeds)
    model = DeepModel.read(models.profiler_config_path(), models.profiler_checkpoint_path())
    engine = TorchEngine(model, ProfileSettings(profile_device="cpu"))
    movies = {
        f"simulated {shape[1]} x {shape[0]}": simulated(shape, nuclei, given.frames, 7)
        for shape, nuclei in list(SIZES.items())[:2]
    }
    for path in given.movie:
        reader = make_reader("cellh5")
        numbers = list(range(1, min(given.frames, reader.info(path).n_frames) + 1))
        read = reader.read(path, numbers)
        movies[path.name] = as_frames([read[number] for number in numbers], "A1")
    rows = [variation(name, frames, engine) for name, frames in movies.items()]
    show(rows)
    question = "What does one diameter for a plate save, and do features vary less over frames?"
    write_result(given.out, question, ["cellpose", "torch"], speed=speeds, variation=rows)


if __name__ == "__main__":
    main()
