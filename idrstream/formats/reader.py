"""What a movie reader is, and which one a name or a path means."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from numpy.typing import NDArray

from idrstream.errors import ConfigError, FrameError

Pixels: TypeAlias = NDArray[Any]

READER_NAMES = ("cellh5", "imagej", "bioformats")
FIJI_VARIABLE = "IDRSTREAM_FIJI"
JAR_VARIABLE = "IDRSTREAM_BIOFORMATS_JAR"

_COORDINATE = re.compile(r"[\w.-]+:[\w.-]+(:[\w.-]+)?(\+[\w.:-]+)*")


@dataclass(frozen=True, slots=True)
class MovieInfo:
    """What a movie has, without its pixels.

    Attributes
    ----------
    n_frames : int
        Number of frames.
    shape : tuple of int
        ``(Y, X)`` of a frame in pixels.
    dtype : str
        ``uint8`` or ``uint16``.
    valid : tuple of bool
        For each frame whether its writer marked it as valid.
    """

    n_frames: int
    shape: tuple[int, int]
    dtype: str
    valid: tuple[bool, ...]


@runtime_checkable
class MovieReader(Protocol):
    """Reads frames of movies that are complete on disk."""

    @property
    def name(self) -> str:
        """Short name, for the log."""
        ...

    def info(self, path: Path) -> MovieInfo:
        """Return what the movie has.

        Raises
        ------
        MovieError
            If it cannot be read or is not what was asked for; names the file.
        MissingToolError
            If what the reader needs is not installed.
        """
        ...

    def read(self, path: Path, numbers: Sequence[int]) -> dict[int, Pixels | FrameError]:
        """Read frames.

        Parameters
        ----------
        path : Path
            The movie.
        numbers : sequence of int
            Frame numbers, counted from 1.

        Returns
        -------
        dict
            For each number the pixels, shape ``(Y, X)``, uint8 or uint16, origin at the upper
            left as stored; or the `FrameError` that says why there are none: out of range,
            not valid, never written.

        Raises
        ------
        MovieError, MissingToolError
            As for `info`.
        """
        ...

    def close(self) -> None:
        """Release what the reader holds; it may be used again afterwards."""
        ...


def make_reader(
    reader: str | Path | MovieReader | None = None,
    location: str | Path | None = None,
    *,
    channel: int = 0,
    z: int | None = None,
) -> MovieReader:
    """Return the reader that a name, a path or an object means.

    Parameters
    ----------
    reader : str, Path, MovieReader or None
        ``cellh5``, ``imagej`` or ``bioformats``; a Fiji.app folder or Maven coordinate
        (ImageJ); a ``.jar`` (Bio-Formats); an object with the methods of `MovieReader`; None
        for the built-in CellH5 reader.
    location : str or Path, optional
        Fiji.app folder, Maven coordinate or jar for a reader given by name; by default what
        the environment variables ``IDRSTREAM_FIJI`` and ``IDRSTREAM_BIOFORMATS_JAR`` name.
    channel : int
        Channel to read, counted from 0.
    z : int, optional
        Plane to read, counted from 0, of movies with several.

    Returns
    -------
    MovieReader
        Nothing is started or opened yet.

    Raises
    ------
    ConfigError
        If `reader` means none.
    """
    from idrstream.formats.cellh5.reader import CellH5Reader
    from idrstream.formats.java.bioformats import BioFormatsReader
    from idrstream.formats.java.imagej import ImageJReader

    if isinstance(reader, MovieReader):
        return reader
    if reader is None or reader in ("cellh5", "h5py"):
        return CellH5Reader(channel=channel, z=z)
    name, location = _name_and_location(str(reader), location)
    if name == "bioformats":
        return BioFormatsReader(location, channel=channel, z=z)
    return ImageJReader(location, channel=channel, z=z)


def _name_and_location(text: str, location: str | Path | None) -> tuple[str, str | Path]:
    if text.lower().endswith(".jar"):
        return "bioformats", text
    variable = {"imagej": FIJI_VARIABLE, "bioformats": JAR_VARIABLE}.get(text)
    if variable is not None:
        location = location or os.environ.get(variable)
        if location:
            return text, location
        what = "a Fiji.app folder or Maven coordinate" if text == "imagej" else "a Bio-Formats jar"
        msg = f"the {text} reader needs {what}: give its location or set {variable}"
        raise ConfigError(msg)
    if is_coordinate(text) or "/" in text or Path(text).expanduser().is_dir():
        return "imagej", text
    msg = f"{text!r} is no reader: use one of {', '.join(READER_NAMES)}, a Fiji.app or a jar"
    raise ConfigError(msg)


def is_coordinate(text: str) -> bool:
    """Tell whether a text is a Maven coordinate, such as ``sc.fiji:fiji:2.14.0``."""
    return _COORDINATE.fullmatch(text) is not None
