"""How well nuclei are followed: ours, laptrack, trackpy and the nearest neighbour, on known truth.

    python benchmarks/tracking.py --seeds 101 102 103 --out benchmarks/results/tracking.json

Movies from the simulator, easy (nuclei move as most of Mitocheck's) and hard (twice as many, three
times as far, uneven times, a tenth not found). F1 of links, of divisions, and of complete tracks,
as `idrstream.simulate.score_tracks` has them; seconds of one core. `--save` keeps links for
`benchmarks/traccuracy_scores.py`. The others get the true
diameter and, for each movie, the best of several cutoffs; trackpy is used where it is installed.
The table has the mean of the movies, and the least and the most. `--add` takes one movie after the
other into the same file: `--levels hard --seeds 104 --segment --add`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import write_result
from scipy.spatial import cKDTree

from idrstream import ScreenSpec
from idrstream.records import Frame, ImageTask
from idrstream.segment import objects_in
from idrstream.simulate import SimulatedMovie, TrackScore, score_tracks, simulate_movie
from idrstream.simulate.track_score import cut_at_gaps, links_of
from idrstream.track import Detections, NucleusTracker

DIAMETER_PX = 18.0
EASY = {"nuclei_per_frame": 120}
HARD = {"nuclei_per_frame": 240, "motion": 3.0, "uneven_times": 0.4}
LEVELS = {"easy": (EASY, 0.0), "hard": (HARD, 0.1)}
"""What is changed in the simulated screen, and the share of nuclei that is not found."""
CUTOFFS = (0.6, 0.9, 1.2, 1.5)  # diameters, for the others


@dataclass
class Case:
    """Objects that were found in a movie, and the true track of each; 0 for none."""

    name: str
    frames: list[Detections]
    track: np.ndarray
    parent: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """Frame, y and x of every object."""
        parts = [
            np.column_stack([np.full(len(f.table), f.number), f.table["y"], f.table["x"]])
            for f in self.frames
        ]
        return np.concatenate(parts)


def true_case(name: str, movie: SimulatedMovie, missing: float) -> Case:
    """Return the true masks of a movie, less a share of its nuclei."""
    kept = np.random.default_rng(0).random(len(movie.truth.frame)) >= missing
    return _case(name, movie, movie.masks, kept)


def segmented_case(name: str, movie: SimulatedMovie, missing: float, segmentor: Any) -> Case:
    """Return what a segmentor finds, each object with the nucleus that it overlaps most."""
    masks = []
    for number in range(1, len(movie.frames) + 1):
        (found,) = segmentor.segment_many([_frame(movie, number)], outlines=False)
        masks.append(found.labels)
    rng = np.random.default_rng(0)
    kept = [rng.random(int(labels.max()) + 1) >= missing for labels in masks]
    masks = [np.where(keep[labels], labels, 0) for labels, keep in zip(masks, kept, strict=True)]
    return _case(name, movie, masks, np.ones(len(movie.truth.frame), bool))


def _frame(movie: SimulatedMovie, number: int) -> Frame:
    return Frame(movie.frames[number - 1][None], number, ImageTask("P", "A15", 15, ()))


def _case(name: str, movie: SimulatedMovie, masks: Sequence[np.ndarray], kept: np.ndarray) -> Case:
    truth, frames, tracks, parents = movie.truth, [], [], []
    for number, labels in enumerate(masks):
        here = (truth.frame == number) & kept
        image = np.asarray(labels, np.int32)
        true = np.where(np.isin(movie.masks[number], truth.label[here]), movie.masks[number], 0)
        if masks is movie.masks:
            image = true.astype(np.int32)
        objects = objects_in(image)
        frames.append(Detections.of(_frame(movie, number + 1), objects))
        of = dict(zip(truth.label[here].tolist(), np.flatnonzero(here).tolist(), strict=True))
        at = [of.get(label, -1) for label in _most_overlapping(image, true, objects.table)]
        tracks.append([truth.track[one] if one >= 0 else 0 for one in at])
        parents.append([truth.parent[one] if one >= 0 else 0 for one in at])
    return Case(
        name, frames, np.concatenate(tracks).astype(int), np.concatenate(parents).astype(int)
    )


def _most_overlapping(image: np.ndarray, true: np.ndarray, table: np.ndarray) -> list[int]:
    """Return for each object the true label that it covers most, each at most once; else 0."""
    both = (image > 0) & (true > 0)
    pairs, counts = np.unique(
        np.column_stack([image[both], true[both]]), axis=0, return_counts=True
    )
    found: dict[int, int] = {}
    taken: set[int] = set()
    sizes = np.bincount(true.ravel())
    for at in np.argsort(-counts, kind="stable"):
        one, other = int(pairs[at, 0]), int(pairs[at, 1])
        if one not in found and other not in taken and counts[at] > 0.3 * sizes[other]:
            found[one] = other
            taken.add(other)
    return [found.get(int(label), 0) for label in table["label"]]


def ours(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Track by the default tracker with its defaults."""
    tracks = NucleusTracker().track(case.frames)
    return tracks.track, tracks.parent


