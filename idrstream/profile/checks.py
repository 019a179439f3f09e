"""Checks of the features that an engine returned."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from idrstream.errors import ProfileError

if TYPE_CHECKING:
    from idrstream.profile.model import DeepModel
    from idrstream.records import Features, Frame, Objects

_log = logging.getLogger("idrstream.profile")

# Features of trained weights differ by 0.1 and more between nuclei, of fresh ones by 1e-6.
_UNTRAINED_RANGE = 1e-4


def check_features(
    features: Sequence[Features],
    frames: Sequence[Frame],
    objects: Sequence[Objects],
    columns: Sequence[str] = (),
) -> None:
    """Check that an engine returned what `FeatureEngine.profile` promises.

    Parameters
    ----------
    features : sequence of Features
        What it returned.
    frames, objects : sequence of Frame, Objects
        What it was given.
    columns : sequence of str, optional
        Names that it gave in an earlier call.

    Raises
    ------
    idrstream.errors.ProfileError
        Naming the first frame whose features are missing or wrong.
    """
    if not len(features) == len(frames) == len(objects):
        raise ProfileError(f"there are features of {len(features)} frames for {len(frames)}")
    columns = tuple(columns) or (features[0].columns if features else ())
    for found, frame, of in zip(features, frames, objects, strict=True):
        wanted = (len(of), len(found.columns))
        if found.values.shape != wanted:
            raise ProfileError(
                f"the features of {frame.name} have shape {found.values.shape} instead of {wanted} "
                f"({of.name.lower()}, features)"
            )
        if found.values.dtype != np.float32:
            raise ProfileError(
                f"the features of {frame.name} are {found.values.dtype} instead of float32"
            )
        if found.columns != columns:
            raise ProfileError(f"the features of {frame.name} have other names than those before")
        if np.isinf(found.values).any():
            raise ProfileError(f"the features of {frame.name} are not all finite numbers")


def check_embedding(
    features: Sequence[Features], frames: Sequence[Frame], model: DeepModel
) -> None:
    """Check the output of a network: all finite, and not the same for all objects.

    Features that hardly vary are reported as a warning: the checkpoint was never trained.

    Raises
    ------
    idrstream.errors.ProfileError
        Naming the first frame whose features are wrong.
    """
    for found, frame in zip(features, frames, strict=True):
        if not np.isfinite(found.values).all():
            raise ProfileError(f"the features of {frame.name} are not all finite numbers")
    filled = [found.values for found in features if len(found)]
    count = sum(map(len, filled))
    if not count:
        return
    lowest = np.min([values.min(axis=0) for values in filled], axis=0)
    highest = np.max([values.max(axis=0) for values in filled], axis=0)
    if lowest.min() == highest.max():
        raise ProfileError(
            f"the features of all {count} objects are the same number: the checkpoint "
            f"{model.checkpoint_path.name} does not work with {model.config.path.name}"
        )
    variation = (highest - lowest).max() if count > 1 else highest.max() - lowest.min()
    if variation < _UNTRAINED_RANGE:
        _log.warning(
            "The features hardly vary (by %.1e at most): the checkpoint %s looks untrained",
            variation,
            model.checkpoint_path.name,
        )
