"""From a movie to its wanted frames, corrected."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from idrstream.errors import FrameError
from idrstream.preprocess.reader import MovieInfo, MovieReader, Pixels
from idrstream.records import Frame, Movie, Skipped

if TYPE_CHECKING:
    from idrstream.preprocess.illumination import Illumination

logger = logging.getLogger("idrstream.preprocess")

STAGE = "preprocess"


class Preprocessor:
    """Reads the wanted frames of movies and corrects their illumination.

    Parameters
    ----------
    reader : MovieReader
        Reads the frames.
    illumination : Illumination
        Says which other frames a correction needs and fits it.
    """

    def __init__(self, reader: MovieReader, illumination: Illumination) -> None:
        self.reader = reader
        self.illumination = illumination

    def process(self, movie: Movie) -> list[Frame | Skipped]:
        """Return the wanted frames of a movie.

        Parameters
        ----------
        movie : Movie
            Complete on disk.

        Returns
        -------
        list of Frame or Skipped
            One per wanted frame, in the order asked for; a frame that is out of range, not
            valid or never written is a `Skipped` with the reason. Frames that serve only as
            context and have no pixels are left out of the fit.

        Raises
        ------
        MovieError
            If the movie as a whole cannot be read.
        """
        task = movie.task
        wanted = task.frames
        info = self.reader.info(movie.path)
        context = self.illumination.context(wanted, info)
        read = self.reader.read(movie.path, list(dict.fromkeys((*wanted, *context))))
        if all(isinstance(read[number], FrameError) for number in wanted):
            return [_result(read[number], number, movie) for number in wanted]
        stack = _stack([read[number] for number in context], info)
        model = self.illumination.model_for(task, stack)
        results: list[Frame | Skipped] = []
        for number in wanted:
            pixels = read[number]
            if model is not None and not isinstance(pixels, FrameError):
                pixels = model.correct(pixels)
            results.append(_result(pixels, number, movie))
        return results

    def plate_frames(self, movie: Movie, per_movie: int) -> Pixels:
        """Read frames of a movie for the model of its plate.

        Parameters
        ----------
        movie : Movie
            Complete on disk.
        per_movie : int
            At most so many frames, spread evenly over the movie's valid ones.

        Returns
        -------
        NDArray
            Shape ``(n, Y, X)``, ``0 <= n <= per_movie``; uint8 or uint16 as stored.

        Raises
        ------
        MovieError
            If the movie as a whole cannot be read.
        """
        info = self.reader.info(movie.path)
        numbers = [number for number, valid in enumerate(info.valid, start=1) if valid]
        chosen = spread(numbers, per_movie)
        read = self.reader.read(movie.path, chosen)
        return _stack([read[number] for number in chosen], info)

    def close(self) -> None:
        """Close the reader."""
        self.reader.close()


def spread(numbers: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of `numbers`, evenly spread, in order."""
    if count <= 0 or not numbers:
        return []
    step = max(1.0, len(numbers) / count)
    # The middle of each stretch, so that a single one is the middle of the movie.
    return [numbers[int((i + 0.5) * step)] for i in range(min(count, len(numbers)))]


def _stack(frames: Sequence[Pixels | FrameError], info: MovieInfo) -> Pixels:
    good = [frame for frame in frames if not isinstance(frame, FrameError)]
    for frame in frames:
        if isinstance(frame, FrameError):
            logger.debug("left out of the illumination fit: %s", frame)
    return np.stack(good) if good else np.empty((0, *info.shape), dtype=info.dtype)


def _result(pixels: Pixels | FrameError, number: int, movie: Movie) -> Frame | Skipped:
    if isinstance(pixels, FrameError):
        return Skipped(movie.task, number, STAGE, type(pixels).__name__, str(pixels))
    return Frame(pixels, number, movie.task)
