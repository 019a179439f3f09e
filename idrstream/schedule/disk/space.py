"""Which image may take space on the disk next, so that the budget holds and nothing gets stuck.

Space is given in the order of the plan. An image reserves its movie, or what its frames will
need in the project if that is more: a movie is deleted when it is read, before they are
written. A later batch gets space only where the batches before it can still finish, by the
largest movie they have left and what they will leave in their projects.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.errors import BudgetError, UserError
from idrstream.records import ImageTask
from idrstream.schedule.disk.budget import DiskBudget, disk_free_bytes
from idrstream.schedule.disk.growth import GrowthWatch
from idrstream.schedule.lanes import Lane, Outcome
from idrstream.schedule.state import BatchState, FrameState, ImageState, ModelMovie
from idrstream.text import format_size

if TYPE_CHECKING:
    from idrstream.download import Downloader

log = logging.getLogger(__name__)

_SIDECAR_BYTES = 64 * 1024  # what a transport may put beside a movie
_MARGIN = 1.25
_AHEAD = 8  # sizes asked for before it is an image's turn


class Space:
    """Gives images space on the disk.

    Parameters
    ----------
    budget : DiskBudget
        The ledger.
    folder : Path
        Where movies are put, to look how much its disk has free.
    downloader : Downloader
        Its ``size(task)`` is called.
    lane : Lane
        Asks for sizes.
    halt : callable
        Ends the stream with an error.
    watch : GrowthWatch
        Looks at movies while they arrive.
    """

    def __init__(
        self,
        budget: DiskBudget,
        folder: Path,
        downloader: Downloader,
        lane: Lane,
        halt: Callable[[BaseException], None],
        watch: GrowthWatch,
    ) -> None:
        self.budget = budget
        self.waits_for_disk = ""
        self.only_movies = False  # the next image may be begun though it will probably need more
        self._folder = folder
        self._downloader = downloader
        self._watch = watch
        self._lane = lane
        self._halt = halt
        self._largest = 0  # movie seen so far
        self._frame_bytes = 0  # most that a frame needed so far
        self._unwritten: dict[Any, int] = {}
        self._unknown: set[Any] = set()
        self._asked: set[Any] = set()
        self._short = 0

    def take(
        self,
        item: ImageState | ModelMovie,
        batch: BatchState,
        batches: Sequence[BatchState],
    ) -> bool:
        """Reserve what a movie needs before its download; tell whether that was possible.

        Parameters
        ----------
        item : ImageState or ModelMovie
            What is to be downloaded.
        batch : BatchState
            The batch that needs it.
        batches : sequence of BatchState
            All batches under way, in order.
        """
        limit = self.budget.limit_bytes
        if limit is not None and not self._sized(item, batch):
            return False
        need = self._movie_bytes(item)
        if isinstance(item, ImageState) and not self.only_movies:
            need = max(need, self.expected_bytes(item, batch))
        if limit is not None:
            if self._is_too_large(item, batch):
                return False
            if item.size_bytes is None and self._unknown:
                return False  # one at a time: each may take all there is
            free = (self.budget.free_bytes or 0) - self._kept_for(batch, batches)
            if need > free or free <= 0:
                self._short = need
                return False
            if item.size_bytes is None:
                need = free
        if not self._disk_has(need if item.size_bytes is not None else self._largest):
            return False
        if not self.budget.resize(item.key, need):
            return False
        if item.size_bytes is None:
            self._unknown.add(item.key)
        self.only_movies = False
        self._unwritten[item.key] = need if item.size_bytes is not None else self._largest
        return True

    def begins(self, item: ImageState | ModelMovie) -> None:
        """Watch a movie, whose space is taken, while it arrives in its folder."""
        if self.budget.limit_bytes is not None and item.folder is not None:
            held = self.budget.held(item.key)
            self._watch.begin(item.key, item.folder, held, partial(self._passed, item))

    def arrived(self, item: ImageState | ModelMovie, batch: BatchState, size_bytes: int) -> None:
        """Note how large a movie, with all beside it, turned out to be."""
        self._largest = max(self._largest, size_bytes)
        self._forget(item.key)
        work = self.expected_bytes(item, batch) if isinstance(item, ImageState) else 0
        work = min(work, self.budget.held(item.key))  # no more than it had, though it may need it
        if not self.budget.resize(item.key, max(size_bytes, work)):
            limit = self.budget.limit_bytes or 0
            msg = (
                f"the movie of {item.task.name} has {format_size(size_bytes)}, more than its "
                f"source said; with it the stream would hold more than disk_budget "
                f"({format_size(limit)}) allows: make disk_budget larger"
            )
            self._halt(BudgetError(msg))

    def may_keep(self, item: ModelMovie) -> bool:
        """Tell whether a movie may stay for its own image: not where sizes are not known."""
        return self.budget.limit_bytes is None or item.size_bytes is not None

    def hand_over(self, movie: ModelMovie, image: ImageState) -> None:
        """Let an image have a model's movie, and the space that it has."""
        size = self.budget.held(movie.key)
        self.budget.release(movie.key)
        image.size_bytes, image.sized = movie.size_bytes, movie.sized
        more = max(size, self.expected_bytes(image, image.batch))
        if not self.budget.resize(image.key, more):
            self.budget.resize(image.key, size)  # it was held until now

    def gone(self, item: ImageState | ModelMovie, batch: BatchState) -> None:
        """Note that the movie of an image is deleted, read or not."""
        self._forget(item.key)
        if isinstance(item, ImageState) and not item.finished:
            self.budget.resize(item.key, self.expected_bytes(item, batch))
        else:
            self.budget.release(item.key)

    def grow(self, state: FrameState) -> bool:
        """Reserve what a segmented frame needs for sure; tell whether that was possible."""
        image, batch = state.image, state.image.batch
        assert state.nuclei is not None  # noqa: S101, it is segmented
        needed = batch.profiling.needed_bytes(state.frame, state.nuclei)
        self._frame_bytes = max(self._frame_bytes, needed)
        rest = (image.left - 1) * self._per_frame(image.task, batch)
        least = image.needed_bytes + needed
        if not any(self.budget.resize(image.key, size) for size in (least + rest, least)):
            self._short = needed
            return False
        image.needed_bytes += needed
        return True

    def settle(self, image: ImageState) -> None:
        """Reserve for a finished image what it needs, no more."""
        self.budget.resize(image.key, image.needed_bytes)

    def release(self, batch: BatchState) -> None:
        """Give back all that a batch reserved."""
        for image in batch.images:
            self._forget(image.key)
            self.budget.release(image.key)

    def expected_bytes(self, image: ImageState, batch: BatchState) -> int:
        """Return what an image will need in the project, as far as can be told."""
        return image.needed_bytes + image.left * self._per_frame(image.task, batch)

    def too_small(self, batch: BatchState) -> BudgetError:
        """Return the error of a budget in which not even one batch can finish."""
        limit = self.budget.limit_bytes or 0
        msg = (
            f"batch {batch.batch.number} needs at least "
            f"{format_size(self.budget.used_bytes + self._short)} of disk at once (the files of "
            f"its {len(batch.images)} images, and the next movie), but disk_budget is "
            f"{format_size(limit)}: make disk_budget larger or batch_size smaller"
        )
        return BudgetError(msg)

    def _per_frame(self, task: ImageTask, batch: BatchState) -> int:
        if self._frame_bytes:
            return int(self._frame_bytes * _MARGIN)
        return batch.profiling.expected_bytes(task) // max(1, len(task.frames))

    def _movie_bytes(self, item: ImageState | ModelMovie) -> int:
        if item.size_bytes is None:
            return self._largest
        return item.size_bytes + _SIDECAR_BYTES

    def _kept_for(self, batch: BatchState, batches: Sequence[BatchState]) -> int:
        """Return what the batches before one need to be able to finish."""
        kept = largest = 0
        for older in batches:
            if older.order >= batch.order:
                break
            for image in older.waiting:
                kept += self.expected_bytes(image, older)
                largest = max(largest, self._movie_bytes(image))
        return kept + largest

    def _is_too_large(self, item: ImageState | ModelMovie, batch: BatchState) -> bool:
        """Tell whether a movie does not even fit alone; end the stream then."""
        limit = self.budget.limit_bytes or 0
        fixed, need = self.budget.held("fixed"), self._movie_bytes(item)
        if item.size_bytes is None or need + fixed <= limit:
            return False
        msg = (
            f"the movie of {item.task.name} (batch {batch.batch.number}) needs {format_size(need)} "
            f"on the disk and the stream's own files {format_size(fixed)}, together {need + fixed} "
            f"bytes, but disk_budget is {format_size(limit)} ({limit} bytes): make it larger"
        )
        self._halt(BudgetError(msg))
        return True

    def _disk_has(self, need: int) -> bool:
        free = disk_free_bytes(self._folder) - sum(self._unwritten.values())
        if free >= need:
            self.waits_for_disk = ""
            return True
        if not self.waits_for_disk:
            log.warning("Waiting for free space on the disk of %s", self._folder.parent)
        self.waits_for_disk = (
            f"the disk of {self._folder.parent} has {format_size(max(0, free))} free, but the next "
            f"movie needs {format_size(need)}; free space and start again"
        )
        return False

    def _passed(self, item: ImageState | ModelMovie, size_bytes: int) -> None:
        """End the stream when a movie that arrives takes more than there is for it."""
        if item.key not in self._unwritten:
            return  # it has arrived or failed meanwhile
        most = self.budget.held(item.key) + (self.budget.free_bytes or 0)
        more = min(int(size_bytes * _MARGIN), most)
        if more >= size_bytes and self.budget.resize(item.key, more):
            self.begins(item)
            return
        limit = self.budget.limit_bytes or 0
        why = "does not tell its size" if item.size_bytes is None else "told a smaller size"
        msg = (
            f"the movie of {item.task.name} was stopped after {format_size(size_bytes)}: with the "
            f"rest the stream would hold more than disk_budget ({format_size(limit)}) allows, and "
            f"its source {why}; make disk_budget larger"
        )
        self._halt(BudgetError(msg))
        self._downloader.interrupt()

    def _forget(self, key: Any) -> None:
        self._watch.end(key)
        self._unwritten.pop(key, None)
        self._unknown.discard(key)

    def _sized(self, item: ImageState | ModelMovie, batch: BatchState) -> bool:
        """Tell whether the size of a movie was asked for; ask for it and the next ones."""
        self._ask(item)
        if isinstance(item, ImageState):
            for image in list(batch.waiting)[:_AHEAD]:
                self._ask(image)
        return item.sized

    def _ask(self, item: ImageState | ModelMovie) -> None:
        if item.sized or item.key in self._asked or not self._lane.has_room:
            return
        self._asked.add(item.key)
        self._lane.submit(partial(self._downloader.size, item.task), partial(self._told, item))

    def _told(self, item: ImageState | ModelMovie, outcome: Outcome) -> None:
        self._asked.discard(item.key)
        item.sized = True
        error = outcome.error
        if error is None:
            item.size_bytes = outcome.value
        elif isinstance(error, UserError) or not isinstance(error, Exception):
            self._halt(error)
        else:  # its download will probably fail for the same reason, and say so
            log.debug("no size of %s: %s", item.task.name, error)
