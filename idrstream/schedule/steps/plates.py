"""Illumination models of plates: fitted on many wells before the plate's images are processed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Generator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from idrstream.errors import ImageError, UserError
from idrstream.records import ImageTask, Movie
from idrstream.schedule.context import Context
from idrstream.schedule.disk.space import Space
from idrstream.schedule.lanes import Outcome
from idrstream.schedule.state import BatchState, ModelMovie, PlateFit
from idrstream.schedule.steps.image_jobs import fetch

if TYPE_CHECKING:
    from idrstream.schedule.disk.movie_folders import Folders
    from idrstream.screen import Plan

log = logging.getLogger(__name__)


class _StreamEndsError(Exception):
    """Raised in a fit's thread when the stream ends before the fit has its movies."""


class PlateModels:
    """Fits the model of each plate once, when the first of its images is due.

    The fit runs in a thread of its own, since it waits for movies; the images of its plate are
    not downloaded before it is done, so that they cannot take the space its movies need.

    Parameters
    ----------
    context : Context
        What all parts share.
    space : Space
        Gives space on the disk.
    folders : Folders
        Where movies are put.
    plan : Plan
        Its tasks tell which wells a plate has.
    wells : int
        At most so many wells of a plate are looked at.
    """

    def __init__(
        self, context: Context, space: Space, folders: Folders, plan: Plan, wells: int
    ) -> None:
        self._context = context
        self._space = space
        self._folders = folders
        self._plan = plan
        self._wells = wells
        self._fitted: set[str] = set()
        self._errors: dict[str, Exception] = {}
        self._fits: dict[str, PlateFit] = {}
        self._kept: list[ModelMovie] = []

    @property
    def waiting(self) -> int:
        """Number of fits whose threads wait for a movie."""
        return sum(fit.wants is not None for fit in list(self._fits.values()))

    def ready(self, plate: str, batch: BatchState) -> bool:
        """Tell whether images of a plate may be downloaded; begin its fit if need be.

        They may also when the fit failed: then each of them is skipped, once it has arrived.
        """
        if plate in self._fitted or plate in self._errors:
            return True
        if plate in self._fits:
            return False
        try:
            needs = self._context.rooms.preprocessor.needs_plate_model(plate)
        except UserError as error:
            self._context.halt(error)
            return False
        except Exception as error:  # the border of a room: it sinks the plate's images only
            log.exception("unforeseen error in the illumination of plate %s", plate)
            self._errors[plate] = error
            return True
        if not needs:
            self._fitted.add(plate)
            return True
        self._begin(plate, batch)
        return False

    def error(self, plate: str) -> Exception | None:
        """Return why a plate has no model."""
        return self._errors.get(plate)

    def pump(self) -> None:
        """Start downloads for the fits under way."""
        context = self._context
        for fit in self._fits.values():
            for movie in fit.movies:
                if context.stopping or not context.lanes["download"].has_room:
                    return
                if movie.started:
                    continue
                while not self._space.take(movie, fit.batch, context.batches):
                    if not self.drop_kept():
                        return
                movie.started = True
                self._download(movie)

    def end(self) -> None:
        """Let go of the threads that wait for a movie that will not come."""
        for fit in self._fits.values():
            fit.wants = None
            for movie in fit.movies:
                movie.reply.put(None)

    def take_kept(self, task: ImageTask) -> ModelMovie | None:
        """Return the movie of an image that its plate's model has seen, if it is still there."""
        for movie in self._kept:
            if movie.task == task:
                self._kept.remove(movie)
                return movie
        return None

    def drop_kept(self) -> bool:
        """Delete a movie that is kept for its image, the last one; tell whether there was one."""
        if not self._kept:
            return False
        self._delete(self._kept.pop())
        return True

    def _seen(self, movie: ModelMovie) -> None:
        """Keep a movie for its own image when that comes soon, else delete it."""
        context = self._context
        soon = any(image.task == movie.task for batch in context.batches for image in batch.waiting)
        room = len(self._kept) < context.sizes.prefetch
        if soon and room and not context.stopping and self._space.may_keep(movie):
            self._kept.append(movie)
        else:
            self._delete(movie)

    def _delete(self, movie: ModelMovie) -> None:
        if movie.movie is not None:
            movie.movie.path.unlink(missing_ok=True)
        if movie.folder is not None:
            shutil.rmtree(movie.folder, ignore_errors=True)
        self._gone(movie)

    def _begin(self, plate: str, batch: BatchState) -> None:
        tasks = [task for task in self._plan.tasks if task.plate == plate]
        step = max(1, len(tasks) // self._wells)
        fit = PlateFit.of(plate, batch, tasks[::step][: self._wells])
        self._fits[plate] = fit
        log.info("Fitting the illumination of plate %s on %d wells", plate, len(fit.movies))
        self._context.begin("illumination", batch)
        self._context.lanes["illumination"].submit(
            partial(self._fit, fit), partial(self._fitted_plate, fit)
        )

    def _fit(self, fit: PlateFit) -> None:
        with closing(self._movies(fit)) as movies:
            self._context.rooms.preprocessor.fit_plate(fit.plate, movies)

    def _movies(self, fit: PlateFit) -> Generator[Movie, None, None]:
        """Hand over one movie after the other; runs in the thread of the fit."""
        inbox = self._context.inbox
        for wanted in fit.movies:
            inbox.put(partial(self._asks, wanted))
            got = wanted.reply.get()
            if got is None:
                raise _StreamEndsError
            if isinstance(got, BaseException):
                log.warning("%s is left out of its plate's illumination: %s", wanted.task.name, got)
                continue
            try:
                yield got
            finally:
                inbox.put(partial(self._seen, wanted))

    def _asks(self, wanted: ModelMovie) -> None:
        if not wanted.replied:
            wanted.fit.wants = wanted

    def _reply(self, movie: ModelMovie, answer: Movie | BaseException | None) -> None:
        movie.replied = True
        movie.reply.put(answer)
        if movie.fit.wants is movie:
            movie.fit.wants = None
        if movie.fit.ended:
            self._give_up(movie)

    def _download(self, movie: ModelMovie) -> None:
        movie.folder = self._folders.take(movie.task.plate)
        self._space.begins(movie)
        self._context.begin("download", movie.fit.batch, movie.task)
        self._context.lanes["download"].submit(
            partial(fetch, self._context.rooms, movie.task, movie.folder),
            partial(self._downloaded, movie),
        )

    def _downloaded(self, movie: ModelMovie, outcome: Outcome) -> None:
        moved = None if outcome.value is None else outcome.value[1]
        batch = movie.fit.batch
        self._context.end("download", batch, movie.task, outcome.seconds, moved)
        error = outcome.error
        if error is None:
            found, size_bytes = outcome.value
            movie.movie = found
            self._space.arrived(movie, batch, size_bytes)
            self._reply(movie, found)
            return
        self._gone(movie)
        if not self._context.goes_on_after(error):
            self._reply(movie, None)
            return
        # A model is kept for good: none is fitted without a movie that is missing only because
        # the stream ends.
        self._reply(movie, None if self._context.stopping else error)

    def _gone(self, movie: ModelMovie) -> None:
        self._folders.give_back(movie.folder)
        self._space.gone(movie, movie.fit.batch)

    def _fitted_plate(self, fit: PlateFit, outcome: Outcome) -> None:
        self._context.end("illumination", fit.batch, None, outcome.seconds)
        del self._fits[fit.plate]
        fit.ended = True
        for movie in fit.movies:  # that it did not look at
            self._give_up(movie)
        error = outcome.error
        if error is None:
            self._fitted.add(fit.plate)
            return
        if isinstance(error, _StreamEndsError):
            return
        if not self._context.goes_on_after(error):
            return
        if not isinstance(error, ImageError):
            log.error("unforeseen error in the illumination of %s", fit.plate, exc_info=error)
        self._errors[fit.plate] = error

    def _give_up(self, movie: ModelMovie) -> None:
        """Delete a movie that a fit did not take, when it is there."""
        if movie.reply.empty():
            return
        if isinstance(movie.reply.get(), Movie):
            self._delete(movie)
