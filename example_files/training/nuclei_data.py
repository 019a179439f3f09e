"""Labelled nuclei for training: reading, splitting by origin, flows, augmented crops.

A data folder holds ``images/<id>.tif`` (2-D, grey) and ``masks/<id>.tif`` (2-D, integer, 0 is
background, every nucleus has its own number), as the corrected Data Science Bowl 2018 images do.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from cellpose import dynamics, transforms, utils
from model_files import intensity_percentiles
from scipy import ndimage
from scipy.cluster.hierarchy import fcluster, linkage
from tifffile import imread

CROP_PX = 160
DIAM_MEAN = 24.0
SMALL_EXPONENT, SMALL_MOST = 0.5, 3.0
CLUSTER_DISTANCE = 0.35


@dataclass(frozen=True)
class Labelled:
    """One image with its targets.

    Attributes
    ----------
    name : str
        File name without its ending.
    image : np.ndarray
        Shape ``(2, Y, X)``, float32: scaled as for segmentation; channel 1 is zero.
    targets : np.ndarray
        Shape ``(4, Y, X)``, float32: weight, nucleus or not, flow along y, flow along x.
    labels : np.ndarray
        Shape ``(Y, X)``, int32: 0 is background, every nucleus has its own number.
    diameter_px : float
        Median diameter of its nuclei, as Cellpose defines it.
    """

    name: str
    image: np.ndarray
    targets: np.ndarray
    labels: np.ndarray
    diameter_px: float


@dataclass(frozen=True)
class Changes:
    """How much crops are changed, beside turns and mirrors.

    Attributes
    ----------
    dimmed : float
        Part of the crops in which some nuclei are dimmed, 0 to 1.
    scales : float
        Range of the scales: 0.6 is 30 % smaller to 30 % larger.
    intensities : float
        Part of the crops with other contrast, sharpness, noise and light, 0 to 1.
    """

    dimmed: float = 0.4
    scales: float = 0.6
    intensities: float = 1.0


USUAL_CHANGES = Changes()


def list_ids(folder: Path) -> list[str]:
    """Return the sorted ids of the images in ``folder`` that have masks."""
    return sorted(
        p.stem for p in (folder / "images").glob("*.tif") if (folder / "masks" / p.name).is_file()
    )


def origin_features(image: np.ndarray) -> np.ndarray:
    """Return numbers that images of one acquisition share: levels, noise, contrast, sharpness."""
    x = image.astype(np.float64)
    residual = x - ndimage.median_filter(x, 3)
    dark = x <= np.percentile(x, 50)
    levels = np.percentile(x, [1, 10, 25, 50, 99.8])
    edges = np.abs(ndimage.laplace(ndimage.gaussian_filter(x, 1)))
    return np.log1p(
        [*levels, 4 * residual[dark].std(), x.std(), 10 * np.percentile(edges, 99) / (x.std() + 1)]
    )


def split_by_origin(
    folder: Path, fraction: float = 0.15, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Split the images so that near-duplicates stay on one side.

    Images of one size are clustered by `origin_features` (average linkage); whole clusters go to
    the validation part until about ``fraction`` of that size is there. No cluster of more than half
    of what a size may give is taken.

    Returns
    -------
    train, validation : list of str
        Sorted ids.
    """
    by_shape: dict[tuple[int, ...], list[tuple[str, np.ndarray]]] = {}
    for name in list_ids(folder):
        image = imread(folder / "images" / f"{name}.tif")
        by_shape.setdefault(image.shape, []).append((name, origin_features(image)))
    rng = np.random.default_rng(seed)
    validation: list[str] = []
    for shape in sorted(by_shape):
        names = [n for n, _ in by_shape[shape]]
        wanted = fraction * len(names)
        if len(names) < 3:
            continue
        features = np.array([f for _, f in by_shape[shape]])
        labels = fcluster(linkage(features, "average"), CLUSTER_DISTANCE, "distance")
        taken = 0
        for label in rng.permutation(np.unique(labels)):
            members = [n for n, k in zip(names, labels, strict=True) if k == label]
            if taken + len(members) <= wanted + 1 and len(members) <= max(1.0, 0.7 * wanted):
                validation += members
                taken += len(members)
    train = sorted({n for group in by_shape.values() for n, _ in group} - set(validation))
    return train, sorted(validation)


def load(
    folder: Path, names: list[str], cache: Path | None = None, processes: int = 0
) -> list[Labelled]:
    """Read images and compute their targets, keeping the targets in ``cache`` when given."""
    read = partial(_load_one, folder, cache=cache)
    if not processes:
        return [read(name) for name in names]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(read, names, chunksize=4))


