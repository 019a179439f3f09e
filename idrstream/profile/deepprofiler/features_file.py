"""The features files that DeepProfiler writes: one npz per frame with objects."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ProfileError, StorageError
from idrstream.profile.model import MODEL

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


def write_features(
    path: Path,
    features: NDArray[np.float32],
    points: NDArray[np.float64],
    index_row: Mapping[str, str],
) -> None:
    """Write a features file with all that DeepProfiler writes into it.

    Parameters
    ----------
    path : Path
        The file.
    features : NDArray of float32
        Shape ``(n, d)``.
    points : NDArray of float64
        Shape ``(n, 2)``, ``(y, x)`` in pixels.
    index_row : Mapping[str, str]
        The frame's row of ``index.csv``.

    Raises
    ------
    idrstream.errors.StorageError
        When it cannot be written.
    """
    metadata = np.array({**index_row, "Metadata_Model": MODEL}, dtype=object)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, features=features, metadata=metadata, locations=points[:, ::-1])
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def read_features(path: Path, name: str) -> NDArray[np.float32]:
    """Return the features of a file, shape ``(n, d)``; `name` is the frame's.

    Raises
    ------
    idrstream.errors.ProfileError
        When the file is missing or damaged.
    """
    try:
        # Only the features: the file also holds a pickle, which is not needed here.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            features: NDArray[np.float32] = file["features"]
    except FileNotFoundError as error:
        raise ProfileError(f"DeepProfiler wrote no features for {name} ({path})") from error
    except _READ_ERRORS as error:
        raise ProfileError(f"the features of {name} in {path} cannot be read: {error}") from error
    return features
