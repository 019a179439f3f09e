"""The objects of a movie, and the pairs of them that may be one nucleus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.track.protocol import Detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OVERLAP = 0.5  # share of a distance's cost that a full overlap takes away
_DIMMEST = 0.1  # of the median brightness: what is darker counts as that


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of objects, the first of them in an earlier frame.

    Their step for one frame's time in diameters, its square, less where they overlap, how unlike
    they are in area and brightness, and how many frames lie between them.
    """

    one: NDArray[np.intp]
    other: NDArray[np.intp]
    step: NDArray[np.float64]
    square: NDArray[np.float64]
    area: NDArray[np.float64]
    brightness: NDArray[np.float64]
    skipped: NDArray[np.intp]

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Return some of them."""
        return Pairs(*(getattr(self, name)[chosen] for name in Pairs.__slots__))


@dataclass(frozen=True, slots=True)
class Points:
    """All objects of a movie, frame by frame; distances in diameters of its nuclei."""

    frames: Sequence[Detections]
    number: NDArray[np.int32]
    at: NDArray[np.intp]  # position of the frame among the frames
    label: NDArray[np.int32]
    place: NDArray[np.float64]
    log_area: NDArray[np.float64]
    log_brightness: NDArray[np.float64]  # over the median; zeros where it is not known
    at_border: NDArray[np.bool_]
    first: NDArray[np.intp]  # object of each frame, and the number of all

    @classmethod
    def of(cls, frames: Sequence[Detections]) -> Points:
        """Return the objects of frames in ascending order."""
        tables = [frame.table for frame in frames]
        counts = [len(table) for table in tables]

        def column(name: str, kind: Any) -> NDArray[Any]:
            return np.concatenate([np.zeros(0, kind), *(table[name] for table in tables)])

        area = np.maximum(column("area", np.float64), 1.0)
        middle = float(np.median(area)) if len(area) else 1.0
        place = np.stack([column("y", np.float64), column("x", np.float64)], 1)
        return cls(
            frames=frames,
            number=np.repeat([frame.number for frame in frames], counts).astype(np.int32),
            at=np.repeat(np.arange(len(frames)), counts),
            label=column("label", np.int32),
            place=place / (2 * np.sqrt(middle / np.pi)),
            log_area=np.log(area),
            log_brightness=_log_brightness(frames),
            at_border=column("touches_border", np.bool_),
            first=np.concatenate([[0], np.cumsum(counts)]).astype(np.intp),
        )

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.number)

    def between(self, at: int) -> slice:
        """Return where the objects of the frame at a position are."""
        return slice(int(self.first[at]), int(self.first[at + 1]))

    def pairs(self, reach: float, max_gap: int) -> Pairs:
        """Return all pairs within reach, with up to so many frames between them."""
        found = [
            self._pairs(at, at + 1 + skipped, reach)
            for skipped in range(max_gap + 1)
            for at in range(len(self.frames) - 1 - skipped)
        ]
        none = np.zeros(0, np.intp)
        one, other, overlap = (
            np.concatenate([none, *(each[n] for each in found)]) for n in range(3)
        )
        one, other = one.astype(np.intp), other.astype(np.intp)
        apart = np.linalg.norm(self.place[one] - self.place[other], axis=1)
        step = apart / np.sqrt(self.number[other] - self.number[one])
        area = self.log_area[other] - self.log_area[one]
        area[self.at_border[one] | self.at_border[other]] = 0  # only a part of it is seen
        brightness = self.log_brightness[other] - self.log_brightness[one]
        return Pairs(
            one, other, step, step**2 * (1 - _OVERLAP * overlap), area**2, brightness**2,
            self.at[other] - self.at[one] - 1,
        )  # fmt: skip

    def _pairs(self, at: int, later: int, reach: float) -> tuple[NDArray[Any], ...]:
        here, there = self.between(at), self.between(later)
        now, following = self.frames[at], self.frames[later]
        far = reach * np.sqrt(following.number - now.number)
        one, other = self.near(here, there, far)
        if later > at + 1:
            return one, other, np.zeros(len(one))
        return one, other, _overlaps(now, following, one - here.start, other - there.start)

    def near(
        self, here: slice, there: slice, far: float
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the pairs of two frames' objects that are not farther apart, in their order."""
        from scipy.spatial import cKDTree

        if here.start == here.stop or there.start == there.stop:
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        pairs = cKDTree(self.place[here]).sparse_distance_matrix(
            cKDTree(self.place[there]), far, output_type="coo_matrix"
        )
        order = np.lexsort((pairs.col, pairs.row))
        return (
            here.start + pairs.row[order].astype(np.intp),
            there.start + pairs.col[order].astype(np.intp),
        )


def _log_brightness(frames: Sequence[Detections]) -> NDArray[np.float64]:
    if any(frame.intensity is None for frame in frames):
        return np.zeros(sum(len(frame.table) for frame in frames))
    known = [frame.intensity for frame in frames if frame.intensity is not None]
    bright = np.concatenate([np.zeros(0), *known])
    middle = max(float(np.median(bright)), 1e-3) if len(bright) else 1.0
    logs: NDArray[np.float64] = np.log(np.maximum(bright / middle, _DIMMEST))
    return logs


def _overlaps(
    now: Detections, following: Detections, one: NDArray[np.intp], other: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the overlap of pairs as a share of the smaller; 0 where there are no labels."""
    none = np.zeros(len(one))
    if now.labels is None or following.labels is None or not len(one):
        return none
    if now.labels.shape != following.labels.shape:
        return none
    before, after = now.labels.array().ravel(), following.labels.array().ravel()
    both = np.flatnonzero(before)
    both = both[after[both] > 0]
    base = int(after[both].max(initial=0)) + 1
    keys, counts = np.unique(before[both].astype(np.int64) * base + after[both], return_counts=True)
    wanted = now.table["label"][one].astype(np.int64) * base + following.table["label"][other]
    if not len(keys):
        return none
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    shared = np.where(keys[at] == wanted, counts[at], 0)
    smaller = np.minimum(now.table["area"][one], following.table["area"][other])
    shares: NDArray[np.float64] = np.minimum(shared / np.maximum(smaller, 1), 1.0)
    return shares
