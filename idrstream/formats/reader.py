"""The reader of movies: its protocol, and a base class with defaults."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

from numpy.typing import NDArray

from idrstream.describe import adapt
from idrstream.errors import ConfigError, FrameError
from idrstream.formats.projection import Projection

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
    channels : tuple of str
        Names of the file's channels in their order, where it tells them; else empty.
    """

    n_frames: int
    shape: tuple[int, int]
    dtype: str
    valid: tuple[bool, ...]
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageSizes:
    """How many images, channels and planes a file has, and how large its pixels are.

    Attributes
    ----------
    n_images : int
        Images of the file; the others are of one of them.
    n_channels, n_planes : int
        Channels, and z-planes of each.
    n_files : int
        Files that the image is in; 0 if that is not known.
    spacing_um : tuple of float
        Distance of planes, rows and columns in micrometres, ``(z, y, x)``; NaN where unknown.
    """

    n_images: int
    n_channels: int
    n_planes: int
    n_files: int = 1
    spacing_um: tuple[float, float, float] = (math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Selection:
    """What is read of a file with several images, channels or planes.

    Attributes
    ----------
    channel : int
        Channel, counted from 0.
    z : int or None
        Plane, counted from 0; None if the file has but one, or they are projected.
    projection : {"max", "mean", "sharpest"} or None
        How several planes become one image; see `projected`.
    series : int or None
        Image of the file, counted from 0; None for that of the site.
    site : int
        Site of the row, counted from 1: the number of its image where a file has several.
    alone : bool
        Whether channels and planes count among those that are in the file itself, not in others
        that it names: for files of which a table names each.
    """

    channel: int = 0
    z: int | None = None
    projection: Projection | None = None
    series: int | None = None
    site: int = 1
    alone: bool = False


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


class BaseReader:
    """Base class of readers: what they select, and defaults.

    Parameters
    ----------
    channel : int
        Channel to read, counted from 0.
    z : int, optional
        Plane to read, counted from 0; needed only for movies with several.
    projection : {"max", "mean", "sharpest"}, optional
        Read all planes instead, and make one image of them.

    Attributes
    ----------
    selects : frozenset of str
        Names of the fields of `Selection` that the reader obeys.
    selection : Selection
        What is read.

    Raises
    ------
    ConfigError
        If both a plane and a projection are chosen.
    """

    name = ""
    selects: frozenset[str] = frozenset({"channel", "z", "projection"})

    def __init__(
        self,
        *,
        channel: int = 0,
        z: int | None = None,
        projection: Projection | None = None,
    ) -> None:
        if z is not None and projection is not None:
            msg = f"preprocess.z = {z} and preprocess.projection = {projection!r}: choose one"
            raise ConfigError(msg)
        self.selection = Selection(channel, z, projection)

    @property
    def channel(self) -> int:
        """Channel to read, counted from 0."""
        return self.selection.channel

    @property
    def z(self) -> int | None:
        """Plane to read, counted from 0."""
        return self.selection.z

    @property
    def selects_sites(self) -> bool:
        """Whether other pixels of the same file are read for another site."""
        return "site" in self.selects and self.selection.series is None

    def finds_sites_in(self, path: str) -> bool:  # noqa: ARG002
        """Return whether other pixels of a file are read for another site; by its name."""
        return self.selects_sites

    def at(self, **changes: Any) -> Self:
        """Return what reads something else of the same files, and shares what the reader holds.

        Parameters
        ----------
        **changes
            Fields of `Selection`. `site` and `alone` are ignored by a reader whose files have one
            site each and name no others.

        Raises
        ------
        ConfigError
            If the reader cannot select by one of the others.
        """
        refused = sorted(changes.keys() - self.selects - {"site", "alone"})
        if refused:
            name = self.name or type(self).__name__
            msg = f"the reader {name} cannot choose {refused[0]} = {changes[refused[0]]!r}"
            raise ConfigError(msg)
        known = {name: value for name, value in changes.items() if name in self.selects}
        selection = replace(self.selection, **known)
        if selection == self.selection:
            return self
        twin = copy.copy(self)
        twin.selection = selection
        return twin

    def describe(self) -> dict[str, object]:
        """Return what changes a result."""
        chosen = {"series": self.selection.series, "projection": self.selection.projection}
        return {
            "name": self.name,
            "channel": self.channel,
            "z": self.z,
            **{name: value for name, value in chosen.items() if value is not None},
        }

    def info(self, path: Path) -> MovieInfo:
        """Return what the movie has; see `MovieReader.info`."""
        raise NotImplementedError

    def read(self, path: Path, numbers: Sequence[int]) -> dict[int, Pixels | FrameError]:
        """Read frames; see `MovieReader.read`."""
        raise NotImplementedError

    def sizes(self, path: Path) -> ImageSizes:
        """Return how many images, channels and planes a file has.

        Raises
        ------
        MovieError
            If it cannot be read.
        ConfigError
            If the reader cannot tell.
        """
        name = self.name or type(self).__name__
        raise ConfigError(f"{path}: the reader {name} cannot tell which channels and planes it has")

    def interrupt(self) -> None:
        """Do nothing: reads are short and hold nothing."""

    def close(self) -> None:
        """Do nothing: files are closed after every call."""


def as_reader(given: object) -> BaseReader:
    """Return an object with the methods of `MovieReader` as a reader; see `adapt`.

    It is taken to obey the fields of `Selection` that its own attribute ``selects`` names, by a
    method ``at`` of its own; without one, it reads the same of every file.
    """
    if isinstance(given, BaseReader):
        return given
    methods = ("read", "info", "sizes", "interrupt", "close", "name", "at", "selects")
    own = {} if hasattr(given, "selects") else {"selects": frozenset[str]()}
    return adapt(given, BaseReader, methods, **own)
