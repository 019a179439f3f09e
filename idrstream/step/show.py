"""Pictures and numbers of what a step made of one image, and of two settings side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from idrstream.quality.measures import measure
from idrstream.quality.pictures import draw, draw_shapes, picture_key
from idrstream.quality.raw_frame import measure_raw_frame
from idrstream.segment.labels import trace_outlines

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from idrstream.records import Frame, ImageTask, Objects
    from idrstream.step.chain import Chain

Step = Literal["download", "preprocess", "segment", "profile"]

SAME = 0.5
"""Overlap, of the union of both, from which two objects are the same one."""

_FIRST, _SECOND = (90, 200, 255), (255, 140, 60)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a step made of an image.

    Attributes
    ----------
    frame : int
        Number of the frame that is shown, counted from 1.
    pictures : dict
        WebP by its caption.
    numbers : dict
        Values by the name of their column.
    result : object
        What two settings are compared by.
    """

    frame: int
    pictures: dict[str, bytes]
    numbers: dict[str, Any]
    result: Any = field(repr=False)


def show(chain: Chain, step: Step, task: ImageTask) -> Shown:
    """Run a step for an image, unless its result is kept, and show it."""
    return _SHOWS[step](chain, task)


def compare(step: Step, first: Shown, second: Shown) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return pictures and numbers of what differs between two settings."""
    pictures, numbers = _DIFFERENCES.get(step, _nothing)(first.result, second.result)
    columns = first.numbers.keys() & second.numbers.keys()
    changes = {
        f"{name}_Change": second.numbers[name] - first.numbers[name]
        for name in first.numbers
        if name in columns and name != "Seconds"
    }
    return pictures, {**changes, **numbers}


def _download(chain: Chain, task: ImageTask) -> Shown:
    made = chain.movie(task)
    movie, frame = made.value, chain.raw(task)
    sizes = [file.path.stat().st_size for file in movie.files]
    moved = [file.bytes_moved for file in movie.files]
    numbers = {
        "Size_MB": sum(sizes) / 1e6,
        "Moved_MB": math.nan if None in moved else sum(map(int, filter(None, moved))) / 1e6,
        "Frames_Fetched": math.nan if movie.frames is None else len(movie.frames),
        "Seconds": made.seconds,
    }
    return Shown(frame.number, _planes("as it was taken", frame), numbers, None)


def _preprocess(chain: Chain, task: ImageTask) -> Shown:
    made, raw = chain.frame(task), chain.raw(task)
    frame = made.value
    numbers: dict[str, Any] = {}
    for at, name in enumerate(frame.channels):
        end = f"_{name}" if len(frame.channels) > 1 else ""
        before, after = raw.pixels[at], frame.pixels[at]
        numbers |= {
            f"Background{end}": float(np.percentile(after, 25)),
            f"Unevenness_Before{end}": _unevenness(before),
            f"Unevenness_After{end}": _unevenness(after),
        }
    pictures = _planes("as it was taken", raw) | _planes("corrected", frame)
    return Shown(frame.number, pictures, {**numbers, "Seconds": made.seconds}, frame)


def _unevenness(plane: NDArray[Any]) -> float:
    """Return the standard deviation of the background over the frame, by its mean."""
    tiles = measure_raw_frame(plane).shading
    return float(np.nanstd(tiles) / np.nanmean(tiles)) if np.nanmean(tiles) > 0 else math.nan


def _segment(chain: Chain, task: ImageTask) -> Shown:
    frame, made = chain.objects(task)
    numbers = {**_object_numbers(frame, made.value), "Seconds": made.seconds}
    return Shown(frame.number, _outlined(frame, made.value), numbers, (frame, made.value))


def _profile(chain: Chain, task: ImageTask) -> Shown:
    frame, objects, made = chain.features(task)
    values = made.value.values
    numbers = {
        "Nuclei": len(objects),
        "Features": values.shape[1],
        "Undefined_Share": float(np.isnan(values).mean()) if values.size else math.nan,
        "Seconds": made.seconds,
    }
    return Shown(frame.number, _outlined(frame, objects), numbers, (objects, made.value))


def _object_numbers(frame: Frame, objects: Objects) -> dict[str, Any]:
    measured, others = measure(frame, objects), {}
    for of in objects.related:
        areas = of.table["area"][of.table["area"] > 0]
        others[f"{of.name}_Median_Area_px2"] = float(np.median(areas)) if len(areas) else math.nan
    return {
        objects.name: len(objects),
        "Median_Area_px2": measured.area,
        "Diameter_px": objects.diameter_px,
        "At_Border": int(objects.table["touches_border"].sum()),
        "Intensity": measured.intensity,
        "Focus": measured.focus,
        "Background": measured.background,
        **others,
    }


def _planes(caption: str, frame: Frame) -> dict[str, bytes]:
    several = len(frame.channels) > 1
    return {
        f"{caption}, {name}" if several else caption: draw_shapes(plane)
        for name, plane in zip(frame.channels, frame.pixels, strict=True)
    }


def _outlined(frame: Frame, objects: Objects) -> dict[str, bytes]:
    task = frame.task
    key = picture_key(task.plate, task.well_number, task.site, frame.number)
    drawn = draw(frame, objects, key)
    pictures = {objects.name.lower(): drawn.frame}
    for of in objects.related:
        if of.name == "Cells":
            plane = frame.plane(of.channel if of.channel in frame.channels else "")
            pictures["cells"] = draw_shapes(plane, [(trace_outlines(of.labels), _SECOND)])
    return pictures | ({"some of them": drawn.crops} if drawn.crops else {})


def same_objects(first: Objects, second: Objects) -> list[tuple[int, int]]:
    """Return pairs of rows of objects that are the same: they share half of what either covers."""
    if first.labels.shape != second.labels.shape or not len(first) or not len(second):
        return []
    both = (first.labels > 0) & (second.labels > 0)
    pairs, shared = np.unique(
        np.stack([first.labels[both], second.labels[both]]), axis=1, return_counts=True
    )
    rows = [
        {int(label): row for row, label in enumerate(of.table["label"])} for of in (first, second)
    ]
    found = []
    for (one, other), count in zip(pairs.T.tolist(), shared.tolist(), strict=True):
        if one in rows[0] and other in rows[1]:
            pair = rows[0][one], rows[1][other]
            areas = first.table["area"][pair[0]] + second.table["area"][pair[1]]
            if count / (areas - count) >= SAME:
                found.append(pair)
    return found


def _objects_differ(
    first: tuple[Frame, Objects], second: tuple[Frame, Objects]
) -> tuple[dict[str, bytes], dict[str, Any]]:
    pairs = same_objects(first[1], second[1])
    alone, numbers_alone = [], []
    for side, (_, objects) in enumerate((first, second)):
        paired = {pair[side] for pair in pairs}
        outlines = objects.outlines or ()
        alone.append([o for row, o in enumerate(outlines) if row not in paired])
        numbers_alone.append(len(objects) - len(paired))
    picture = draw_shapes(
        first[0].plane(first[1].channel), [(alone[0], _FIRST), (alone[1], _SECOND)]
    )
    numbers = {
        "In_Both": len(pairs), "Only_In_First": numbers_alone[0],
        "Only_In_Second": numbers_alone[1],
    }  # fmt: skip
    caption = (
        "only in the first (blue) or the second (orange)"
        if any(numbers_alone)
        else "the same in both"
    )
    return {caption: picture}, numbers


def _frames_differ(first: Frame, second: Frame) -> tuple[dict[str, bytes], dict[str, Any]]:
    if first.pixels.shape != second.pixels.shape:
        return {}, {}
    change = second.pixels.astype(np.float32) - first.pixels.astype(np.float32)
    pictures = {
        f"second less first{f', {name}' if len(change) > 1 else ''}": draw_shapes(plane)
        for name, plane in zip(first.channels, change, strict=True)
    }
    size = np.abs(change)
    return pictures, {
        "Mean_Difference": float(size.mean()),
        "Largest_Difference": float(size.max()),
    }


def _features_differ(first: Any, second: Any) -> tuple[dict[str, bytes], dict[str, Any]]:
    pairs = same_objects(first[0], second[0])
    numbers: dict[str, Any] = {"In_Both": len(pairs)}
    if pairs and first[1].columns == second[1].columns:
        rows = np.array(pairs).T
        one, other = first[1].values[rows[0]], second[1].values[rows[1]]
        numbers["Mean_Feature_Difference"] = float(np.nanmean(np.abs(other - one)))
    return {}, numbers


def _nothing(first: Any, second: Any) -> tuple[dict[str, bytes], dict[str, Any]]:  # noqa: ARG001
    return {}, {}


_SHOWS: Mapping[Step, Callable[[Chain, ImageTask], Shown]] = {
    "download": _download,
    "preprocess": _preprocess,
    "segment": _segment,
    "profile": _profile,
}
_DIFFERENCES: Mapping[Step, Callable[[Any, Any], tuple[dict[str, bytes], dict[str, Any]]]] = {
    "preprocess": _frames_differ,
    "segment": _objects_differ,
    "profile": _features_differ,
}
STEPS = tuple(_SHOWS)
"""Names of the steps that can be looked at."""
