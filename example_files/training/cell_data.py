"""Single-cell crops of known phenotype: reading, splitting by movie, augmentation.

A data folder holds one folder per class; the crops in it are 64 x 64 grey PNG files whose names
begin ``<screen>___<position>___…``. A movie is one screen and position.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from skimage.io import imread
from torch.nn import functional

BOX_PX = 64


def read_crops(folder: Path) -> tuple[np.ndarray, list[str], list[str], list[str]]:
    """Read every crop below ``folder``.

    Returns
    -------
    crops : np.ndarray
        Shape ``(n, 64, 64)``, uint8.
    classes, movies, names : list of str
        For each crop its class, its movie and its path below ``folder``.
    """
    paths = sorted(folder.glob("*/*.png"))
    if not paths:
        raise SystemExit(f"no <class>/*.png below {folder}")
    crops = np.stack([imread(p) for p in paths])
    movies = ["___".join(p.name.split("___")[:2]) for p in paths]
    return (
        crops,
        [p.parent.name for p in paths],
        movies,
        [str(p.relative_to(folder)) for p in paths],
    )


def split_by_movie(
    classes: list[str], movies: list[str], fraction: float = 0.2, seed: int = 1, tries: int = 20000
) -> np.ndarray:
    """Return which crops are held out: whole movies, with about ``fraction`` of every class.

    Of many random draws of movies, the one is taken whose parts of the classes lie closest to
    ``fraction`` (mean squared log ratio over classes, so that no class is left empty).
    """
    class_names, class_index = np.unique(classes, return_inverse=True)
    movie_names, movie_index = np.unique(movies, return_inverse=True)
    table = np.zeros((len(movie_names), len(class_names)))
    np.add.at(table, (movie_index, class_index), 1)
    share = table / table.sum(0)
    rng = np.random.default_rng(seed)
    best, chosen = np.inf, np.zeros(len(movie_names), bool)
    for _ in range(tries):
        drawn = rng.random(len(movie_names)) < rng.uniform(0.1, 0.35)
        miss = float(np.mean(np.log((share[drawn].sum(0) + 0.02) / (fraction + 0.02)) ** 2))
        if miss < best:
            best, chosen = miss, drawn
    return chosen[movie_index]


def min_max(crops: torch.Tensor) -> torch.Tensor:
    """Scale each crop by its own minimum and maximum, as DeepProfiler does."""
    low = crops.amin((1, 2, 3), keepdim=True)
    high = crops.amax((1, 2, 3), keepdim=True)
    return (crops - low) / (high - low + 1e-7)


def augment(crops: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Turn, mirror, scale, shift and re-expose crops; shape ``(n, 1, 64, 64)``, float32 0..1."""
    n = len(crops)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(n, generator=rng) * (high - low) + low

    angle = uniform(0, 2 * np.pi)
    scale = torch.exp(uniform(-0.2, 0.2))
    mirror = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
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
    x = min_max(x).clamp(1e-4, 1) ** torch.exp(uniform(-0.4, 0.4))[:, None, None, None]
    x = _blur(x, uniform(0.3, 1.2), torch.rand(n, generator=rng) < 0.25)
    noise = torch.randn(x.shape, generator=rng) * uniform(0, 0.06)[:, None, None, None]
    x = x + noise
    # A ramp for uneven light, then, for some, a patch without signal.
    ramp = torch.linspace(-1, 1, x.shape[-1])
    x = x * (1 + uniform(-0.15, 0.15)[:, None, None, None] * ramp)
    return min_max(_cut_out(x, rng))


def _blur(x: torch.Tensor, sigma: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    if not where.any():
        return x
    taps = torch.arange(-3, 4, dtype=torch.float32)
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


def _cut_out(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    x = x.clone()
    side = x.shape[-1]
    for i in torch.nonzero(torch.rand(len(x), generator=rng) < 0.25).flatten().tolist():
        h, w = torch.randint(8, 20, (2,), generator=rng).tolist()
        top = int(torch.randint(0, side - h, (1,), generator=rng))
        left = int(torch.randint(0, side - w, (1,), generator=rng))
        x[i, :, top : top + h, left : left + w] = x[i].amin()
    return x
