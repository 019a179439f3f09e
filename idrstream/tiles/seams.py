"""Whether neighbouring tiles agree in their overlap. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from idrstream.quality.tiles import SeenTile

_IOU = 0.5  # of the boxes of an object that both see
_EDGE_PX = 8  # of an overlap, at least, where one of the two may see an object cut off


@dataclass(frozen=True, slots=True)
class SeamCheck:
    """How neighbouring tiles agree.

    Attributes
    ----------
    objects : int
        Objects of the image: owned by any tile.
    overlaps : int
        Overlaps between tiles that are both done.
    seen, agreed : int
        Objects that the tiles see in the inner half of these, counted by each, and those that
        both see.
    doubled, lost : int
        Objects that two tiles own, and that none owns; counted for each pair of tiles.
    cut_off : int
        Objects that reach beyond the tile that owns them, or whose cell does: larger than half the
        overlap.
    """

    objects: int
    overlaps: int
    seen: int
    agreed: int
    doubled: int
    lost: int
    cut_off: int

    @property
    def agreement(self) -> float:
        """Share of the objects in overlaps that both tiles see, 0 to 1; 1 without any."""
        return self.agreed / self.seen if self.seen else 1.0

    def __str__(self) -> str:
        """Return the check as a sentence."""
        text = (
            f"{self.objects:,} objects; in {self.overlaps} overlaps neighbours agree on "
            f"{self.agreement:.2%} of {self.seen:,}, {self.doubled} objects are there twice and "
            f"{self.lost} are lost"
        )
        if self.cut_off:
            text += (
                f"; {self.cut_off} objects, or their cells, are larger than the overlap allows and "
                "cut off: make tile_overlap_px larger"
            )
        return text


def check_seams(tiles: Sequence[SeenTile]) -> SeamCheck:
    """Compare what the tiles of one image saw in their overlaps."""
    counts = np.zeros(5, np.int64)
    for one, other in combinations(tiles, 2):
        zone = _common(one, other)
        if zone is not None:
            counts += _compare(one, other, zone)
    overlaps, seen, agreed, doubled, lost = map(int, counts)
    return SeamCheck(
        sum(int(tile.seen["owned"].sum()) for tile in tiles),
        overlaps, seen, agreed, doubled, lost,
        sum(int(tile.seen["cut_off"].sum()) for tile in tiles),
    )  # fmt: skip


def _common(one: SeenTile, other: SeenTile) -> tuple[int, int, int, int] | None:
    top, left = (max(a, b) for a, b in zip(one.region[:2], other.region[:2], strict=True))
    bottom, right = (min(a, b) for a, b in zip(one.region[2:], other.region[2:], strict=True))
    if bottom - top <= 2 * _EDGE_PX or right - left <= 2 * _EDGE_PX:
        return None
    return top, left, bottom, right


def _compare(one: SeenTile, other: SeenTile, zone: tuple[int, int, int, int]) -> NDArray[np.int64]:
    """Return overlaps, objects seen, agreed, doubled and lost of two tiles."""
    inner = _inner(zone, one.image)
    a, b = _inside(one.seen, inner), _inside(other.seen, inner)
    mine, partner = _pairs(a, b)
    doubled = int((a["owned"][mine] & b["owned"][partner]).sum())
    # Each of the two says that it is the other's.
    neither = ~a["owned"][mine] & ~b["owned"][partner]
    lost = int((neither & _in(a[mine], other.core) & _in(b[partner], one.core)).sum())
    alone_a, alone_b = np.ones(len(a), bool), np.ones(len(b), bool)
    alone_a[mine] = alone_b[partner] = False
    # One sees it, as the other's, and the other does not see it.
    lost += int((alone_a & ~a["owned"] & _in(a, other.core)).sum())
    lost += int((alone_b & ~b["owned"] & _in(b, one.core)).sum())
    return np.array([1, len(a) + len(b), 2 * len(mine), doubled, lost], np.int64)


def _inner(zone: tuple[int, int, int, int], image: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return an overlap without its outer quarters, where one tile lacks what is beside."""
    top, left, bottom, right = zone
    edge = max(_EDGE_PX, min(bottom - top, right - left) // 4)
    return (
        top + edge if top else 0,
        left + edge if left else 0,
        bottom - edge if bottom < image[0] else bottom,
        right - edge if right < image[1] else right,
    )


def _inside(seen: NDArray[Any], zone: tuple[int, int, int, int]) -> NDArray[Any]:
    top, left, bottom, right = zone
    found: NDArray[Any] = seen[
        (seen["top"] >= top)
        & (seen["left"] >= left)
        & (seen["bottom"] <= bottom)
        & (seen["right"] <= right)
    ]
    return found


def _in(seen: NDArray[Any], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    top, left, bottom, right = box
    found: NDArray[np.bool_] = (
        (seen["y"] >= top - 0.5)
        & (seen["y"] < bottom - 0.5)
        & (seen["x"] >= left - 0.5)
        & (seen["x"] < right - 0.5)
    )
    return found


def _pairs(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which objects of two lists are the same: nearest to each other, and of one box."""
    from scipy.spatial import cKDTree

    none = np.empty(0, np.intp)
    if not len(a) or not len(b):
        return none, none
    places = [np.stack([of["y"], of["x"]], axis=1) for of in (a, b)]
    _, to_b = cKDTree(places[1]).query(places[0])
    _, to_a = cKDTree(places[0]).query(places[1])
    mine = np.flatnonzero(to_a[to_b] == np.arange(len(a)))
    partner = to_b[mine]
    same = _iou(a[mine], b[partner]) >= _IOU
    return mine[same], partner[same]


def _iou(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    height = np.minimum(a["bottom"], b["bottom"]) - np.maximum(a["top"], b["top"])
    width = np.minimum(a["right"], b["right"]) - np.maximum(a["left"], b["left"])
    common = np.clip(height, 0, None) * np.clip(width, 0, None).astype(float)
    sizes = [(of["bottom"] - of["top"]) * (of["right"] - of["left"]).astype(float) for of in (a, b)]
    iou: NDArray[np.float64] = common / (sizes[0] + sizes[1] - common)
    return iou