def _load_one(folder: Path, name: str, *, cache: Path | None) -> Labelled:
    image = imread(folder / "images" / f"{name}.tif")
    masks = imread(folder / "masks" / f"{name}.tif").astype(np.int32)
    key = hashlib.sha256(masks.tobytes() + str(masks.shape).encode()).hexdigest()[:24]
    kept = cache / f"{key}.npy" if cache else None
    if kept is not None and kept.is_file():
        targets = np.load(kept).astype(np.float32)
    else:
        targets = dynamics.labels_to_flows([masks], device=torch.device("cpu"))[0][1:].astype(
            np.float32
        )
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            np.save(kept, targets.astype(np.float16))
    # Cellpose interpolates all targets but the first. How much of a pixel a nucleus covers is what
    # tells where its border lies once images are made smaller.
    targets = np.insert(targets, 0, weigh_small(masks), axis=0)
    # As for segmentation: in an image with few nuclei the 99th percentile lies in the medium.
    lower, upper = np.percentile(image, intensity_percentiles(image))
    scaled = (image.astype(np.float32) - lower) / max(upper - lower, 1e-3)
    return Labelled(
        name=name,
        image=np.stack([scaled, np.zeros_like(scaled)]).astype(np.float32),
        targets=targets,
        labels=masks,
        diameter_px=max(5.0, float(utils.diameters(masks)[0])),
    )


def weigh_small(labels: np.ndarray) -> np.ndarray:
    """Return how much each pixel counts, ``(Y, X)``: more in the small nuclei of an image.

    The measure counts nuclei, the loss counts pixels: without this the nuclei of a few pixels are
    not learned beside large ones.
    """
    area = np.bincount(labels.ravel()).astype(np.float32)
    present = area[1:][area[1:] > 0]
    if not present.size:
        return np.ones(labels.shape, np.float32)
    gain = np.clip((np.median(present) / np.maximum(area, 1)) ** SMALL_EXPONENT, 1, SMALL_MOST)
    gain[0] = 1
    return gain.astype(np.float32)[labels]


def sampling_weights(data: list[Labelled]) -> np.ndarray:
    """Return each image's chance to be drawn: the fourth root of the nuclei-sized areas in it.

    Results are means over images, so that a small image counts as much as a large one; a large one
    has more to show.
    """
    area = np.array([d.image[0].size / d.diameter_px**2 for d in data])
    weights = np.clip(area, 50, 3000) ** 0.25
    return weights / weights.sum()


def dim_some(data: Labelled, rng: np.random.Generator) -> np.ndarray:
    """Return the image ``(2, Y, X)`` with some of its nuclei dimmed, as dim as a fifth.

    Dim nuclei beside bright ones are what networks miss most, and what an image has few of.
    """
    n_labels = int(data.labels.max())
    gain = np.ones(n_labels + 1, np.float32)
    chosen = rng.random(n_labels) < rng.uniform(0.1, 0.5)
    gain[1:][chosen] = np.exp(rng.uniform(np.log(0.2), 0, chosen.sum()))
    field = cv2.GaussianBlur(gain[data.labels], (0, 0), 1.0)
    medium = np.median(data.image[0][data.labels == 0]) if (data.labels == 0).any() else 0.0
    image = data.image.copy()
    image[0] = medium + (image[0] - medium) * field
    return image


def augment_intensity(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change contrast, gamma, sharpness, noise and background of one ``(Y, X)`` crop."""
    x = crop
    if rng.random() < 0.5:
        x = np.sign(x) * np.abs(x) ** np.exp(rng.normal(0, 0.3))
    if rng.random() < 0.5:
        x = x * np.exp(rng.normal(0, 0.25)) + rng.normal(0, 0.08)
    if rng.random() < 0.25:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.3, 1.3))
    if rng.random() < 0.3:
        yy, xx = np.meshgrid(*(np.linspace(-1, 1, n) for n in x.shape), indexing="ij")
        angle = rng.uniform(0, 2 * np.pi)
        ramp = 1 + rng.uniform(0, 0.4) * (np.cos(angle) * yy + np.sin(angle) * xx)
        x = x * ramp
    if rng.random() < 0.5:
        x = x + rng.normal(0, rng.uniform(0.0, 0.12), x.shape)
    return x.astype(np.float32)


def draw_batch(
    data: list[Labelled],
    weights: np.ndarray,
    size: int,
    rng: np.random.Generator,
    crop_px: int = CROP_PX,
    diameter_px: float = DIAM_MEAN,
    changes: Changes = USUAL_CHANGES,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw augmented crops at network scale.

    Returns
    -------
    images : np.ndarray
        Shape ``(size, 2, crop_px, crop_px)``, float32.
    targets : np.ndarray
        Shape ``(size, 4, crop_px, crop_px)``, float32, as in `Labelled`.
    """
    picked = [data[i] for i in rng.choice(len(data), size, p=weights)]
    np.random.seed(rng.integers(2**31))  # noqa: NPY002  # Cellpose draws from the global generator
    rescale = np.array([d.diameter_px / diameter_px for d in picked]) * np.exp(
        rng.normal(0, 0.08, size)
    )
    images, targets, _ = transforms.random_rotate_and_resize(
        [dim_some(d, rng) if rng.random() < changes.dimmed else d.image for d in picked],
        Y=[d.targets for d in picked],
        rescale=rescale,
        scale_range=changes.scales,
        xy=(crop_px, crop_px),
    )
    for crop in images:
        if changes.intensities == 1 or rng.random() < changes.intensities:
            crop[0] = augment_intensity(crop[0], rng)
    return images, targets
