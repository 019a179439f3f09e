"""Every plane of an image, as it is stored: all channels, z-planes and frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from idrstream.errors import FrameError, MovieError, storage_error
from idrstream.formats.reader import BaseReader, MovieInfo, Pixels
from idrstream.preprocess.base import BasePreprocessor
from idrstream.preprocess.preprocessor import STAGE
from idrstream.records import Frame, ImageTask, Movie, Skipped
from idrstream.screen.channels import channel_names


@dataclass(frozen=True, slots=True)
class PlanesFrame(Frame):
    """All planes of one time point.

    ``pixels`` has the z-planes of the first channel, then those of the next; ``channels`` names
    the channel of each.

    Attributes
    ----------
    n_planes : int
        z-planes of each channel.
    spacing_um : tuple of float
        Distance of planes, rows and columns in micrometres, ``(z, y, x)``; NaN where unknown.
    """

    n_planes: int = 1
    spacing_um: tuple[float, float, float] = (np.nan, np.nan, np.nan)


class _Channel(NamedTuple):
    """Where a channel is."""

    name: str
    reader: BaseReader
    path: Path
    number: int

    def plane(self, z: int) -> BaseReader:
        return self.reader.at(channel=self.number, z=z, projection=None)


class Planes(NamedTuple):
    """What an image has, and where.

    Attributes
    ----------
    channels : tuple
        Its channels.
    n_planes : int
        z-planes of each.
    info : MovieInfo
        Number, size and type of its frames.
    spacing_um : tuple of float
        See `PlanesFrame`.
    n_images, n_files : int
        Images of its file, and files that it is in; see `ImageSizes`.
    """

    channels: tuple[_Channel, ...]
    n_planes: int
    info: MovieInfo
    spacing_um: tuple[float, float, float]
    n_images: int
    n_files: int

    def read(self, numbers: Sequence[int]) -> dict[int, Pixels | FrameError]:
        """Return all planes of some frames, shape ``(C * Z, Y, X)``, or why there are none."""
        stacks: dict[int, list[Pixels]] = {number: [] for number in numbers}
        problems: dict[int, FrameError] = {}
        for channel in self.channels:
            for z in range(self.n_planes):
                for number, plane in channel.plane(z).read(channel.path, numbers).items():
                    if isinstance(plane, FrameError):
                        where = f"channel {channel.name}, plane {z}"
                        known = FrameError(f"{plane} ({where})")
                        known.__cause__ = plane
                        problems.setdefault(number, known)
                    elif number not in problems:
                        stacks[number].append(plane)
        return {
            number: problems[number] if number in problems else np.stack(stacks[number])
            for number in numbers
        }


class PlanesPreprocessor(BasePreprocessor):
    """Reads all planes of images, as they are stored.

    Parameters
    ----------
    reader : BaseReader
        Reads the files; what it selects of channels and planes does not matter.
    """

    reader: BaseReader
    all_channels = True

    def __init__(self, reader: BaseReader) -> None:
        self.reader = reader.at(channel=0, z=0, projection=None)

    def describe(self) -> dict[str, object]:
        """Return what changes a result."""
        return {"reader": self.reader.describe(), "planes": "all"}

    def process(self, movie: Movie) -> list[Frame | Skipped]:
        """Return the wanted frames of a movie, each with all its planes.

        Raises
        ------
        MovieError
            If the movie as a whole cannot be read.
        """
        return self._frames(movie, planes_of(self.reader, movie), movie.task.frames)

    def resolve(self, movie: Movie) -> ImageTask:
        """Return the image of a movie with the frames that the movie has."""
        return movie.task.with_length(planes_of(self.reader, movie).info.n_frames)

    def iterate(self, movie: Movie, at_once: int) -> Iterator[list[Frame | Skipped]]:
        """Yield the results of `process` in their order, at most `at_once` planes or one frame."""
        planes = planes_of(self.reader, movie)
        size = max(1, at_once // (len(planes.channels) * planes.n_planes))
        numbers = movie.task.frames
        for start in range(0, len(numbers), size):
            yield self._frames(movie, planes, numbers[start : start + size])

    def interrupt(self) -> None:
        """Stop the reader at once."""
        self.reader.interrupt()

    def close(self) -> None:
        """Close the reader."""
        self.reader.close()

    def _frames(
        self, movie: Movie, planes: Planes, numbers: Sequence[int]
    ) -> list[Frame | Skipped]:
        names = tuple(one.name for one in planes.channels for _ in range(planes.n_planes))
        found: list[Frame | Skipped] = []
        for number, pixels in planes.read(numbers).items():
            if isinstance(pixels, FrameError):
                if (stops := storage_error(pixels)) is not None:
                    raise stops from pixels
                skipped: Any = Skipped(movie.task, number, STAGE, "FrameError", str(pixels))
                found.append(skipped)
                continue
            found.append(
                PlanesFrame(
                    pixels,
                    number,
                    movie.task,
                    (),
                    names,
                    n_planes=planes.n_planes,
                    spacing_um=planes.spacing_um,
                )
            )
        return found


def planes_of(reader: BaseReader, movie: Movie) -> Planes:
    """Return what the image of a movie has.

    Raises
    ------
    MovieError
        If it cannot be read, or the files of its channels do not fit together.
    ConfigError
        If the reader cannot tell.
    """
    first = reader.at(site=movie.task.site)
    if not movie.channels:
        sizes, info = first.sizes(movie.path), first.info(movie.path)
        given = info.channels or channel_names(movie.task.metadata)
        names = given if len(given) == sizes.n_channels else ()
        channels = tuple(
            _Channel(names[c] if names else f"Channel {c}", first, movie.path, c)
            for c in range(sizes.n_channels)
        )
        return Planes(
            channels, sizes.n_planes, info, sizes.spacing_um, sizes.n_images, sizes.n_files
        )
    alone = first.at(alone=True)
    several: list[_Channel] = []
    shapes = set()
    for name, file in movie.channels.items():
        sizes, info = alone.sizes(file.path), alone.info(file.path)
        shapes.add((info.n_frames, info.shape, info.dtype, sizes.n_planes))
        for c in range(sizes.n_channels):
            own = name if sizes.n_channels == 1 else f"{name} {c}"
            several.append(_Channel(own, alone, file.path, c))
    if len(shapes) > 1:
        msg = f"{movie.task.name}: the files of its channels differ in frames, size or type"
        raise MovieError(msg)
    return Planes(
        tuple(several), sizes.n_planes, info, sizes.spacing_um, sizes.n_images, sizes.n_files
    )
