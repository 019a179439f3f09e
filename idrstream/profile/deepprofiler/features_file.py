"""Locations in, features out, in the files that DeepProfiler has for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ProfileError, StorageError
from idrstream.segment.locations import X_COLUMN, Y_COLUMN

if TYPE_CHECKING:
    from idrstream.profile.deepprofiler.project import DeepProfilerProject, ProjectImage

MODEL = "efficientnet"
"""``Metadata_Model``, the beginning of the names of features."""


def read_points(project: DeepProfilerProject, image: ProjectImage) -> NDArray[np.float64]:
    """Return a frame's nuclei, shape ``(n, 2)``, ``(y, x)`` in pixels, as DeepProfiler reads them.

    Raises
    ------
    idrstream.errors.ProfileError
        When the file is missing, damaged, or has another number of nuclei.
    """
    import pandas as pd

    path = project.locations_path(image)
    try:
        # With pandas' fast parser, off in the last digit now and then: so does DeepProfiler.
        table = pd.read_csv(path, usecols=[X_COLUMN, Y_COLUMN], dtype=np.float64)
    except (OSError, ValueError) as error:
        raise ProfileError(f"the locations of {image.name} cannot be read: {error}") from error
    if len(table) != image.nuclei:
        raise ProfileError(f"{image.name} has {image.nuclei} nuclei, {path} has {len(table)}")
    points: NDArray[np.float64] = table[[Y_COLUMN, X_COLUMN]].to_numpy()
    return points


def write_features(
    project: DeepProfilerProject,
    image: ProjectImage,
    features: NDArray[np.float32],
    points: NDArray[np.float64],
) -> None:
    """Write a frame's features file with all that DeepProfiler writes into it.

    Parameters
    ----------
    project : DeepProfilerProject
        The batch.
    image : ProjectImage
        The frame.
    features : NDArray of float32
        Shape ``(n, d)``.
    points : NDArray of float64
        Shape ``(n, 2)``, ``(y, x)`` in pixels.

    Raises
    ------
    idrstream.errors.StorageError
        When it cannot be written.
    """
    path = project.features_path(image)
    metadata = np.array({**project.index_row(image), "Metadata_Model": MODEL}, dtype=object)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not packed as DeepProfiler's are: it lives for seconds, and packing takes longer than all.
        np.savez(path, features=features, metadata=metadata, locations=points[:, ::-1])
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
