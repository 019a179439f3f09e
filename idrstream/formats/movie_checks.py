"""Checks of a movie and its frames, for all readers."""

from __future__ import annotations

from pathlib import Path

from idrstream.errors import FrameError, MovieError
from idrstream.formats.reader import MovieInfo, Pixels, Selection
from idrstream.text import counted

_DTYPES = frozenset({"uint8", "uint16"})


def check_pixel_type(path: Path, dtype: str) -> None:
    """Raise `MovieError` for pixels that are neither uint8 nor uint16."""
    if dtype not in _DTYPES:
        msg = f"{path} has {dtype} pixels; only uint8 and uint16 movies are read"
        raise MovieError(msg)


def channel_to_read(path: Path, n_channels: int, selection: Selection) -> int:
    """Return the channel to read, counted from 0.

    Raises
    ------
    MovieError
        If it is not there.
    """
    if not 0 <= selection.channel < n_channels:
        there = "one channel, 0" if n_channels == 1 else f"the channels 0 to {n_channels - 1}"
        msg = (
            f"{path} has {there}; channel {selection.channel} is not among them: set "
            "preprocess.channel or preprocess.image_channels"
        )
        raise MovieError(msg)
    return selection.channel


def planes_to_read(path: Path, n_planes: int, selection: Selection) -> range:
    """Return the planes to read of a movie with `n_planes`, counted from 0.

    Raises
    ------
    MovieError
        If there are several and neither one nor a projection was chosen, or the chosen one is
        not there.
    """
    z = selection.z
    if selection.projection is not None:
        return range(n_planes)
    if z is None:
        if n_planes == 1:
            return range(1)
        msg = (
            f"{path} has {n_planes} z-planes: set preprocess.z to the plane to read, from 0, or "
            'preprocess.projection to "max", "mean" or "sharpest"'
        )
        raise MovieError(msg)
    if not 0 <= z < n_planes:
        there = "one z-plane, 0" if n_planes == 1 else f"the z-planes 0 to {n_planes - 1}"
        msg = f"{path} has {there}; plane {z} is not among them: set preprocess.z"
        raise MovieError(msg)
    return range(z, z + 1)


def image_to_read(path: Path, n_images: int, selection: Selection) -> int:
    """Return the image to read of a file with `n_images`, counted from 0.

    Parameters
    ----------
    path : Path
        The file, for messages.
    n_images : int
        Images that it has; Bio-Formats calls them series.
    selection : Selection
        Its site, or the series to read whatever the site is.

    Raises
    ------
    MovieError
        If the image is not there.
    """
    site, series = selection.site, selection.series
    if series is None and n_images == 1:
        return 0  # a file for each site
    number = site - 1 if series is None else series
    if not 0 <= number < n_images:
        wanted = f"site {site}" if series is None else f"series {series}"
        msg = (
            f"{path} has {counted(n_images, 'image')}; {wanted} is not among them. Correct the "
            "table's column Site, or set preprocess.series to the image to read of every file, "
            "from 0"
        )
        raise MovieError(msg)
    return number


def frame_problem(info: MovieInfo, number: int, path: Path) -> FrameError | None:
    """Return why a frame has no pixels, from what is known without reading it."""
    if not 1 <= number <= info.n_frames:
        return FrameError(
            f"frame {number} of a movie of {info.n_frames} in {path} (frames count from 1)"
        )
    if not info.valid[number - 1]:
        return FrameError(f"frame {number} of {path} is marked not valid by its writer")
    return None


def hole(pixels: Pixels, number: int, path: Path) -> FrameError | None:
    """Say that a frame reads as zeros throughout: not data, a camera has an offset."""
    if pixels.any():
        return None
    return FrameError(f"frame {number} of {path} reads as all zeros: it was never written")
