"""The groups of a CellH5 file: finds the images, and refuses what leads out of the file.

Layout as CellCognition 1.5 writes it:
``/sample/<s>/plate/<p>/experiment/<w>/position/<n>/image/channel``, shape (c, t, z, y, x), with
an attribute ``valid`` of one number per frame. Plate and position are spelled differently by
different writers, so the groups are walked and no path is built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import MovieError
from idrstream.formats.cellh5.hdf5_guard import MAX_FRAMES, check_storage, refuse_link
from idrstream.formats.movie_checks import check_pixel_type
from idrstream.formats.reader import MovieInfo

# Group names above a position; between them are names that differ from file to file.
_LEVELS = ("sample", "plate", "experiment", "position")
_MAX_GROUPS = 10_000


def channel_dataset(file: Any, path: Path) -> Any:
    """Return the only image dataset of an open file; links to it are refused.

    Parameters
    ----------
    file : h5py.File
        Open for reading; may be remote.
    path : Path
        The file, for messages.

    Returns
    -------
    h5py.Dataset
        Shape ``(c, t, z, y, x)``.

    Raises
    ------
    MovieError
        If there is no position with images, or more than one.
    """
    import h5py

    # Two are as bad as a thousand; hard links can make a small file seem endless.
    found = list(islice(_positions(file, path, _LEVELS, "", count()), 5))
    if len(found) != 1:
        names = ", ".join(found) or "none"
        msg = f"{path} must have one position (plate, well, site) with images; it has: {names}"
        raise MovieError(msg)
    name = found[0]
    dataset = file[f"{name}/image/channel"]
    if not isinstance(dataset, h5py.Dataset) or len(dataset.shape or ()) != 5:
        msg = f"{path}: {name}/image/channel is not a (c, t, z, y, x) dataset"
        raise MovieError(msg)
    return dataset


def movie_info(dataset: Any, path: Path) -> MovieInfo:
    """Return what the movie in an image dataset has.

    Parameters
    ----------
    dataset : h5py.Dataset
        As `channel_dataset` returns it.
    path : Path
        The file, for messages.

    Returns
    -------
    MovieInfo
        Nothing of the pixels is read.

    Raises
    ------
    MovieError
        If the pixels are of a type or a number that no microscope writes, or the attribute
        ``valid`` does not fit.
    """
    _, n_frames, _, height, width = dataset.shape
    dtype = dataset.dtype.name
    check_pixel_type(path, dtype)
    check_storage(dataset, path)
    return MovieInfo(n_frames, (height, width), dtype, _valid(dataset, n_frames, path))


def numbers_of(thing: Any, name: str) -> NDArray[Any] | None:
    """Return an attribute that is a list of numbers; texts and objects are not read."""
    if name not in thing.attrs:
        return None
    stored = thing.attrs.get_id(name)
    if stored.dtype.kind not in "biuf" or prod(stored.shape) > MAX_FRAMES:
        msg = f"attribute {name!r} is of type {stored.dtype}, shape {stored.shape}: not numbers"
        raise ValueError(msg)
    numbers: NDArray[Any] = np.atleast_1d(np.asarray(thing.attrs[name]))
    return numbers


def _valid(dataset: Any, n_frames: int, path: Path) -> tuple[bool, ...]:
    valid = numbers_of(dataset, "valid")
    if valid is None:
        return (True,) * n_frames
    if valid.shape != (n_frames,):
        msg = f"{path}: attribute 'valid' has shape {valid.shape}, not one value per frame"
        raise MovieError(msg)
    return tuple(bool(value) for value in valid)


def _positions(
    group: Any, path: Path, levels: Sequence[str], prefix: str, visited: Iterator[int]
) -> Iterator[str]:
    """Yield the paths of all positions that have an image, from the group names of a level."""
    if next(visited) > _MAX_GROUPS:
        msg = f"{path} has more than {_MAX_GROUPS:,} groups: not one movie"
        raise MovieError(msg)
    if not levels:
        if _has(group, ("image", "channel"), path):
            yield prefix
        return
    if not _has(group, levels[:1], path):
        return
    level = group[levels[0]]
    for key in sorted(level):
        if _has(level, (key,), path) and _is_group(level, key):
            yield from _positions(
                level[key], path, levels[1:], f"{prefix}/{levels[0]}/{key}", visited
            )


def _has(group: Any, names: Sequence[str], path: Path) -> bool:
    for name in names:
        refuse_link(group, name, path)
        if not isinstance(group, Mapping) or name not in group:
            return False
        group = group[name]
    return True


def _is_group(group: Any, name: str) -> bool:
    import h5py

    return isinstance(group[name], h5py.Group)
