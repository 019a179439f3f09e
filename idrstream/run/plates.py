"""What is estimated once for each plate: its illumination, and the diameter of its nuclei."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from idrstream.errors import ImageError, storage_error
from idrstream.records import Frame, Movie

if TYPE_CHECKING:
    from idrstream.preprocess import BasePreprocessor
    from idrstream.segment import Segmentor

_log = logging.getLogger("idrstream.run")


class PlateEstimates:
    """Fits the illumination of a plate and what its segmentation shares on the same movies.

    Parameters
    ----------
    preprocessor : BasePreprocessor
        May correct the illumination by plate.
    segmentor : Segmentor
        May estimate the diameter by plate; it gets a frame of each movie as it was taken.
    """

    def __init__(self, preprocessor: BasePreprocessor, segmentor: Segmentor) -> None:
        self._preprocessor = preprocessor
        self._segmentor = segmentor

    def needs_plate_model(self, plate: str) -> bool:
        """Return whether `fit_plate` must be called before movies of a plate are processed."""
        return self._preprocessor.needs_plate_model(plate) or self._segmentor.needs_plate(plate)

    def fit_plate(self, plate: str, movies: Iterable[Movie]) -> None:
        """Make the estimates that a plate lacks; `movies` yields one movie at a time.

        Raises
        ------
        idrstream.errors.ImageError
            When an estimate cannot be made; the message names the plate.
        """
        if not self._segmentor.needs_plate(plate):
            self._preprocessor.fit_plate(plate, movies)
            return
        frames: list[Frame] = []
        seen = self._seen(movies, frames)
        if self._preprocessor.needs_plate_model(plate):
            self._preprocessor.fit_plate(plate, seen)
        for _ in seen:
            pass  # the movies that nothing was fitted on
        self._segmentor.fit_plate(plate, frames)

    def _seen(self, movies: Iterable[Movie], frames: list[Frame]) -> Iterator[Movie]:
        """Yield the movies, and take a frame of each while it is there."""
        reader = self._preprocessor.uncorrected()
        for movie in movies:
            try:
                frames += _middle(reader, movie)
            except ImageError as error:
                stops = storage_error(error)
                if stops is not None:
                    raise stops from error
                _log.warning("%s is left out of its plate's diameter: %s", movie.task.name, error)
            yield movie


def _middle(reader: BasePreprocessor, movie: Movie) -> list[Frame]:
    """Return the wanted frame in the middle of a movie, if it can be read."""
    task = reader.resolve(movie)
    task = replace(task, frames=(task.frames[len(task.frames) // 2],))
    return [one for one in reader.process(replace(movie, task=task)) if isinstance(one, Frame)]
