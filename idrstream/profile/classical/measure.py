"""All measurements of one kind of objects in one frame, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ProfileError
from idrstream.quiet import without_warnings

_OBJECT_NUMBERS = ("FirstClosestObjectNumber", "SecondClosestObjectNumber")


def measure_objects(
    kind: str,
    labels: NDArray[np.int32],
    rows: NDArray[np.int32],
    pixels: NDArray[Any],
    channels: Sequence[str],
    families: Sequence[str],
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Return the measurements of objects, by CellProfiler's names.

    Parameters
    ----------
    kind : str
        Kind of the objects, the beginning of every name.
    labels : NDArray of int32
        Label image, shape ``(Y, X)``.
    rows : NDArray of int32
        Shape ``(n,)``: the label of each row; one without a pixel gets NaN.
    pixels : NDArray
        Shape ``(C, Y, X)``: unsigned integers, which are divided by the largest of their type, or
        floats from 0 to 1.
    channels : sequence of str
        Names of the channels.
    families : sequence of str
        What is measured; see `idrstream.config.ProfileSettings`.

    Returns
    -------
    columns : tuple of str
        For example ``Cells_Texture_Contrast_ER_3_00_256``.
    values : NDArray of float32
        Shape ``(n, d)``; NaN where a measurement is not defined.
    """
    from idrstream.profile.classical.families import View

    present = np.unique(labels)
    present = present[(present > 0) & np.isin(present, rows)]
    if not len(present):
        columns = _columns(kind, tuple(channels), tuple(families))
        return columns, np.full((len(rows), len(columns)), np.nan, np.float32)
    new = np.zeros(int(labels.max()) + 1, np.int32)
    new[present] = np.arange(1, len(present) + 1)
    scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    planes = {
        "_".join(name.split()): plane.astype(np.float64) / scale
        for name, plane in zip(channels, pixels, strict=True)
    }
    view = View(kind, new[labels], planes, scale if scale > 1 else np.iinfo(np.uint16).max)
    found = _measured(view, families)
    values = np.full((len(rows), len(found)), np.nan, np.float32)
    place = {label: at for at, label in enumerate(rows.tolist())}
    at = [place[label] for label in present.tolist()]
    with np.errstate(over="ignore"):
        for column, (name, measured) in enumerate(found.items()):
            if any(part in name for part in _OBJECT_NUMBERS):
                measured = _as_labels(measured, present)
            values[at, column] = measured
    values[~np.isfinite(values)] = np.nan
    return tuple(f"{kind}_{name}" for name in found), values


def _measured(view: Any, families: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
    from idrstream.profile.classical.families import measure

    with without_warnings(), np.errstate(all="ignore"):  # what is not defined becomes NaN
        found: dict[str, NDArray[np.float64]] = {}
        for family in families:
            try:
                found |= measure(view, [family])
            except Exception as error:
                raise ProfileError(
                    f"{family} of {view.kind.lower()}: {type(error).__name__}: {error}"
                ) from error
    return found


def _as_labels(numbers: NDArray[np.float64], present: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return numbers of objects as their labels; NaN for none."""
    labels = np.concatenate([[np.nan], present])
    found: NDArray[np.float64] = labels[np.nan_to_num(numbers).astype(int)]
    return found


@lru_cache(maxsize=64)
def _columns(kind: str, channels: tuple[str, ...], families: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of what is measured, as they are for any objects."""
    labels = np.zeros((48, 48), np.int32)
    labels[4:16, 4:16], labels[24:40, 20:44], labels[30:44, 4:14] = 1, 2, 3
    ramp = np.arange(labels.size, dtype=np.float64).reshape(labels.shape) / labels.size
    pixels = np.stack([np.roll(ramp, number, axis=1) for number in range(len(channels))])
    rows = np.array([1, 2, 3], np.int32)
    return measure_objects(kind, labels, rows, pixels, channels, families)[0]
