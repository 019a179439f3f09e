"""Movies on the disk: downloaded into folders of their own, and deleted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from idrstream.schedule.context import Context
from idrstream.schedule.disk.movie_folders import MovieFolders
from idrstream.schedule.disk.space import Space
from idrstream.schedule.lanes import Outcome
from idrstream.schedule.state import MovieState
from idrstream.schedule.steps import jobs

Done = Callable[[BaseException | None], None]


class Movies:
    """Downloads and deletes movies, and accounts for their disk space.

    Parameters
    ----------
    context : Context
        What the components of the scheduler share.
    space : Space
        Reserves disk space.
    folders : MovieFolders
        Where movies are put.
    """

    def __init__(self, context: Context, space: Space, folders: MovieFolders) -> None:
        self._context = context
        self._space = space
        self._folders = folders

    def download(self, item: MovieState, done: Done) -> None:
        """Start to download a movie whose space is reserved; `done` gets its error, if any."""
        item.folder = self._folders.acquire(item.task.plate)
        self._space.watch_download(item)
        self._context.stage_started("download", item.batch, item.task)
        self._context.submit(
            "download",
            partial(jobs.download, self._context.stages, item.task, item.folder),
            partial(self._downloaded, item, done),
        )

    def discard(self, item: MovieState) -> None:
        """Delete a movie, if it is on the disk."""
        if item.movie is not None:
            jobs.delete(item.movie, item.folder)
        self.release(item)

    def release(self, item: MovieState) -> None:
        """Release the folder and the space of a movie that was deleted."""
        item.movie = None
        self._folders.release(item.folder)
        self._space.release_movie(item)

    def _downloaded(self, item: MovieState, done: Done, outcome: Outcome) -> None:
        n_bytes = None if outcome.value is None else outcome.value[1]
        self._context.stage_finished("download", item.batch, item.task, outcome.seconds, n_bytes)
        if outcome.error is None:
            item.movie, size_bytes = outcome.value
            self._space.movie_arrived(item, size_bytes)
        else:
            self.release(item)
        done(outcome.error)