def nearest(cutoff: float) -> Callable[[Case], tuple[np.ndarray, np.ndarray]]:
    """Each nucleus comes from the nearest one before; one that two come from has divided."""

    def run(case: Case) -> tuple[np.ndarray, np.ndarray]:
        points = case.points
        before = np.full(len(points), -1)
        for number in np.unique(points[:, 0]):
            old, new = (np.flatnonzero(points[:, 0] == n) for n in (number - 1, number))
            if len(old) and len(new):
                far, at = cKDTree(points[old, 1:]).query(points[new, 1:])
                near = far <= cutoff * DIAMETER_PX
                before[new[near]] = old[at[near]]
        return _from_links(before)

    return run


def laptrack(cutoff: float) -> Callable[[Case], tuple[np.ndarray, np.ndarray]]:
    """Laptrack with splitting and gap closing."""

    def run(case: Case) -> tuple[np.ndarray, np.ndarray]:
        import pandas as pd
        from laptrack import LapTrack

        square, wide = (cutoff * DIAMETER_PX) ** 2, (1.5 * cutoff * DIAMETER_PX) ** 2
        table = pd.DataFrame(case.points, columns=["frame", "y", "x"]).astype({"frame": int})
        table["at"] = np.arange(len(table))
        tracker = LapTrack(
            cutoff=square, gap_closing_cutoff=wide, splitting_cutoff=wide,
            gap_closing_max_frame_count=2,
        )  # fmt: skip
        found, splits, _ = tracker.predict_dataframe(
            table, ["y", "x"], frame_col="frame", only_coordinate_cols=False
        )
        found = found.sort_values("at")
        track = found["track_id"].to_numpy() + 1
        parent_of = {
            int(child) + 1: int(parent) + 1
            for parent, child in zip(
                splits.get("parent_track_id", ()), splits.get("child_track_id", ()), strict=True
            )
        }
        return track, np.array([parent_of.get(int(one), 0) for one in track])

    return run


def trackpy(cutoff: float) -> Callable[[Case], tuple[np.ndarray, np.ndarray]]:
    """Trackpy with a memory of two frames; it knows no divisions."""

    def run(case: Case) -> tuple[np.ndarray, np.ndarray]:
        import pandas as pd
        import trackpy as tp

        tp.quiet()
        table = pd.DataFrame(case.points, columns=["frame", "y", "x"]).astype({"frame": int})
        table["at"] = np.arange(len(table))
        found = tp.link(table, search_range=cutoff * DIAMETER_PX, memory=2).sort_values("at")
        track = found["particle"].to_numpy() + 1
        return track, np.zeros(len(track), int)

    return run


