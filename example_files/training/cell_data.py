"""Single-cell crops of known phenotype: splitting by movie, augmentation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch.nn import functional

from idrstream.quiet import without_warnings

BOX_PX = 64


def split_by_movie(
    classes: Sequence[str], movies: Sequence[str], folds: int, seed: int = 0
) -> list[np.ndarray]:
    """Return for each fold which crops are held out: whole movies, classes as even as they allow.

    Parameters
    ----------
    classes, movies : sequence of str
        Class and movie of each crop.
    folds : int
        Number of folds, at least 2; every crop is held out in one of them.
    seed : int
        Of the folds.

    Returns
    -------
    list of np.ndarray
        Masks, shape ``(n,)``, bool.
    """
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    held_out = []
    with without_warnings():  # of classes that are in fewer movies than there are folds
        for _, asked in splitter.split(np.zeros(len(classes)), classes, movies):
            held_out.append(np.isin(np.arange(len(classes)), asked))
    return held_out


def min_max(crops: torch.Tensor) -> torch.Tensor:
    """Scale each crop by its own minimum and maximum, as DeepProfiler does."""
    low = crops.amin((1, 2, 3), keepdim=True)
    high = crops.amax((1, 2, 3), keepdim=True)
    return (crops - low) / (high - low + 1e-7)


def augment(
    crops: torch.Tensor, rng: torch.Generator, strength: float = 1.0, surroundings: float = 0.0
) -> torch.Tensor:
    """Turn, mirror, scale, shift and re-expose crops.

    Parameters
    ----------
    crops : torch.Tensor
        Shape ``(n, 1, 64, 64)``, float32, any grey levels, on the device of `rng`.
    rng : torch.Generator
        Draws everything.
    strength : float
        Factor for what is done to exposure, focus, noise and light.
    surroundings : float
        Chance of a crop to get what lies around the nucleus of another one.

    Returns
    -------
    torch.Tensor
        Same shape, 0 to 1.
    """
    n = len(crops)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(n, generator=rng, device=rng.device) * (high - low) + low

    def column(values: torch.Tensor) -> torch.Tensor:
        return values[:, None, None, None]

    angle = uniform(0, 2 * np.pi)
    scale = torch.exp(uniform(-0.2, 0.2))
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    squeeze = torch.exp(uniform(-0.08, 0.08))
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack(
        [
            torch.stack([cos * mirror * squeeze, -sin, uniform(-0.1, 0.1)], 1),
            torch.stack([sin * mirror * squeeze, cos, uniform(-0.1, 0.1)], 1),
        ],
        1,
    )
    grid = functional.affine_grid(matrix, list(crops.shape), align_corners=False)
    x = functional.grid_sample(crops, grid, padding_mode="reflection", align_corners=False)
    x = _other_surroundings(min_max(x), uniform(22, 32), uniform(0, 1) < surroundings)
    x = min_max(x).clamp(1e-4, 1) ** column(torch.exp(uniform(-0.4, 0.4) * strength))
    x = _blur(x, uniform(0.3, 1.2 * strength), uniform(0, 1) < 0.25 * strength)
    noise = torch.randn(x.shape, generator=rng, device=rng.device)
    x = x + noise * column(uniform(0, 0.06 * strength))
    # A ramp for uneven light, then, for some, a patch without signal.
    ramp = torch.linspace(-1, 1, x.shape[-1], device=x.device)
    x = x * (1 + column(uniform(-0.15, 0.15) * strength) * ramp)
    return min_max(_cut_out(x, rng, 0.25 * strength))


def _other_surroundings(x: torch.Tensor, radius: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Put around the middle of some crops what is around that of their neighbours in the batch."""
    at = torch.arange(x.shape[-1], device=x.device) - (x.shape[-1] - 1) / 2
    distance = torch.hypot(at[:, None], at[None, :])
    keep = ((radius[:, None, None] - distance) / 4 + 0.5).clamp(0, 1)  # over four pixels
    keep = torch.where(where[:, None, None], keep, 1.0)[:, None]
    return keep * x + (1 - keep) * x.roll(1, 0)


def _blur(x: torch.Tensor, sigma: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    if not where.any():
        return x
    taps = torch.arange(-3, 4, dtype=torch.float32, device=x.device)
    kernel = torch.exp(-(taps**2) / (2 * sigma[where, None] ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    some = x[where, 0][None]
    m = some.shape[1]
    some = functional.pad(some, (3, 3, 3, 3), mode="reflect")
    some = functional.conv2d(some, kernel[:, None, None, :], groups=m)
    some = functional.conv2d(some, kernel[:, None, :, None], groups=m)
    x = x.clone()
    x[where] = some[0][:, None]
    return x


def _cut_out(x: torch.Tensor, rng: torch.Generator, chance: float) -> torch.Tensor:
    def draw(low: float, high: float) -> torch.Tensor:
        drawn = torch.rand(len(x), 2, 1, generator=rng, device=rng.device)
        return drawn * (high - low) + low

    size = draw(8, 20)
    start = draw(0, 1) * (x.shape[-1] - size)
    at = torch.arange(x.shape[-1], device=x.device)
    within = (at >= start) & (at < start + size)
    patch = within[:, 0, :, None] & within[:, 1, None, :] & (draw(0, 1)[:, :1] < chance)
    return torch.where(patch[:, None], x.amin((1, 2, 3), keepdim=True), x)
