"""The reader of movies: its protocol, and a base class with defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from numpy.typing import NDArray

from idrstream.errors import FrameError

Pixels: TypeAlias = NDArray[Any]


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
    """Reads frames of movies that are complete on disk; `BaseReader` has defaults."""

    @property
    def name(self) -> str:
        """Short name, for the log."""
        ...

    def info(self, path: Path) -> MovieInfo:
        """Return what the movie has.

        Raises
        ------
        MovieError
            If it cannot be read or is not what was requested; names the file.
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

    def interrupt(self) -> None:
        """Stop reading at once; called from another thread. Usable again afterwards."""
        ...

    def close(self) -> None:
        """Release what the reader holds; usable again afterwards."""
        ...


@runtime_checkable
class SelectsSites(Protocol):
    """What a reader has that finds several sites of a well in one file."""

    selects_sites: bool

    def at_site(self, site: int) -> MovieReader:
        """Return what reads a site of a file, counted from 1."""
        ...


def selects_sites(reader: object) -> bool:
    """Return whether a reader reads other pixels of the same file for another site."""
    return isinstance(reader, SelectsSites) and reader.selects_sites


def reader_at(reader: MovieReader, site: int) -> MovieReader:
    """Return what reads a site, counted from 1; the reader itself if its files have one each."""
    return reader.at_site(site) if isinstance(reader, SelectsSites) else reader


class BaseReader:
    """Base class of readers that read one channel and plane.

    Parameters
    ----------
    channel : int
        Channel to read, counted from 0.
    z : int, optional
        Plane to read, counted from 0; needed only for movies with several.
    """

    name = ""
    selects_sites = False

    def __init__(self, *, channel: int = 0, z: int | None = None) -> None:
        self.channel = channel
        self.z = z

    def describe(self) -> dict[str, object]:
        """Return what changes a result."""
        return {"name": self.name, "channel": self.channel, "z": self.z}

    def at_site(self, site: int) -> MovieReader:  # noqa: ARG002
        """Return the reader: its files have one site each."""
        return self  # type: ignore[return-value]  # a subclass has info and read

    def interrupt(self) -> None:
        """Do nothing: reads are short and hold nothing."""

    def close(self) -> None:
        """Do nothing: files are closed after every call."""
