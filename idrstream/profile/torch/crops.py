"""Crops around nuclei, cut and scaled as DeepProfiler does, on PyTorch's device.

DeepProfiler cuts a square of ``box_size`` around each nucleus by ``tf.image.crop_and_resize``:
bilinear, zeros beyond the border, and with corners that are off by the ratio of side and side
minus one pixels, so that samples lie slightly more than a pixel apart. Each crop is then scaled by
its own minimum and maximum. The positions are computed in single precision in the same order as
TensorFlow does, because a sample on the border is a pixel or zero by its last digit.

Imports PyTorch: import this module only where crops are wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_EPSILON = 1e-7  # Keras's, so that a constant crop becomes zeros


@dataclass(frozen=True, slots=True)
class Samples:
    """Where along one axis the crops of an image are sampled.

    Attributes
    ----------
    low, high : NDArray of int64
        Shape ``(n, box_size)``: pixels before and after each sample.
    weight : NDArray of float32
        Same shape: how much of the later one.
    inside : NDArray of bool
        Same shape: False beyond the border.
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: NDArray[np.float32]
    inside: NDArray[np.bool_]


def sample_positions(centers: NDArray[np.float64], box_size: int, length_px: int) -> Samples:
    """Return where crops are sampled along one axis.

    Parameters
    ----------
    centers : NDArray of float64
        Shape ``(n,)``: positions of the nuclei along the axis, in pixels.
    box_size : int
        Side of the crops, at least 2.
    length_px : int
        Length of the image along the axis.
    """
    one = np.float32
    first, last = ((centers + side * box_size / 2).astype(one) for side in (-1, 1))
    first, last = first / one(length_px), last / one(length_px)
    end = one(length_px - 1)
    step = (last - first) * end / one(box_size - 1)
    at = (first * end)[:, None] + np.arange(box_size, dtype=one) * step[:, None]
    inside = (at >= 0) & (at <= end)
    at = np.where(inside, at, one(0))
    low = np.floor(at)
    return Samples(
        low.astype(np.int64), np.ceil(at).astype(np.int64), (at - low).astype(one), inside
    )


def cut_crops(image: Tensor, points: NDArray[np.float64], box_size: int) -> Tensor:
    """Cut the crops of an image.

    Parameters
    ----------
    image : Tensor
        One channel, shape ``(Y, X)``, float32, on any device.
    points : NDArray of float64
        Shape ``(n, 2)``, ``(y, x)`` in pixels.
    box_size : int
        Side of the crops in pixels.

    Returns
    -------
    Tensor
        Shape ``(n, box_size, box_size)``, float32, on the image's device: grey levels, zeros beyond
        the border.
    """
    y, x = (sample_positions(points[:, axis], box_size, image.shape[axis]) for axis in (0, 1))

    def on_device(values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values).to(image.device)

    # Flat indices and sums in place: half the time of indexing with rows and columns.
    flat, width = image.reshape(-1), image.shape[1]
    kind = np.int32 if image.numel() < 2**31 else np.int64
    left, right = (on_device(column.astype(kind))[:, None, :] for column in (x.low, x.high))
    across = on_device(x.weight)[:, None, :]
    shape = len(points), box_size, box_size

    def row(numbers: NDArray[np.int64]) -> Tensor:
        start_of = on_device((numbers * width).astype(kind))[:, :, None]
        start, end = (
            flat.index_select(0, (start_of + column).reshape(-1)).reshape(shape)
            for column in (left, right)
        )
        return end.sub_(start).mul_(across).add_(start)

    top = row(y.low)
    crops = row(y.high).sub_(top).mul_(on_device(y.weight)[:, :, None]).add_(top)
    if not (y.inside.all() and x.inside.all()):
        crops.masked_fill_(on_device(~y.inside)[:, :, None] | on_device(~x.inside)[:, None, :], 0)
    return crops


def scale_by_range(crops: Tensor) -> Tensor:
    """Scale each crop and channel, in place, from its minimum to its maximum.

    Parameters
    ----------
    crops : Tensor
        Shape ``(..., Y, X)``, float32.

    Returns
    -------
    Tensor
        The same, 0 to 1; crops of one value, and those wholly beyond the border, are zeros.
    """
    low = crops.amin((-2, -1), keepdim=True)
    length = crops.amax((-2, -1), keepdim=True) - low + _EPSILON
    return crops.sub_(low).div_(length)


def standardise(crops: Tensor) -> Tensor:
    """Shift and scale each crop and channel, in place, to a mean of 0 and a deviation of 1.

    Parameters
    ----------
    crops : Tensor
        Shape ``(..., Y, X)``, float32.

    Returns
    -------
    Tensor
        The same; crops of one value are zeros.
    """
    deviation, mean = torch.std_mean(crops, (-2, -1), correction=0, keepdim=True)
    return crops.sub_(mean).div_(deviation + _EPSILON)
