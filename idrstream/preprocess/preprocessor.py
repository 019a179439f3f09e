"""Read the wanted frames of a movie and correct their illumination."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from idrstream.describe import describe_part
from idrstream.errors import FrameError, ImageError, MovieError, storage_error
from idrstream.formats.reader import BaseReader, MovieInfo, MovieReader, Pixels, as_reader
from idrstream.preprocess.base import BasePreprocessor
from idrstream.preprocess.basic import may_be_offset, require_basic
from idrstream.preprocess.illumination import (
    FrameContext,
    Illumination,
    IlluminationModel,
    NoIllumination,
    PerPlate,
    WholeMovie,
)
from idrstream.quality.raw_frame import measure_raw_frame
from idrstream.records import Frame, ImageTask, Movie, Skipped

logger = logging.getLogger("idrstream.preprocess")

STAGE = "preprocess"

_FEW = 8  # frames that are read together, with those that their correction is fitted on
_SPREAD = 4  # pixels between those that are looked at for a camera's offset
_Read: TypeAlias = Callable[[Sequence[int]], dict[int, Pixels | FrameError]]


@dataclass(slots=True)
class PlateFrames:
    """Frames of a plate that its illumination model is fitted on, and their wells."""

    stacks: list[Pixels] = field(default_factory=list)
    wells: list[str] = field(default_factory=list)


class Preprocessor(BasePreprocessor):
    """Reads the wanted frames of one channel of movies and corrects their illumination.

    Parameters
    ----------
    reader : MovieReader
        Reads the frames.
    illumination : Illumination
        Chooses the frames that a correction is fitted on, and fits it.
    frames_per_movie : int
        For a model of a plate: frames used of each of its movies.
    channel : str
        Name of the channel.
    """

    reader: BaseReader

    def __init__(
        self,
        reader: MovieReader,
        illumination: Illumination,
        *,
        frames_per_movie: int = 4,
        channel: str = "DNA",
    ) -> None:
        self.channel = channel
        self.channel_names = (channel,)
        self.reader = as_reader(reader)
        self.illumination = illumination
        self.frames_per_movie = frames_per_movie
        self._doubted: set[str] = set()  # plates whose flatfield may be wrong

    def describe(self) -> dict[str, object]:
        """Return what changes a result, for the identity of images."""
        by_plate = isinstance(self.illumination, PerPlate)
        return {
            "reader": describe_part(self.reader),
            "illumination": describe_part(self.illumination),
            **({"frames_per_movie": self.frames_per_movie} if by_plate else {}),
        }

    def process(self, movie: Movie) -> list[Frame | Skipped]:
        """Return the wanted frames of a movie.

        Parameters
        ----------
        movie : Movie
            Complete on disk.

        Returns
        -------
        list of Frame or Skipped
            One per wanted frame, in the order requested; a frame that is out of range, not
            valid or never written is a `Skipped` with the reason. Frames that serve only as
            context and have no pixels are left out of the fit.

        Raises
        ------
        MovieError
            If the movie as a whole cannot be read, or there is no model to correct it with.
        """
        movie = replace(movie, task=Preprocessor.resolve(self, movie))
        # Not a subclass's own, which may call this.
        groups = Preprocessor.iterate(self, movie, max(1, len(movie.task.frames)))
        return [result for group in groups for result in group]

    def resolve(self, movie: Movie) -> ImageTask:
        """Return the image of a movie with the frames that the movie has.

        Raises
        ------
        MovieError
            If the movie as a whole cannot be read.
        """
        task = movie.task
        if not task.every:
            return task
        return task.with_length(self.reader.at(site=task.site).info(movie.path).n_frames)

    def iterate(self, movie: Movie, at_once: int) -> Iterator[list[Frame | Skipped]]:
        """Yield the results of `process` in their order, at most `at_once` frames at a time.

        Parameters
        ----------
        movie : Movie
            Complete on disk until the last frame was read, with the task that `resolve` returned.
        at_once : int
            Frames in memory, also of those that the correction is fitted on.

        Yields
        ------
        list of Frame or Skipped
            One for each wanted frame.
        """
        task = movie.task
        reader = self.reader.at(site=task.site)
        info = reader.info(movie.path)
        context = self.illumination.context(task.frames, info)
        _check_fetched(movie, (*task.frames, *context), info)
        read: _Read = partial(reader.read, movie.path)
        wanted = tuple(dict.fromkeys((*task.frames, *context)))
        if len(wanted) <= max(at_once, _FEW):  # then each frame is read but once
            known = read(wanted)
            read = partial(_taken, known)
        model: IlluminationModel | None = None
        fitted = False
        for group in _groups(task.frames, at_once):
            pixels = read(group)
            if not fitted and not all(isinstance(one, FrameError) for one in pixels.values()):
                model, fitted = self._model_for(task, context, read, at_once), True
            yield [self._result(pixels.pop(number), number, movie, model) for number in group]

    def _model_for(
        self, task: ImageTask, context: Sequence[int], read: _Read, at_once: int
    ) -> IlluminationModel | None:
        """Return the model of an image; its context is read group by group."""
        some: list[Pixels] = []

        def frames() -> Iterator[Pixels]:
            for group in _groups(context, at_once):
                for pixels in read(group).values():
                    if isinstance(pixels, FrameError):
                        logger.debug("left out of the illumination fit: %s", pixels)
                        continue
                    some.append(pixels[::_SPREAD, ::_SPREAD].copy())
                    yield pixels

        model = self.illumination.model_for(task, frames())
        if some:
            self._warn_of_offset(task.plate, model, np.stack(some))
        return model

    chooses_frames = True

    def frames_needed(self, task: ImageTask, info: MovieInfo) -> tuple[int, ...]:
        """Return the frames that `process` will read of a movie, and no others.

        Parameters
        ----------
        task : ImageTask
            The image.
        info : MovieInfo
            The movie's size.

        Returns
        -------
        tuple of int
            Counted from 1, ascending, within the movie: the wanted frames and those that their
            correction is fitted on; as long as the plate has no model, also those that
            `fit_plate` takes of this movie.
        """
        wanted = task.with_length(info.n_frames).frames
        numbers = {*wanted, *self.illumination.context(wanted, info)}
        if self.needs_plate_model(task.plate):
            numbers.update(_frames_for_model(info, self.frames_per_movie))
        return tuple(sorted(number for number in numbers if 1 <= number <= info.n_frames))

    def interrupt(self) -> None:
        """Stop the reader at once."""
        self.reader.interrupt()

    def load(self) -> None:
        """Check that basicpy is installed, when the illumination is corrected with it.

        Raises
        ------
        idrstream.errors.MissingToolError
            With the command that installs it.
        """
        if isinstance(self.illumination, FrameContext | WholeMovie | PerPlate):
            require_basic()

    def needs_plate_model(self, plate: str) -> bool:
        """Return whether `fit_plate` must be called before movies of a plate are processed."""
        return isinstance(self.illumination, PerPlate) and self.illumination.missing(plate)

    def uncorrected(self) -> Preprocessor:
        """Return a preprocessor of the same frames that corrects nothing."""
        twin = copy.copy(self)
        twin.illumination = NoIllumination()
        return twin

    def for_dry_run(self, folder: Path) -> Preprocessor:
        """Return a preprocessor that fits models of plates again, and saves them in `folder`."""
        if not isinstance(self.illumination, PerPlate):
            return self
        twin = copy.copy(self)
        twin.illumination = type(self.illumination)(folder, darkfield=self.illumination.darkfield)
        return twin

    def fit_plate(self, plate: str, movies: Iterable[Movie]) -> None:
        """Fit the illumination model of a plate on frames of many of its movies.

        A movie that cannot be read is left out.

        Parameters
        ----------
        plate : str
            Plate name.
        movies : iterable of Movie
            Iterated once: a movie may be deleted from the disk when the next is requested.

        Raises
        ------
        ConfigError
            If the illumination is not by plate.
        MovieError
            If no model comes out of it; the message names the plate.
        """
        frames = PlateFrames()
        for movie in movies:
            self.collect(movie, frames)
        self.fit_frames(plate, frames)

    def collect(self, movie: Movie, frames: PlateFrames) -> None:
        """Add frames of a movie to those that the model of its plate is fitted on."""
        if not isinstance(self.illumination, PerPlate):
            return
        stacks, stack = frames.stacks, self._frames_for_plate(movie)
        if stacks and (stack.shape[1:], stack.dtype) != (stacks[0].shape[1:], stacks[0].dtype):
            logger.warning("%s: frames unlike the plate's others", movie.task.name)
        elif len(stack):
            stacks.append(stack)
            frames.wells.append(movie.task.well)

    def fit_frames(self, plate: str, frames: PlateFrames) -> None:
        """Fit the illumination model of a plate on collected frames; see `fit_plate`."""
        if not isinstance(self.illumination, PerPlate):
            super().fit_plate(plate, ())
            return
        if not frames.stacks:
            msg = f"plate {plate} has no illumination model: none of its frames could be read"
            raise MovieError(msg)
        try:
            stack = np.concatenate(frames.stacks)
            model = self.illumination.fit(plate, stack, wells=frames.wells)
        except ImageError as error:
            msg = f"plate {plate} has no illumination model: {error}"
            raise MovieError(msg) from error
        self._warn_of_offset(plate, model, stack[:, ::_SPREAD, ::_SPREAD])

    def _warn_of_offset(self, plate: str, model: IlluminationModel | None, some: Pixels) -> None:
        """Say once for each plate that its flatfield is even, and what that may mean."""
        if model is None or plate in self._doubted or not may_be_offset(model, some):
            return
        self._doubted.add(plate)
        logger.warning(
            "plate %s: the flatfield is even within 5 %%. If its light is not, the camera's offset "
            "over a dark medium hides that: try illumination_darkfield = true with "
            'illumination_context = "plate". If it is, no correction is needed '
            "(perform_illumination_correction = false)",
            plate,
        )

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
        reader = self.reader.at(site=movie.task.site)
        info = reader.info(movie.path)
        chosen = _frames_for_model(info, per_movie)
        _check_fetched(movie, chosen, info)
        read = reader.read(movie.path, chosen)
        return _stack([read[number] for number in chosen], info)

    def close(self) -> None:
        """Close the reader."""
        self.reader.close()

    def _result(
        self,
        pixels: Pixels | FrameError,
        number: int,
        movie: Movie,
        model: IlluminationModel | None,
    ) -> Frame | Skipped:
        task = movie.task
        try:
            if isinstance(pixels, FrameError):
                raise pixels
            raw = measure_raw_frame(pixels, movie.source)
            corrected = pixels if model is None else model.correct(pixels)
            return Frame(corrected[np.newaxis], number, task, (raw,), (self.channel,))
        except FrameError as error:
            stops = storage_error(error)
            if stops is not None:
                raise stops from error
            return Skipped(task, number, STAGE, type(error).__name__, str(error))

    def _frames_for_plate(self, movie: Movie) -> Pixels:
        try:
            return self.plate_frames(movie, self.frames_per_movie)
        except ImageError as error:
            stops = storage_error(error)
            if stops is not None:  # not the movie's fault: the model would lack it for good
                raise stops from error
            logger.warning("%s is left out of its plate's model: %s", movie.task.name, error)
            return np.empty((0, 0, 0), dtype=np.uint8)


def _groups(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _taken(
    known: Mapping[int, Pixels | FrameError], numbers: Sequence[int]
) -> dict[int, Pixels | FrameError]:
    return {number: known[number] for number in numbers}


def spread(numbers: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of `numbers`, evenly spread, in order."""
    if count <= 0 or not numbers:
        return []
    step = max(1.0, len(numbers) / count)
    # The middle of each section, so that a single one is the middle of the movie.
    return [numbers[int((i + 0.5) * step)] for i in range(min(count, len(numbers)))]


def _frames_for_model(info: MovieInfo, per_movie: int) -> list[int]:
    return spread([n for n, valid in enumerate(info.valid, start=1) if valid], per_movie)


def _check_fetched(movie: Movie, numbers: Iterable[int], info: MovieInfo) -> None:
    """Raise if a frame is missing from the file only because it was not fetched.

    It would read as never written, and be left out of a fit silently.
    """
    if movie.frames is None:
        return
    missing = {n for n in numbers if 1 <= n <= info.n_frames}.difference(movie.frames)
    if missing:
        msg = (
            f"frames {sorted(missing)} of {movie.path} were not fetched (only "
            f'{list(movie.frames)}); set fetch = "file"'
        )
        raise MovieError(msg)


def _stack(frames: Sequence[Pixels | FrameError], info: MovieInfo) -> Pixels:
    good = [frame for frame in frames if not isinstance(frame, FrameError)]
    for frame in frames:
        if isinstance(frame, FrameError):
            logger.debug("left out of the illumination fit: %s", frame)
    return np.stack(good) if good else np.empty((0, *info.shape), dtype=info.dtype)
