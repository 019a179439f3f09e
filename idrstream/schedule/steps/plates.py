"""Illumination models of plates: fitted on many wells before the plate's images are processed."""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.errors import ImageError, UserError
from idrstream.records import ImageTask, Movie
from idrstream.schedule.context import Context
from idrstream.schedule.disk.space import Space
from idrstream.schedule.lanes import Outcome
from idrstream.schedule.stages import Stages
from idrstream.schedule.state import BatchState, ModelMovie, ModelMoviePhase, PlateFit
from idrstream.schedule.steps import jobs
from idrstream.schedule.steps.movies import Movies

if TYPE_CHECKING:
    from idrstream.screen import Plan

log = logging.getLogger(__name__)


class _StreamEndsError(Exception):
    """Raised in a fit's thread when the stream ends before the fit has its movies."""


class PlateModels:
    """Fits the model of each plate once, when the first of its images is due.

    The fit runs in a thread of its own, since it waits for movies. The images of its plate are
    downloaded only after it, so that they cannot take the space that its movies need.

    Parameters
    ----------
    context : Context
        What the components of the scheduler share.
    space : Space
        Reserves disk space.
    movies : Movies
        Downloads and deletes movies.
    plan : Plan
        Its tasks name the wells of a plate.
    max_wells : int
        A model is fitted on at most this many wells.
    failed : Mapping[str, Exception]
        Plates that are known to have no model.
    """

    def __init__(
        self,
        context: Context,
        space: Space,
        movies: Movies,
        plan: Plan,
        max_wells: int,
        failed: Mapping[str, Exception],
    ) -> None:
        self._context = context
        self._space = space
        self._movies = movies
        self._plan = plan
        self._max_wells = max_wells
        self._ready: set[str] = set()
        self._errors = dict(failed)
        self._fits: dict[str, PlateFit] = {}
        self._kept: list[ModelMovie] = []

    @property
    def n_waiting(self) -> int:
        """Number of fits whose threads wait for a movie."""
        return sum(fit.awaited is not None for fit in list(self._fits.values()))

    def error(self, plate: str) -> Exception | None:
        """Return why a plate has no model."""
        return self._errors.get(plate)

    def is_ready(self, plate: str, batch: BatchState) -> bool:
        """Return whether images of a plate may be downloaded; start its fit if necessary.

        They may also if the fit failed: each of them is skipped once it has arrived.
        """
        if plate in self._ready or plate in self._errors:
            return True
        if plate in self._fits:
            return False
        try:
            needs = self._context.stages.plates.needs_plate_model(plate)
        except UserError as error:
            self._context.request_stop(error)
            return False
        except Exception as error:  # other people's code: only the images of this plate fail
            log.exception("unforeseen error in the illumination of plate %s", plate)
            self._errors[plate] = error
            return True
        if needs:
            self._start(plate, batch)
            return False
        self._ready.add(plate)
        return True

    def pump(self) -> None:
        """Start downloads for the fits in progress."""
        context = self._context
        for fit in self._fits.values():
            for movie in fit.movies:
                if movie.phase is not ModelMoviePhase.WAITING:
                    continue
                if context.stopping or not context.has_capacity("download"):
                    return
                while not self._space.reserve_movie(movie):
                    if not self.drop_kept():
                        return
                movie.phase = ModelMoviePhase.STARTED
                self._movies.download(movie, partial(self._downloaded, movie))

    def close(self) -> None:
        """Release the threads that wait for a movie that will not come."""
        for fit in self._fits.values():
            fit.awaited = None
            for movie in fit.movies:
                movie.reply.put(None)

    def take_kept(self, task: ImageTask) -> ModelMovie | None:
        """Return the movie of an image that its plate's model was fitted on, if it was kept."""
        for movie in self._kept:
            if movie.task == task:
                self._kept.remove(movie)
                return movie
        return None

    def drop_kept(self) -> bool:
        """Delete the last movie that was kept for its image; return False if there is none."""
        if not self._kept:
            return False
        self._movies.discard(self._kept.pop())
        return True

    def _start(self, plate: str, batch: BatchState) -> None:
        tasks = tasks_for_model(self._plan, plate, self._max_wells)
        fit = self._fits[plate] = PlateFit(plate, batch, tasks)
        log.info("Fitting the models of plate %s on %d wells", plate, len(fit.movies))
        self._context.stage_started("illumination", batch)
        self._context.submit("illumination", partial(self._fit, fit), partial(self._fitted, fit))

    def _fit(self, fit: PlateFit) -> None:
        with closing(self._iterate(fit)) as movies:
            self._context.stages.plates.fit_plate(fit.plate, movies)

    def _iterate(self, fit: PlateFit) -> Generator[Movie, None, None]:
        """Yield one movie after the other; runs in the thread of the fit."""
        inbox = self._context.inbox
        for movie in fit.movies:
            inbox.put(partial(self._await, movie))
            reply = movie.reply.get()
            if reply is None:
                raise _StreamEndsError
            if isinstance(reply, BaseException):
                log.warning(
                    "%s is left out of its plate's illumination: %s", movie.task.name, reply
                )
                continue
            try:
                yield reply
            finally:
                inbox.put(partial(self._used, movie))

    def _await(self, movie: ModelMovie) -> None:
        if movie.phase is not ModelMoviePhase.ANSWERED:
            movie.fit.awaited = movie

    def _downloaded(self, movie: ModelMovie, error: BaseException | None) -> None:
        answer: Movie | BaseException | None = error or movie.movie
        # A model is kept for good: none is fitted without a movie that is missing only because
        # the stream ends.
        if error and (not self._context.should_continue_after(error) or self._context.stopping):
            answer = None
        movie.phase = ModelMoviePhase.ANSWERED
        movie.reply.put(answer)
        if movie.fit.awaited is movie:
            movie.fit.awaited = None
        if movie.fit.ended:
            self._discard_unused(movie)

    def _used(self, movie: ModelMovie) -> None:
        """Keep a movie for its own image if that comes soon, else delete it."""
        context = self._context
        soon = any(image.task == movie.task for batch in context.batches for image in batch.waiting)
        few = len(self._kept) < context.sizes.prefetch
        if soon and few and not context.stopping and self._space.may_keep(movie):
            self._kept.append(movie)
        else:
            self._movies.discard(movie)

    def _fitted(self, fit: PlateFit, outcome: Outcome) -> None:
        self._context.stage_finished("illumination", fit.batch, None, outcome.seconds)
        del self._fits[fit.plate]
        fit.ended = True
        for movie in fit.movies:
            self._discard_unused(movie)
        error = outcome.error
        if error is None:
            self._ready.add(fit.plate)
        elif not isinstance(error, _StreamEndsError) and self._context.should_continue_after(error):
            if not isinstance(error, ImageError):
                log.error("unforeseen error in the illumination of %s", fit.plate, exc_info=error)
            self._errors[fit.plate] = error

    def _discard_unused(self, movie: ModelMovie) -> None:
        """Delete a movie that a fit did not use, if it is on the disk."""
        if not movie.reply.empty() and isinstance(movie.reply.get(), Movie):
            self._movies.discard(movie)


def tasks_for_model(plan: Plan, plate: str, max_wells: int) -> tuple[ImageTask, ...]:
    """Return the images of a plate that its model is fitted on, spread over its wells."""
    tasks = [task for task in plan.tasks if task.plate == plate]
    step = max(1, len(tasks) // max_wells)
    return tuple(tasks[::step][:max_wells])


def fit_alone(stages: Stages, plate: str, tasks: Sequence[ImageTask], folder: Path) -> None:
    """Fit the model of a plate outside a stream: its movies come one after the other.

    Parameters
    ----------
    stages : Stages
        The stages.
    plate : str
        The plate.
    tasks : sequence of ImageTask
        The images that it is fitted on; those that cannot be downloaded are left out.
    folder : Path
        Folder for one movie at a time.

    Raises
    ------
    ImageError
        If no model comes out of it.
    UserError
        As in a stream.
    """

    def movies() -> Generator[Movie, None, None]:
        for task in tasks:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                movie, _ = jobs.download(stages, task, folder)
            except ImageError as error:
                log.warning("%s is left out of its plate's illumination: %s", task.name, error)
                continue
            try:
                yield movie
            finally:
                jobs.delete(movie, folder)

    with closing(movies()) as found:
        stages.plates.fit_plate(plate, found)