def _from_links(before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    children = np.bincount(before[before >= 0], minlength=len(before))
    track, parent = np.zeros(len(before), int), np.zeros(len(before), int)
    last = 0
    for at, one in enumerate(before):
        if one >= 0 and children[one] == 1:
            track[at], parent[at] = track[one], parent[one]
        else:
            last += 1
            track[at], parent[at] = last, track[one] if one >= 0 else 0
    return track, parent


def measure(case: Case, method: Callable) -> tuple[TrackScore, float] | None:
    """Return score and seconds of processor time; None where a method gives up."""
    frame = case.points[:, 0].astype(int)
    begun = time.process_time()
    try:
        track, parent = method(case)
    except Exception as error:  # trackpy refuses subnetworks that are too large
        print(f"# {case.name}: {type(error).__name__}: {str(error)[:90]}", file=sys.stderr)
        return None
    seconds = time.process_time() - begun
    return score_tracks(frame, case.track, case.parent, track, parent), seconds


def best(case: Case, make: Callable) -> tuple[float, tuple[TrackScore, float] | None]:
    """Return the cutoff with the best links and divisions, and its result."""
    found = {cutoff: measure(case, make(cutoff)) for cutoff in CUTOFFS}
    done = {cutoff: one for cutoff, one in found.items() if one is not None}
    if not done:
        return 0.0, None
    cutoff = max(done, key=lambda one: done[one][0].links + done[one][0].divisions)
    return cutoff, done[cutoff]


def main() -> None:
    """Measure, and print one table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=93)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--levels", nargs="+", default=list(LEVELS), choices=LEVELS)
    parser.add_argument("--scale", type=float, default=0.5, help="factor on height and width")
    parser.add_argument("--segment", action="store_true", help="also on our segmentation")
    parser.add_argument("--methods", nargs="*", default=list(_OTHERS), choices=_OTHERS)
    parser.add_argument("--out", type=Path, help="the numbers of every movie as JSON")
    parser.add_argument("--add", action="store_true", help="keep what --out has of other movies")
    parser.add_argument("--save", type=Path, help="folder for our and the true links as JSON")
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in chosen.seeds:
        for level in chosen.levels:
            for case in cases(level, seed, chosen.frames, chosen.scale, chosen.segment):
                if chosen.save is not None:
                    save_links(chosen.save / f"{case.name}, seed {seed}.json", case)
                found = [("ours", 0.0, measure(case, ours))]
                found += [(name, *best(case, _OTHERS[name])) for name in chosen.methods]
                for name, cutoff, result in found:
                    rows.append(_row(case, seed, name, cutoff, result))
                    print(f"# {rows[-1]}", file=sys.stderr, flush=True)
    if chosen.add and chosen.out.is_file():
        rows = _added(json.loads(chosen.out.read_text(encoding="utf-8"))["movies"], rows)
    means = _means(rows)
    print("\n".join(_lines(means)))
    write_result(
        chosen.out,
        "How well are nuclei followed in simulated movies, beside other trackers?",
        ("laptrack", "trackpy", "numpy", "scipy"),
        means=means,
        movies=rows,
    )


def save_links(path: Path, case: Case) -> None:
    """Write all objects, true links and ours as JSON: pairs of the positions of objects."""
    frame = case.points[:, 0].astype(int)
    true = cut_at_gaps(frame, case.track, case.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "frame": frame.tolist(),
        "true": (true[0] > 0).tolist(),
        "true_links": sorted(links_of(frame, *true, skip=0)),
        "our_links": sorted(links_of(frame, *ours(case))),
    }
    path.write_text(json.dumps(found), encoding="utf-8")


def cases(level: str, seed: int, frames: int, scale: float, segment: bool) -> Iterator[Case]:
    """Yield a simulated movie with its true masks and, if wanted, as we segment it."""
    changes, missing = LEVELS[level]
    spec = ScreenSpec(
        frames=frames, seed=seed,
        **{
            **changes,
            "height": round(1024 * scale),
            "width": round(1344 * scale),
            "nuclei_per_frame": round(changes["nuclei_per_frame"] * scale**2),
        },
    )  # fmt: skip
    movie = simulate_movie(spec, well="A15")
    yield true_case(f"{level}, true masks", movie, missing)
    if segment:
        from idrstream.segment import CellPoseSegmentor

        segmentor = CellPoseSegmentor({"model_type": "idrstream-nuclei", "diameter": DIAMETER_PX})
        yield segmented_case(f"{level}, our masks", movie, missing, segmentor)


def _row(
    case: Case, seed: int, name: str, cutoff: float, result: tuple[TrackScore, float] | None
) -> dict[str, Any]:
    row = {"movie": case.name, "seed": seed, "objects": len(case.points), "tracker": name}
    if result is None:
        return {**row, "gave_up": True}
    score, seconds = result
    numbers = {name: round(number, 5) for name, number in asdict(score).items()}
    return {**row, "cutoff_diameters": cutoff, **numbers, "core_s": round(seconds, 2)}


def _added(rows: Sequence[dict[str, Any]], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all rows in one order, new ones in place of those of the same movie and tracker."""
    trackers = ["ours", *_OTHERS]
    found = {(row["movie"], row["seed"], row["tracker"]): row for row in [*rows, *new]}

    def place(key: tuple[str, int, str]) -> tuple[str, bool, int, int]:
        movie, seed, tracker = key
        return movie.partition(",")[0], "our" in movie, trackers.index(tracker), seed

    return [found[key] for key in sorted(found, key=place)]


def _means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return mean, least and most of every number of each movie and tracker."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["movie"], row["tracker"]), []).append(row)
    means = []
    for (movie, tracker), members in groups.items():
        done = [row for row in members if "gave_up" not in row]
        mean: dict[str, Any] = {"movie": movie, "tracker": tracker, "movies": len(done)}
        mean["gave_up"] = len(members) - len(done)
        for name in (*_SCORES, "core_s") if done else ():
            values = [row[name] for row in done if name in row]  # times are not known of all
            if not values:
                continue
            mean[name] = [round(v, 4) for v in (np.mean(values), min(values), max(values))]
        means.append(mean)
    return means


def _lines(means: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| movies | tracker | links | divisions | within 1 frame | complete tracks | core s |",
        "|---|---|---|---|---|---|---|",
    ]
    for mean in means:
        numbers = [_span(mean[name]) if any(mean.get(name, ())) else "" for name in _SCORES]
        seconds = f"{mean['core_s'][0]:.1f}" if "core_s" in mean else "gave up"
        cells = " | ".join([mean["movie"], mean["tracker"], *numbers, seconds])
        lines.append(f"| {cells} |")
    return lines


def _span(numbers: Sequence[float]) -> str:
    mean, least, most = numbers
    return f"{mean:.3f} ({least:.3f} to {most:.3f})"


_SCORES = ("links", "divisions", "divisions_within_1", "complete")
_OTHERS = {"laptrack": laptrack, "trackpy": trackpy, "nearest neighbour": nearest}


if __name__ == "__main__":
    main()
