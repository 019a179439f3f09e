"""Masks out of flows, as Cellpose makes them on a processor, but without holding other threads up.

Cellpose follows the flows with a compiled loop that keeps Python's lock for half the time that the
masks of a frame take; here the same sums are done without the lock, pixel by pixel, and end where a
pixel has come to rest. The result is that of Cellpose to the bit.
Source: Stringer et al., Nature Methods 18, 100-106 (2021); ``cellpose.dynamics.compute_masks``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from cellpose import dynamics, utils
from numba import njit
from numpy.typing import NDArray

_FLOW_SCALE = np.float32(5.0)  # Cellpose's networks learn flows five times too long
_PROCESSOR = torch.device("cpu")


def masks_from_flows(
    flows: NDArray[np.float32],
    *,
    steps: int,
    cellprob_threshold: float = 0.0,
    flow_threshold: float = 0.4,
    min_size: int = 15,
    max_size_fraction: float = 0.4,
    device: torch.device = _PROCESSOR,
) -> NDArray[Any]:
    """Return the label image of a frame's flows.

    Parameters
    ----------
    flows : NDArray of float32
        Shape ``(3, Y, X)``: flow along y, along x, cell probability.
    steps : int
        How often pixels are moved along the flows.
    cellprob_threshold, flow_threshold, min_size, max_size_fraction
        As in Cellpose's ``eval``.
    device : torch.device, default: the processor
        Where pixels are followed. Only a CUDA device does it by itself, when its memory is
        enough; for every other one the processor does.

    Returns
    -------
    NDArray
        Shape ``(Y, X)``, unsigned integers; 0 is background.
    """
    inside = flows[2] > cellprob_threshold
    pixels = np.nonzero(inside)
    if len(pixels[0]) == 0:
        return np.zeros(inside.shape, np.uint16)
    field = np.ascontiguousarray(flows[:2] * inside / _FLOW_SCALE)
    starts = np.stack(pixels).astype(np.float32)
    ends = _followed_by_gpu(field, starts, steps, device) if device.type == "cuda" else None
    rests = torch.from_numpy(follow(field, starts, steps) if ends is None else ends).int()
    masks = dynamics.get_masks_torch(
        rests, pixels, inside.shape, max_size_fraction=max_size_fraction
    )
    if masks.max() > 0 and flow_threshold > 0:
        masks = dynamics.remove_bad_flow_masks(
            masks, flows[:2], threshold=flow_threshold, device=_PROCESSOR
        )
    filled: NDArray[Any] = utils.fill_holes_and_remove_small_masks(masks, min_size=min_size)
    return filled


def follow(
    field: NDArray[np.float32], starts: NDArray[np.float32], steps: int
) -> NDArray[np.float32]:
    """Return where pixels end that move along a field of flows, interpolated linearly.

    Parameters
    ----------
    field : NDArray of float32
        Shape ``(2, Y, X)``: step along y and along x at each pixel.
    starts : NDArray of float32
        Shape ``(2, n)``: y and x of each pixel.
    steps : int
        How often each is moved.

    Returns
    -------
    NDArray of float32
        Shape ``(2, n)``, inside the field.
    """
    ends: NDArray[np.float32] = starts.copy()
    _follow(field, ends, steps)
    return ends


def follow_on_device(
    field: NDArray[np.float32], starts: NDArray[np.float32], steps: int, device: torch.device
) -> NDArray[np.float32]:
    """Return what `follow` does, all pixels together on a device of PyTorch.

    The products and sums are those of `follow`, in the same precisions and order.

    Parameters
    ----------
    field, starts, steps
        As of `follow`.
    device : torch.device
        One that has double precision.
    """
    height, width = field.shape[1:]
    flat = torch.from_numpy(field).to(device).reshape(2, -1)
    points = torch.from_numpy(starts).to(device).clone()
    last = torch.tensor([[height - 1.0], [width - 1.0]], device=device)
    for step in range(steps):
        corner = points.long()
        down, right = points - corner
        up, left = 1 - down.double(), 1 - right.double()
        below = (corner[0] + 1).clamp(max=height - 1) * width
        row, beside = corner[0] * width, (corner[1] + 1).clamp(max=width - 1)
        moved = (
            flat[:, row + corner[1]] * up * left
            + flat[:, row + beside] * up * right
            + flat[:, below + corner[1]] * down * left
            + flat[:, below + beside] * down * right
        ).float()
        new = torch.minimum(last, (points + moved).clamp(min=0))
        if step % 25 == 24 and torch.equal(new, points):
            break
        points = new
    ends: NDArray[np.float32] = points.cpu().numpy()
    return ends


def _followed_by_gpu(
    field: NDArray[np.float32], starts: NDArray[np.float32], steps: int, device: torch.device
) -> NDArray[np.float32] | None:
    """Return where pixels end, or None when the GPU's memory does not hold them."""
    try:
        return follow_on_device(field, starts, steps, device)
    except torch.OutOfMemoryError:
        return None


@njit("(float32[:,:,::1], float32[:,::1], int64)", nogil=True)
def _follow(field: Any, points: Any, steps: int) -> None:
    height, width = field.shape[1], field.shape[2]
    for i in range(points.shape[1]):
        y, x = points[0, i], points[1, i]
        for _ in range(steps):
            top, left = int(y), int(x)
            down, right = np.float32(y - top), np.float32(x - left)  # single, as Cellpose has it
            top, left = min(height - 1, max(0, top)), min(width - 1, max(0, left))
            below, beside = min(height - 1, top + 1), min(width - 1, left + 1)
            dy = np.float32(
                field[0, top, left] * (1 - down) * (1 - right)
                + field[0, top, beside] * (1 - down) * right
                + field[0, below, left] * down * (1 - right)
                + field[0, below, beside] * down * right
            )
            dx = np.float32(
                field[1, top, left] * (1 - down) * (1 - right)
                + field[1, top, beside] * (1 - down) * right
                + field[1, below, left] * down * (1 - right)
                + field[1, below, beside] * down * right
            )
            new_y = min(np.float32(height - 1), max(np.float32(0), y + dy))
            new_x = min(np.float32(width - 1), max(np.float32(0), x + dx))
            if new_y == y and new_x == x:
                break
            y, x = new_y, new_x
        points[0, i], points[1, i] = y, x
