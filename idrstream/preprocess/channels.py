"""Several channels of a movie, each read and corrected by itself, as one frame."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from idrstream.errors import MovieError
from idrstream.formats.reader import BaseReader, MovieInfo
from idrstream.preprocess.base import BasePreprocessor
from idrstream.preprocess.preprocessor import PlateFrames, Preprocessor
from idrstream.records import Frame, ImageTask, Movie, Skipped
from idrstream.screen.channels import (
    channel_files,
    channel_names,
    file_of_channel,
    number_of_channel,
)

logger = logging.getLogger("idrstream.preprocess")


class ChannelPreprocessor(BasePreprocessor):
    """Stacks the channels of each frame; each has its own illumination.

    Parameters
    ----------
    channels : Mapping[str, Preprocessor]
        What reads and corrects each channel, by its name, in the order of the stack.
    keys : Mapping[str, str], optional
        Which channel of a movie each is: its number, counted from 0, or its name; by default
        the number that its reader reads. In channels with files of their own, one of the same
        name comes before a number.
    """

    reader: BaseReader

    def __init__(
        self,
        channels: Mapping[str, Preprocessor],
        *,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self.channels = dict(channels)
        self.channel_names = tuple(channels)
        self.reader = next(iter(self.channels.values())).reader  # `keys` says which channels
        given = {name: str(one.reader.channel) for name, one in self.channels.items()}
        self.keys: tuple[tuple[str, str], ...] = tuple((given | dict(keys or {})).items())

    def describe(self) -> dict[str, object]:
        """Return what changes a result: the channels by name."""
        named = {name: key for name, key in self.keys if not key.isdecimal()}
        return {
            "channels": {name: one.describe() for name, one in self.channels.items()},
            **({"by_name": named} if named else {}),
        }

    def process(self, movie: Movie) -> list[Frame | Skipped]:
        """Return the wanted frames; one that lacks a channel is skipped, with the reason.

        Raises
        ------
        MovieError
            If the movie lacks a channel as a whole, or cannot be read.
        """
        movie = replace(movie, task=ChannelPreprocessor.resolve(self, movie))
        # Not a subclass's own, which may call this.
        groups = ChannelPreprocessor.iterate(self, movie, max(1, len(movie.task.frames)))
        return [result for group in groups for result in group]

    def resolve(self, movie: Movie) -> ImageTask:
        """Return the image with the frames of the channel that has most; see `Preprocessor`."""
        tasks = [one.resolve(file) for one, file in self._views(movie)]
        return max(tasks, key=lambda task: len(task.frames))

    def iterate(self, movie: Movie, at_once: int) -> Iterator[list[Frame | Skipped]]:
        """Yield the results of `process`, at most `at_once` frames at a time."""
        names = tuple(self.channels)
        groups = [one.iterate(file, at_once) for one, file in self._views(movie)]
        for found in zip(*groups, strict=True):
            yield [_stacked(names, results) for results in zip(*found, strict=True)]

    def _views(self, movie: Movie) -> list[tuple[Preprocessor, Movie]]:
        return [self._view(movie, name, key) for name, key in self.keys]

    def _view(self, movie: Movie, name: str, key: str) -> tuple[Preprocessor, Movie]:
        """Return what reads a channel, and the file that it is in."""
        task = movie.task
        if movie.channels:
            # Positions count in the row: not every file need have been downloaded.
            files = list(channel_files(task.metadata)) or list(movie.channels)
            file = file_of_channel(files, name, key)
            if file is None or file not in movie.channels:
                msg = f"{task.name}: there is no channel {key!r}; there are {', '.join(files)}"
                raise MovieError(msg)
            one = self._at(name, 0, alone=True)
            return one, replace(movie.channels[file], task=task)
        names = channel_names(task.metadata)
        if not names and not key.isdecimal():
            names = self.reader.at(site=task.site, channel=0).info(movie.path).channels
        return self._at(name, number_of_channel(names, key)), movie

    def _at(self, name: str, number: int, *, alone: bool = False) -> Preprocessor:
        """Return what reads the channel of a number, with the illumination of a name."""
        one = self.channels[name]
        if one.reader.channel == number and not alone:
            return one
        other = copy.copy(one)  # shares the models of its plates
        other.reader = one.reader.at(channel=number, alone=alone)
        return other

    chooses_frames = True

    def frames_needed(self, task: ImageTask, info: MovieInfo) -> tuple[int, ...]:
        """Return the frames that `process` will read of a movie; see `Preprocessor`."""
        needed = [one.frames_needed(task, info) for one in self.channels.values()]
        return tuple(sorted(set().union(*needed)))

    def needs_plate_model(self, plate: str) -> bool:
        """Return whether a channel lacks the model of a plate."""
        return any(one.needs_plate_model(plate) for one in self.channels.values())

    def fit_plate(self, plate: str, movies: Iterable[Movie]) -> None:
        """Fit the illumination model of every channel of a plate; see `Preprocessor`."""
        frames = {name: PlateFrames() for name in self.channels}
        for movie in movies:  # it may be deleted when the next one is asked for
            for name, key in self.keys:
                try:
                    one, file = self._view(movie, name, key)
                except MovieError as error:
                    logger.warning(
                        "%s is left out of its plate's model: %s", movie.task.name, error
                    )
                    continue
                one.collect(file, frames[name])
        for name, one in self.channels.items():
            one.fit_frames(plate, frames[name])

    def uncorrected(self) -> ChannelPreprocessor:
        """Return one of the same channels that corrects nothing."""
        return ChannelPreprocessor(
            {name: one.uncorrected() for name, one in self.channels.items()}, keys=dict(self.keys)
        )

    def for_dry_run(self, folder: Path) -> ChannelPreprocessor:
        """Return one that saves models of plates in `folder`."""
        return ChannelPreprocessor(
            {name: one.for_dry_run(folder / name) for name, one in self.channels.items()},
            keys=dict(self.keys),
        )

    def load(self) -> None:
        """Check that what the channels need is installed."""
        for one in self.channels.values():
            one.load()

    def interrupt(self) -> None:
        """Stop the readers at once."""
        for one in self.channels.values():
            one.interrupt()

    def close(self) -> None:
        """Close the readers."""
        for one in self.channels.values():
            one.close()


def _stacked(names: Sequence[str], results: Sequence[Frame | Skipped]) -> Frame | Skipped:
    frames: list[Frame] = []
    for result in results:
        if isinstance(result, Skipped):
            return result
        frames.append(result)
    sizes = {name: frame.pixels.shape[1:] for name, frame in zip(names, frames, strict=True)}
    if len(set(sizes.values())) > 1:
        text = ", ".join(f"{name} {y} x {x} px" for name, (y, x) in sizes.items())
        raise MovieError(f"the channels of a frame have different sizes: {text}")
    pixels: Any = np.concatenate([frame.pixels for frame in frames])
    raw = tuple(one for frame in frames for one in frame.raw)
    return replace(frames[0], pixels=pixels, channels=tuple(names), raw=raw)
