"""Checks that DeepProfiler wrote what it should have."""

from __future__ import annotations

import logging
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ProfileError
from idrstream.profile.deepprofiler.project import DeepProfilerProject, ProjectImage

_log = logging.getLogger("idrstream.profile")

# Features of trained weights differ by 0.1 and more between nuclei, of fresh ones by 1e-6.
_UNTRAINED_RANGE = 1e-4
_READ_ERRORS = (
    AttributeError,
    EOFError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def check_features(project: DeepProfilerProject) -> None:
    """Check the features file of every frame with nuclei.

    Each must be there, whole, with one row per nucleus and as many columns as the model has
    features, all finite. Features that hardly vary are reported as a warning: the checkpoint
    does not fit or was never trained.

    Raises
    ------
    idrstream.errors.ProfileError
        Naming the first frame whose features are missing or wrong.
    """
    lowest = np.full(project.feature_count, np.inf)
    highest = -lowest
    nuclei = 0
    for image in project.images:
        if image.nuclei == 0:
            continue
        features = _read(project.features_path(image), image)
        wanted = (image.nuclei, project.feature_count)
        if features.shape != wanted:
            raise ProfileError(
                f"the features of {image.name} have shape {features.shape} instead of {wanted} "
                "(nuclei, features)"
            )
        if not np.isfinite(features).all():
            raise ProfileError(f"the features of {image.name} are not all finite numbers")
        lowest = np.minimum(lowest, features.min(axis=0))
        highest = np.maximum(highest, features.max(axis=0))
        nuclei += image.nuclei
    if nuclei:
        _check_variation(project, nuclei, lowest, highest)


def _check_variation(
    project: DeepProfilerProject,
    nuclei: int,
    lowest: NDArray[np.float64],
    highest: NDArray[np.float64],
) -> None:
    if lowest.min() == highest.max():
        raise ProfileError(
            f"the features of all {nuclei} nuclei are the same number: the checkpoint "
            f"{project.config.checkpoint} does not work with {project.config_name}"
        )
    variation = (highest - lowest).max() if nuclei > 1 else highest.max() - lowest.min()
    if variation < _UNTRAINED_RANGE:
        _log.warning(
            "The features hardly vary (by %.1e at most): the checkpoint %s looks untrained",
            variation,
            project.config.checkpoint,
        )


def _read(path: Path, image: ProjectImage) -> NDArray[Any]:
    try:
        # Only the features: the file also holds a pickle, which is not needed here.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            features: NDArray[Any] = file["features"]
    except FileNotFoundError as error:
        raise ProfileError(f"DeepProfiler wrote no features for {image.name} ({path})") from error
    except _READ_ERRORS as error:
        raise ProfileError(
            f"the features of {image.name} in {path} cannot be read: {error}"
        ) from error
    return features
