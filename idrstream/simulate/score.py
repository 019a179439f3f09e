"""How well nuclei were found, against known truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Score:
    """Nuclei found against the true ones.

    Attributes
    ----------
    n_true, n_found, n_matched : int
        Nuclei in the truth, nuclei found, and pairs of them.
    distance_px : NDArray
        Shape ``(n_matched,)``, float64: how far each found centre lies from the true centroid.
    overlap : NDArray
        Shape ``(n_matched,)``, float64: intersection over union of each pair; empty where only
        locations were given.
    """

    n_true: int
    n_found: int
    n_matched: int
    distance_px: NDArray[np.float64]
    overlap: NDArray[np.float64]

    @property
    def recall(self) -> float:
        """Share of the true nuclei that were found; 1 when there are none."""
        return self.n_matched / self.n_true if self.n_true else 1.0

    @property
    def precision(self) -> float:
        """Share of the found nuclei that are true; 1 when none were found."""
        return self.n_matched / self.n_found if self.n_found else 1.0

    @property
    def average_precision(self) -> float:
        """Pairs over pairs plus missed plus false, as Cellpose and DSB 2018 define it."""
        total = self.n_true + self.n_found - self.n_matched
        return self.n_matched / total if total else 1.0

    @property
    def median_distance_px(self) -> float:
        """Median of `distance_px`; not a number when nothing matched."""
        return float(np.median(self.distance_px)) if self.n_matched else float("nan")

    def __add__(self, other: Score) -> Score:
        """Return the score of both images together."""
        return Score(
            self.n_true + other.n_true,
            self.n_found + other.n_found,
            self.n_matched + other.n_matched,
            np.concatenate([self.distance_px, other.distance_px]),
            np.concatenate([self.overlap, other.overlap]),
        )


def score_locations(
    found_yx: NDArray[Any], true_mask: NDArray[Any], *, ignore_border: bool = False
) -> Score:
    """Match found locations to true nuclei, one to one, at least total distance.

    A location matches a nucleus when it lies on the nucleus's mask (to the nearest pixel).

    Parameters
    ----------
    found_yx : NDArray
        Shape ``(n, 2)``, ``(y, x)`` in pixels, origin at the centre of the upper left pixel.
    true_mask : NDArray
        Shape ``(y, x)``, integers: 0 for background, else the label of a nucleus.
    ignore_border : bool
        Neither expect nuclei that touch the border of the frame, nor count their locations:
        for segmentations that remove edge masks.

    Returns
    -------
    Score
        Without overlaps.

    Raises
    ------
    ConfigError
        If the shapes are not as above.
    """
    from scipy.optimize import linear_sum_assignment

    found = np.asarray(found_yx, float).reshape(-1, 2) if np.size(found_yx) == 0 else found_yx
    _check(true_mask.ndim == 2, f"true_mask has the shape {true_mask.shape}, not (y, x)")
    _check(found.ndim == 2 and found.shape[1] == 2, f"found_yx has the shape {found.shape}")
    pixel = np.rint(found).astype(int)
    inside = np.all((pixel >= 0) & (pixel < true_mask.shape), axis=1)
    hit = np.zeros(len(found), int)
    hit[inside] = true_mask[pixel[inside, 0], pixel[inside, 1]]
    labels, centres = _centroids(true_mask)
    if ignore_border:
        edge = _border_labels(true_mask)
        keep = ~np.isin(hit, edge)
        found, hit = found[keep], hit[keep]
        keep = ~np.isin(labels, edge)
        labels, centres = labels[keep], centres[keep]
    far = np.hypot(*(found[:, None, :] - centres[None, :, :]).transpose(2, 0, 1))
    allowed = hit[:, None] == labels[None, :]
    # A forbidden pair costs more than all allowed ones together could save.
    cost = np.where(allowed, far, 1e6)
    one, two = linear_sum_assignment(cost)
    pairs = allowed[one, two]
    return Score(
        len(labels), len(found), int(pairs.sum()), far[one, two][pairs], np.zeros(0, np.float64)
    )


def score_masks(
    found_mask: NDArray[Any],
    true_mask: NDArray[Any],
    *,
    threshold: float = 0.5,
    ignore_border: bool = False,
) -> Score:
    """Match found masks to true ones, one to one, at the largest total overlap.

    Parameters
    ----------
    found_mask, true_mask : NDArray
        Shape ``(y, x)``, integers: 0 for background, else the label of a nucleus.
    threshold : float
        Least intersection over union of a pair.
    ignore_border : bool
        Neither expect nuclei that touch the border of the frame, nor count what was found there
        (found masks that touch the border, or lie mostly on such a nucleus).

    Returns
    -------
    Score
        With overlaps and centre distances.

    Raises
    ------
    ConfigError
        If the shapes differ or are not ``(y, x)``.
    """
    _check_pair(found_mask, true_mask)
    found_labels, found_centres = _centroids(found_mask)
    true_labels, true_centres = _centroids(true_mask)
    overlap, shared = _overlaps(found_mask, true_mask, found_labels, true_labels)
    if ignore_border:
        true_edge = np.isin(true_labels, _border_labels(true_mask))
        found_edge = np.isin(found_labels, _border_labels(found_mask))
        found_edge |= shared[:, true_edge].sum(axis=1) > 0.5
        overlap = overlap[~found_edge][:, ~true_edge]
        found_centres, true_centres = found_centres[~found_edge], true_centres[~true_edge]
    one, two = _assign(overlap, threshold)
    return Score(
        len(true_centres),
        len(found_centres),
        len(one),
        np.hypot(*(found_centres[one] - true_centres[two]).T),
        overlap[one, two],
    )


def _assign(
    overlap: NDArray[np.float64], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns of the best one-to-one pairs of at least this overlap."""
    from scipy.optimize import linear_sum_assignment

    # The 1 makes more pairs better than any larger overlap of fewer.
    one, two = linear_sum_assignment(-np.where(overlap >= threshold, 1.0 + overlap, 0.0))
    pairs = overlap[one, two] >= max(threshold, 1e-12)
    return one[pairs], two[pairs]


