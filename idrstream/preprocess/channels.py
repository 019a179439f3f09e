"""Several channels of a movie, each read and corrected by itself, as one frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from idrstream.formats.reader import MovieInfo, MovieReader, reader_at, selects_sites
from idrstream.preprocess.base import BasePreprocessor
from idrstream.preprocess.preprocessor import PlateFrames, Preprocessor
from idrstream.records import Frame, ImageTask, Movie, Skipped


@dataclass(frozen=True, slots=True)
class AllChannels:
    """What is read of each frame: every channel of one plane, by readers like `one`."""

    one: MovieReader
    channel: int | None = None

    @property
    def name(self) -> str:
        """Name of the readers."""
        return self.one.name

    @property
    def z(self) -> int | None:
        """The plane, counted from 0; None if there is but one."""
        z: int | None = getattr(self.one, "z", None)
        return z

    @property
    def selects_sites(self) -> bool:
        """Whether they find several sites of a well in one file."""
        return selects_sites(self.one)

    def at_site(self, site: int) -> MovieReader:
        """Return what reads a site of a file."""
        return reader_at(self.one, site)


class ChannelPreprocessor(BasePreprocessor):
    """Stacks the channels of each frame; each has its own illumination.

    Parameters
    ----------
    channels : Mapping[str, Preprocessor]
        What reads and corrects each channel, by its name, in the order of the stack.
    """

    def __init__(self, channels: Mapping[str, Preprocessor]) -> None:
        self.channels = dict(channels)
        self.channel_names = tuple(channels)

    @property
    def reader(self) -> AllChannels:
        """What is read of each frame."""
        return AllChannels(next(iter(self.channels.values())).reader)

    def describe(self) -> dict[str, object]:
        """Return what changes a result: the channels by name."""
        return {"channels": {name: one.describe() for name, one in self.channels.items()}}

    def process(self, movie: Movie) -> list[Frame | Skipped]:
        """Return the wanted frames; one that lacks a channel is skipped, with the reason."""
        names = tuple(self.channels)
        found = [one.process(movie) for one in self.channels.values()]
        return [_stacked(names, results) for results in zip(*found, strict=True)]

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
            for name, one in self.channels.items():
                one.collect(movie, frames[name])
        for name, one in self.channels.items():
            one.fit_frames(plate, frames[name])

    def for_dry_run(self, folder: Path) -> ChannelPreprocessor:
        """Return one that saves models of plates in `folder`."""
        return ChannelPreprocessor(
            {name: one.for_dry_run(folder / name) for name, one in self.channels.items()}
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
    pixels: Any = np.concatenate([frame.pixels for frame in frames])
    return replace(frames[0], pixels=pixels, channels=tuple(names))
