"""Masks against true masks, by the measures that Cellpose reports."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ConfigError
from idrstream.workers.threads import in_threads

THRESHOLDS = (0.5, 0.75, 0.9)
_ENDINGS = (".tif", ".tiff", ".png")
_A_THREAD = 8


class Masker(Protocol):
    """Anything that makes a label image; `idrstream.segment.CellPoseSegmentor` does."""

    def masks(self, pixels: NDArray[Any]) -> tuple[NDArray[Any], float]:
        """Return the labels ``(Y, X)`` of an image and the diameter that was used, in pixels."""
        ...


@dataclass(frozen=True, slots=True)
class ImageResult:
    """The result of one image.

    Attributes
    ----------
    name : str
        File name without its ending.
    shape : tuple of int
        ``(Y, X)``.
    n_true, n_found : int
        Nuclei in the truth, and nuclei found.
    n_matched : tuple of int
        Pairs at each of `THRESHOLDS` of intersection over union.
    average_precision : tuple of float
        ``TP / (TP + FP + FN)`` at each of `THRESHOLDS`, as ``cellpose.metrics`` defines it; 1
        where there is neither a true nucleus nor a found one.
    distance_px : NDArray
        Shape ``(n_matched[0],)``: how far the centroids of the pairs at 0.5 lie apart.
    diameter_px : float
        Diameter that was given or estimated.
    true_diameter_px : float
        Median diameter of the true nuclei; not a number without any.
    """

    name: str
    shape: tuple[int, int]
    n_true: int
    n_found: int
    n_matched: tuple[int, ...]
    average_precision: tuple[float, ...]
    distance_px: NDArray[np.float64]
    diameter_px: float
    true_diameter_px: float


@dataclass(frozen=True, slots=True)
class SegmentationResult:
    """The results of all images."""

    images: tuple[ImageResult, ...]

    def mean_average_precision(self) -> tuple[float, ...]:
        """Return the mean over images at each of `THRESHOLDS`, as Cellpose's papers report it."""
        values = np.array([image.average_precision for image in self.images])
        return tuple(float(v) for v in values.mean(axis=0))

    def pooled_average_precision(self) -> tuple[float, ...]:
        """Return the value of all nuclei together, so that images with many count more."""
        matched = np.array([image.n_matched for image in self.images]).sum(axis=0)
        total = sum(image.n_true + image.n_found for image in self.images)
        return tuple(float(m / (total - m)) if total else 1.0 for m in matched)

    def distances(self) -> NDArray[np.float64]:
        """Return the centroid distances of all pairs at 0.5, in pixels."""
        return np.concatenate([image.distance_px for image in self.images])

    def by_size(self) -> dict[tuple[int, int], SegmentationResult]:
        """Return the results of each image size ``(Y, X)``, smallest first."""
        shapes = sorted({image.shape for image in self.images})
        return {
            shape: SegmentationResult(tuple(i for i in self.images if i.shape == shape))
            for shape in shapes
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain lists and numbers."""
        return {
            "thresholds": list(THRESHOLDS),
            **_summary(self),
            "by_size": {f"{y}x{x}": _summary(part) for (y, x), part in self.by_size().items()},
            "images": [
                {
                    "name": image.name,
                    "n_true": image.n_true,
                    "n_found": image.n_found,
                    "average_precision": list(image.average_precision),
                    "diameter_px": image.diameter_px,
                    "true_diameter_px": None if image.n_true == 0 else image.true_diameter_px,
                }
                for image in self.images
            ],
        }


def find_pairs(
    images: Path, masks: Path, only: Iterable[str] | None = None
) -> list[tuple[Path, Path]]:
    """Return the image and mask files of the same name, sorted by name.

    Parameters
    ----------
    images, masks : Path
        Folders of TIFF or PNG files.
    only : iterable of str, optional
        Names without ending of the images to use; all by default.

    Raises
    ------
    idrstream.errors.ConfigError
        When a folder is missing, nothing matches, or a requested image is missing.
    """
    found_images, found_masks = _by_stem(images), _by_stem(masks)
    names = sorted(found_images.keys() & found_masks.keys())
    if not names:
        raise ConfigError(f"no image in {images} has a mask of the same name in {masks}")
    if only is not None:
        wanted = set(only)
        if missing := sorted(wanted - set(names)):
            raise ConfigError(
                f"{len(missing)} requested images are not in {images} and {masks}, the first "
                f"is {missing[0]}"
            )
        names = [name for name in names if name in wanted]
    return [(found_images[name], found_masks[name]) for name in names]


def evaluate_segmentation(
    segmentor: Masker,
    pairs: Iterable[tuple[Path, Path]],
    *,
    drop_edge: bool = False,
    threads: int = 1,
) -> SegmentationResult:
    """Segment every image and compare with its mask.

    Parameters
    ----------
    segmentor : Masker
        What makes the masks.
    pairs : iterable of (Path, Path)
        Image and mask files, see `find_pairs`. Images are grey; masks hold 0 for background and
        another integer for each nucleus.
    drop_edge : bool, default: False
        Leave out nuclei that touch the image border, found and true ones: those that a segmentor
        with ``remove_edge_masks`` leaves out must not count as missed.
    threads : int, default: 1
        Images segmented at once, each in a thread of its own that calls the segmentor.

    Raises
    ------
    idrstream.errors.ConfigError
        When a file cannot be read, or image and mask differ in size.
    idrstream.errors.SegmentationError
        When an image cannot be segmented.
    """

    def one(pair: tuple[Path, Path]) -> ImageResult:
        image_path, mask_path = pair
        image, truth = _read(image_path), _read(mask_path)
        if image.shape != truth.shape:
            raise ConfigError(
                f"{image_path} has the shape {image.shape}, its mask {mask_path} {truth.shape}"
            )
        found, diameter_px = segmentor.masks(image)
        return compare(image_path.stem, found, truth, diameter_px, drop_edge=drop_edge)

    if threads == 1:  # the segmentor may use several for one image
        return SegmentationResult(tuple(map(one, pairs)))
    waiting, results = list(pairs), []
    for start in range(0, len(waiting), _A_THREAD * threads):  # an error need not wait for all
        results += in_threads(one, waiting[start : start + _A_THREAD * threads], threads)
    return SegmentationResult(tuple(results))


def compare(
    name: str,
    found: NDArray[Any],
    truth: NDArray[Any],
    diameter_px: float = float("nan"),
    *,
    drop_edge: bool = False,
) -> ImageResult:
    """Compare two label images of shape ``(Y, X)``; 0 is background.

    ``drop_edge`` as in `evaluate_segmentation`.
    """
    from idrstream.segment.labels import as_labels
    from idrstream.simulate.score import score_masks

    found, truth = (as_labels(masks, drop_edge=drop_edge) for masks in (found, truth))
    n_true, n_found = int(truth.max(initial=0)), int(found.max(initial=0))
    scores = [score_masks(found, truth, threshold=threshold) for threshold in THRESHOLDS]
    areas = np.bincount(truth.ravel())[1:]
    return ImageResult(
        name=name,
        shape=(truth.shape[0], truth.shape[1]),
        n_true=n_true,
        n_found=n_found,
        n_matched=tuple(score.n_matched for score in scores),
        average_precision=tuple(score.average_precision for score in scores),
        distance_px=scores[0].distance_px,
        diameter_px=diameter_px,
        true_diameter_px=float(np.median(2 * np.sqrt(areas / np.pi))) if n_true else float("nan"),
    )


def _summary(result: SegmentationResult) -> dict[str, Any]:
    distances = result.distances()
    return {
        "n_images": len(result.images),
        "n_true": sum(image.n_true for image in result.images),
        "n_found": sum(image.n_found for image in result.images),
        "average_precision": list(result.mean_average_precision()),
        "pooled_average_precision": list(result.pooled_average_precision()),
        "centroid_error_px": {
            "median": float(np.median(distances)) if len(distances) else None,
            "p95": float(np.quantile(distances, 0.95)) if len(distances) else None,
        },
    }


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder")
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in _ENDINGS}


def _read(path: Path) -> NDArray[Any]:
    from skimage.io import imread

    try:
        array = np.asarray(imread(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as an image: {error}") from error
    if array.ndim != 2:
        raise ConfigError(f"{path} has the shape {array.shape}; grey images (Y, X) are needed")
    return array