def _check_pair(found: NDArray[Any], true: NDArray[Any]) -> None:
    _check(
        found.shape == true.shape and found.ndim == 2,
        f"masks have the shapes {found.shape} and {true.shape}; both must be (y, x)",
    )


def _check(is_right: bool, message: str) -> None:
    if not is_right:
        raise ConfigError(message)


def _labels(mask: NDArray[Any]) -> NDArray[np.int64]:
    values = np.unique(mask)
    labels: NDArray[np.int64] = values[values > 0].astype(np.int64)
    return labels


def _centroids(mask: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the labels of a mask and their centroids, shape ``(n, 2)``, ``(y, x)``."""
    from scipy import ndimage

    labels = _labels(mask)
    if not len(labels):
        return labels, np.zeros((0, 2))
    return labels, np.array(ndimage.center_of_mass(mask > 0, mask, labels), np.float64)


def _border_labels(mask: NDArray[Any]) -> NDArray[np.int64]:
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return _labels(border)


def _overlaps(
    found: NDArray[Any],
    true: NDArray[Any],
    found_labels: NDArray[np.int64],
    true_labels: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return intersection over union, and over the found area; shape ``(found, true)``."""
    f = np.searchsorted(found_labels, found.ravel()) + 1
    t = np.searchsorted(true_labels, true.ravel()) + 1
    f[found.ravel() == 0] = 0
    t[true.ravel() == 0] = 0
    columns = len(true_labels) + 1
    counts = np.bincount(f * columns + t, minlength=(len(found_labels) + 1) * columns)
    counts = counts.reshape(-1, columns).astype(np.float64)
    both = counts[1:, 1:]
    found_area = counts[1:].sum(axis=1, keepdims=True)
    union = found_area + counts[:, 1:].sum(axis=0, keepdims=True) - both
    return both / union, both / found_area
