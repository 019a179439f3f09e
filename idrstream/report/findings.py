"""Warnings about a screen, from robust thresholds on the quality measures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from idrstream.text import shorten_list

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from idrstream.report.data import FolderData

EMPTY = 0.05  # share of the plate's median count below which a well is empty
EMPTY_MEDIAN = 5  # nuclei; plates with fewer are not checked
COUNT_TIMES = 3  # fewer or more nuclei than the other plates
SATURATED = 0.005  # share of a frame's pixels
SATURATED_TIMES = 5  # times the plate's median
MADS = 5.0
# Differences between plates up to these are never reported, whatever the spread.
_PLATE_FLOORS = {"Focus": 0.75, "Intensity": 0.3, "Background": 0.3}
SHADING = 0.04  # root mean square difference between plates
_SHOWN = 8
_MAD = 1.4826  # times the median absolute deviation is the standard deviation of a normal one


@dataclass(frozen=True, slots=True)
class Warned:
    """One warning.

    Attributes
    ----------
    kind : str
        ``empty``, ``plate``, ``saturated``, ``vignetting`` or ``failed``.
    subject : str
        Its plate, wells or stage, or ``screen``.
    text : str
        The sentence.
    """

    kind: str
    subject: str
    text: str


def find_warnings(data: FolderData) -> tuple[Warned, ...]:
    """Return warnings, worst kinds first."""
    frames = data.frames
    return (
        *_failed(data),
        *_empty(frames),
        *_plates_off(frames),
        *_saturated(data),
        *_vignetting(frames),
    )


def _failed(data: FolderData) -> Iterable[Warned]:
    """Yield one warning per stage in which images failed, and one for batches."""
    for stage, failures in data.failures.groupby("Stage", sort=False):
        if stage == "batch":
            numbers = ", ".join(map(str, failures["Batch"][:_SHOWN]))
            text = f"{_count(len(failures), 'batch', 'batches')} failed as a whole ({numbers})."
            yield Warned("failed", "batch", text)
            continue
        wells = dict.fromkeys(
            f"{plate} {well}"
            for plate, well in zip(failures["Plate"], failures["Well"], strict=True)
        )
        words = {
            "download": "could not be downloaded",
            "preprocess": "could not be read or corrected",
            "illumination": "had no illumination model",
            "segment": "could not be segmented",
            "write": "could not be prepared for profiling",
        }.get(str(stage), f"failed in stage {stage}")
        text = f"{_count(len(failures), 'image')} {words}: {shorten_list(wells, _SHOWN)}."
        yield Warned("failed", str(stage), text)


def _empty(frames: pd.DataFrame) -> Iterable[Warned]:
    """Yield a warning if there is no nucleus at all, one per plate, or one per well."""
    if len(frames) and not frames["Nuclei"].sum():
        text = (
            f"No nucleus was found in any of the {len(frames)} frames: look at the examples, and "
            "check channel, model and diameter."
        )
        yield Warned("empty", "screen", text)
        return
    usual_on_plates = _counts_of_plates(frames).median()
    for plate, rows in frames.groupby("Plate", sort=False):
        counts = rows.groupby("Well", sort=False)["Nuclei"].median()
        usual = counts.median()
        if not rows["Nuclei"].sum():
            text = f"Plate {plate} is empty: no nucleus was found in its {len(rows)} frames."
            yield Warned("empty", str(plate), text)
            continue
        if usual < EMPTY_MEDIAN:
            without = list(counts.index[counts == 0])
            if without and usual_on_plates >= EMPTY_MEDIAN:
                text = (
                    f"{len(without)} of {len(counts)} wells of plate {plate} have no nuclei "
                    f"({shorten_list(without, _SHOWN)}), where other plates have "
                    f"{usual_on_plates:.0f} in a frame."
                )
                yield Warned("empty", str(plate), text)
            continue
        for well, count in counts[counts <= EMPTY * usual].items():
            text = (
                f"Well {well} of plate {plate} is empty: {count:.0f} nuclei in a frame, where the "
                f"plate's median is {usual:.0f}."
            )
            yield Warned("empty", f"{plate} {well}", text)


def _counts_of_plates(frames: pd.DataFrame) -> pd.Series[float]:
    """Return the usual number of nuclei in a frame of each plate: the median over its wells."""
    wells = frames.groupby(["Plate", "Well"], sort=False)["Nuclei"].median()
    counts: pd.Series[float] = wells.groupby(level="Plate", sort=False).median()
    return counts


def _counts_off(counts: pd.Series[float]) -> Iterable[tuple[str, str]]:
    """Yield plates with far fewer or more nuclei than the others, and how to say it."""
    for plate, count in counts.items():
        others = counts.drop(plate)
        usual = others.median()
        numbers = f"(median {count:.0f} in a frame, other plates {usual:.0f})"
        if usual >= EMPTY_MEDIAN and 0 < count * COUNT_TIMES < usual:
            yield str(plate), f"has few nuclei {numbers}"
        # Of two plates the one with few is told.
        elif len(others) > 1 and count >= EMPTY_MEDIAN and 0 < usual * COUNT_TIMES < count:
            yield str(plate), f"has many nuclei {numbers}"


def _plates_off(frames: pd.DataFrame) -> Iterable[Warned]:
    """Yield one warning per plate that is unlike the others in nuclei, focus or intensity."""
    seen = frames[frames["Nuclei"] > 0]
    found: dict[str, list[str]] = {}
    for name, few in _counts_off(_counts_of_plates(frames)):
        found.setdefault(name, []).append(few)
    for measure, floor in _PLATE_FLOORS.items():
        of_plate = seen.groupby("Plate", sort=False)[measure]
        medians, counts = of_plate.median().dropna(), of_plate.count()
        if len(medians) < 2:
            continue
        centre = medians.median()
        # Standard error of a plate's median, and usual spread between plates.
        spread = (seen[measure] - of_plate.transform("median")).abs()
        within = _MAD * spread.median() * 1.25 / np.sqrt(counts[medians.index].clip(lower=1))
        between = _MAD * float((medians - centre).abs().median())
        sigmas = np.hypot(between, np.asarray(within, dtype=np.float64))
        limit = floor if measure == "Focus" else floor * abs(centre)
        for (plate, median), sigma in zip(medians.items(), sigmas.tolist(), strict=True):
            apart = median - centre
            if abs(apart) <= limit or (measure == "Focus" and apart > 0):
                continue
            mads = apart / sigma if sigma > 0 else float(np.copysign(np.inf, apart))
            if abs(mads) < MADS:
                continue
            found.setdefault(str(plate), []).append(_off(measure, median, centre, mads))
    for plate, words in found.items():
        yield Warned("plate", plate, f"Plate {plate} {' and '.join(words)}.")


def _off(measure: str, median: float, centre: float, mads: float) -> str:
    far = f"{abs(mads):.0f} MADs" if np.isfinite(mads) else "far"
    values = f"(median {median:.3g}, other plates {centre:.3g})"
    if measure == "Focus":
        return f"is out of focus: its power-spectrum slope is {far} below {values}"
    side = "above" if mads > 0 else "below"
    name = "its nuclei's intensity" if measure == "Intensity" else "its background"
    return f"differs in brightness: {name} is {far} {side} {values}"


def _saturated(data: FolderData) -> Iterable[Warned]:
    columns = {"": "Saturated"}
    if data.measured_channels:
        columns = {f" in {name}": f"Saturated_{name}" for name in data.measured_channels}
    for (plate, rows), (where, column) in product(
        data.frames.groupby("Plate", sort=False), columns.items()
    ):
        shares = rows.groupby("Well", sort=False)[column].max().dropna()
        usual = shares.median()
        bad = shares[(shares > SATURATED) & (shares > SATURATED_TIMES * usual)]
        if usual > SATURATED:
            text = (
                f"Plate {plate} is saturated{where}: in half of its wells more than {usual:.1%} of "
                "the pixels are at the camera's highest level."
            )
            yield Warned("saturated", str(plate), text)
        for well, share in bad.items():
            text = (
                f"Well {well} of plate {plate} is saturated{where}: {share:.1%} of the pixels of a "
                "frame are at the camera's highest level; intensities there mean nothing."
            )
            yield Warned("saturated", f"{plate} {well}", text)


def plate_shading(frames: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return the median shading of each plate's frames.

    Returns
    -------
    dict
        Plate to an array of shape ``(8, 8)`` with mean 1: background before the correction.
    """
    fields = {}
    for plate, texts in frames.groupby("Plate", sort=False)["Shading"]:
        grids = [np.array(text.split(), dtype=np.float64) for text in texts if text]
        if grids:
            field = np.median(np.stack(grids), axis=0)
            side = int(np.sqrt(len(field)))
            fields[str(plate)] = (field / field.mean()).reshape(side, side)
    return fields


def shading_drift(fields: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """Return how far each plate's shading is from the median of all plates.

    Returns
    -------
    dict
        Plate to the root mean square difference, as a share of the mean brightness.
    """
    if not fields:
        return {}
    usual = np.median(np.stack(list(fields.values())), axis=0)
    return {plate: float(np.sqrt(np.mean((field - usual) ** 2))) for plate, field in fields.items()}


def _vignetting(frames: pd.DataFrame) -> Iterable[Warned]:
    fields = plate_shading(frames)
    drift = shading_drift(fields)
    if len(drift) == 2:
        first, second = fields
        apart = float(np.sqrt(np.mean((fields[first] - fields[second]) ** 2)))
        if apart > SHADING:
            text = f"The vignetting of plates {first} and {second} differs by {apart:.1%}."
            yield Warned("vignetting", f"{first} {second}", text)
        return
    usual = np.median(list(drift.values())) if drift else 0.0
    for plate, apart in drift.items():
        if apart > SHADING and apart > 3 * usual:
            text = (
                f"The vignetting of plate {plate} differs by {apart:.1%} from the other plates: "
                "the light or the optics changed."
            )
            yield Warned("vignetting", plate, text)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
