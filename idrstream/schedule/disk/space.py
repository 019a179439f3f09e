"""Which image gets disk space next, so that the budget holds and the stream never blocks itself.

Space is reserved in the order of the plan. An image reserves its movie, or what its frames will
need if that is more, also while they are profiled: a movie is deleted once it is read, before that.
Only a movie whose frames are read in several groups is there while the first are profiled: its
image reserves both.
A later batch gets space only if the batches before it can still finish: if their largest pending
movie and everything that they will write still fit.
"""

from __future__ import annotations

import logging
from functools import partial
from itertools import islice, takewhile
from pathlib import Path

from idrstream.errors import BudgetError, UserError
from idrstream.schedule.context import Context
from idrstream.schedule.disk.budget import DiskBudget, disk_free_bytes
from idrstream.schedule.disk.growth import GrowthWatch
from idrstream.schedule.lanes import Outcome
from idrstream.schedule.state import (
    BatchState,
    FrameState,
    ImageState,
    ModelMovie,
    MovieState,
    SizeQuery,
)
from idrstream.text import format_size

log = logging.getLogger(__name__)

_SIDECAR_BYTES = 64 * 1024  # what a transport may put beside a movie
_MARGIN = 1.25
_AHEAD = 8  # images whose sizes are asked for in advance


class Space:
    """Reserves disk space for movies and frames.

    Parameters
    ----------
    context : Context
        What the components of the scheduler share.
    downloads : Path
        Folder for movies, whose disk is checked for free space.
    budget_bytes : int or None
        The disk budget.
    """

    def __init__(self, context: Context, downloads: Path, budget_bytes: int | None) -> None:
        self.budget = DiskBudget(budget_bytes)
        self.disk_is_full = ""  # what is missing, if the next movie waits for the disk
        self.movies_only = False  # the next image may start though its frames may not fit
        self._context = context
        self._downloads = downloads
        self._watch = GrowthWatch(context.inbox)
        self._largest_movie_bytes = 0  # of those seen so far
        self._largest_frame_bytes = 0
        self._downloading: dict[MovieState, int] = {}  # bytes that are not on the disk yet
        self._short_bytes = 0

    def reserve_movie(self, item: MovieState) -> bool:
        """Reserve what a movie needs before its download; return False if it does not fit."""
        limited = self.budget.limit_bytes is not None
        if limited and (not self._query_size(item) or self._is_too_large(item)):
            return False
        known = item.size_bytes is not None
        need = self._movie_bytes(item)
        if isinstance(item, ImageState) and not self.movies_only:
            need = self._with_frames(item, need)
        if limited:
            if not known and any(other.size_bytes is None for other in self._downloading):
                return False  # one at a time: each may take all that is free
            free = (self.budget.free_bytes or 0) - self._kept_for_earlier(item.batch)
            if need > free or free <= 0:
                self._short_bytes = need
                return False
            if not known:
                need = free
        on_disk = need if known else self._largest_movie_bytes
        if not self._fits_on_disk(on_disk) or not self.budget.try_reserve(item, need):
            return False
        self.movies_only = False
        self._downloading[item] = on_disk
        return True

    def watch_download(self, item: MovieState) -> None:
        """Watch a movie, whose space is reserved, while it is downloaded into its folder."""
        if self.budget.limit_bytes is not None and item.folder is not None:
            held = self.budget.held(item)
            self._watch.watch(item, item.folder, held, partial(self._outgrown, item))

    def movie_arrived(self, item: MovieState, size_bytes: int) -> None:
        """Correct the reservation to the size of a movie and all files beside it."""
        self._largest_movie_bytes = max(self._largest_movie_bytes, size_bytes)
        self._end_download(item)
        both = self._with_frames(item, size_bytes) if isinstance(item, ImageState) else 0
        both = min(both, self.budget.held(item))  # no more than it had, even if too little
        if not self.budget.try_reserve(item, max(size_bytes, both)):
            limit = self.budget.limit_bytes or 0
            msg = (
                f"the movie of {item.task.name} has {format_size(size_bytes)}, more than its "
                f"source said; with it the stream would hold more than disk_budget "
                f"({format_size(limit)}) allows: make disk_budget larger"
            )
            self._context.request_stop(BudgetError(msg))

    def may_keep(self, movie: ModelMovie) -> bool:
        """Return whether a movie may stay for its own image: not where sizes are unknown."""
        return self.budget.limit_bytes is None or movie.size_bytes is not None

    def transfer(self, movie: ModelMovie, image: ImageState) -> None:
        """Transfer a model's movie, and the space reserved for it, to its image."""
        held = self.budget.held(movie)
        self.budget.release(movie)
        image.size_bytes, image.size_query = movie.size_bytes, movie.size_query
        if not self.budget.try_reserve(image, max(held, self.expected_bytes(image))):
            self.budget.try_reserve(image, held)  # it was free a moment ago

    def release_movie(self, item: MovieState) -> None:
        """Release the space of a deleted movie, except for what the frames of its image need."""
        self._end_download(item)
        if isinstance(item, ImageState) and not item.finished:
            self.budget.try_reserve(item, self.expected_bytes(item))
        else:
            self.budget.release(item)

    def reserve_frame(self, state: FrameState) -> bool:
        """Reserve what a segmented frame needs; return False if it does not fit."""
        image = state.image
        need = image.batch.profiling.disk_need(state.frame, state.objects)
        self._largest_frame_bytes = max(self._largest_frame_bytes, sum(need))
        others = (image.n_pending_frames - image.n_profiling - 1) * self._frame_bytes(image)
        others += self._unread_bytes(image)
        least = image.needed_bytes + sum(need)
        # Where it cannot grow for the others, it keeps what it has: they need it soon.
        enough = max(least, self.budget.held(image))
        if not any(self.budget.try_reserve(image, size) for size in (least + others, enough)):
            self._short_bytes = sum(need)
            return False
        image.n_profiling += 1
        image.needed_bytes = least
        state.need = need
        return True

    def settle_frame(self, state: FrameState) -> None:
        """Release what a frame needed only while it was profiled."""
        image = state.image
        image.n_profiling -= 1
        image.needed_bytes -= state.need.profiling_bytes
        others = (image.n_pending_frames - image.n_profiling - 1) * self._frame_bytes(image)
        others += self._unread_bytes(image)
        held = self.budget.held(image)
        self.budget.try_reserve(image, min(held, image.needed_bytes + others))

    def trim(self, image: ImageState) -> None:
        """Reduce the reservation of a finished image to what it needs."""
        self.budget.try_reserve(image, image.needed_bytes)

    def release_batch(self, batch: BatchState) -> None:
        """Release everything that a batch reserved."""
        for image in batch.images:
            self._end_download(image)
            self.budget.release(image)

    def expected_bytes(self, image: ImageState) -> int:
        """Return what an image will probably need until all its frames are profiled."""
        n_frames = image.n_pending_frames - image.n_profiling
        return image.needed_bytes + n_frames * self._frame_bytes(image)

    def too_small(self, batch: BatchState) -> BudgetError:
        """Return the error of a budget in which not even one batch can finish."""
        limit = self.budget.limit_bytes or 0
        msg = (
            f"batch {batch.batch.number} needs at least "
            f"{format_size(self.budget.used_bytes + self._short_bytes)} of disk at once (the files "
            f"of its {len(batch.images)} images, and the next movie), but disk_budget is "
            f"{format_size(limit)}: make disk_budget larger or batch_size smaller"
        )
        return BudgetError(msg)

    def close(self) -> None:
        """Stop watching downloads."""
        self._watch.close()

    def _with_frames(self, image: ImageState, movie_bytes: int) -> int:
        """Return what an image with a movie of so many bytes needs, with its frames."""
        frames = self.expected_bytes(image)
        several = image.task.n_frames_expected > self._context.sizes.frames_per_read
        return movie_bytes + frames if several else max(movie_bytes, frames)

    def _unread_bytes(self, image: ImageState) -> int:
        """Return the size of a movie that is on the disk while its first frames are profiled."""
        return 0 if image.movie is None else self._movie_bytes(image)

    def _frame_bytes(self, image: ImageState) -> int:
        if self._largest_frame_bytes:
            return int(self._largest_frame_bytes * _MARGIN)
        need = image.batch.profiling.expected_need(image.task)
        return sum(need) // max(1, image.task.n_frames_expected)

    def _movie_bytes(self, item: MovieState) -> int:
        if item.size_bytes is None:
            return self._largest_movie_bytes
        return item.size_bytes + _SIDECAR_BYTES

    def _kept_for_earlier(self, batch: BatchState) -> int:
        """Return what the batches before one need to be able to finish."""
        earlier = takewhile(lambda other: other.order < batch.order, self._context.batches)
        images = [image for other in earlier for image in other.waiting]
        largest = max(map(self._movie_bytes, images), default=0)
        return largest + sum(map(self.expected_bytes, images))

    def _is_too_large(self, item: MovieState) -> bool:
        """Return whether a movie does not even fit alone; stop the stream then."""
        limit = self.budget.limit_bytes or 0
        fixed, need = self.budget.held("fixed"), self._movie_bytes(item)
        if item.size_bytes is None or need + fixed <= limit:
            return False
        msg = (
            f"the movie of {item.task.name} (batch {item.batch.batch.number}) needs "
            f"{format_size(need)} on the disk and the stream's own files {format_size(fixed)}, "
            f"together {need + fixed} bytes, but disk_budget is {format_size(limit)} "
            f"({limit} bytes): make it larger"
        )
        self._context.request_stop(BudgetError(msg))
        return True

    def _fits_on_disk(self, need: int) -> bool:
        disk = self._downloads.parent
        free = disk_free_bytes(self._downloads) - sum(self._downloading.values())
        if free >= need:
            self.disk_is_full = ""
            return True
        if not self.disk_is_full:
            log.warning("Waiting for free space on the disk of %s", disk)
        self.disk_is_full = (
            f"the disk of {disk} has {format_size(max(0, free))} free, but the next movie needs "
            f"{format_size(need)}; free space and start again"
        )
        return False

    def _outgrown(self, item: MovieState, size_bytes: int) -> None:
        """Reserve more for a download, or stop the stream if there is no more."""
        if item not in self._downloading:
            return  # it has ended meanwhile
        most = self.budget.held(item) + (self.budget.free_bytes or 0)
        more = min(int(size_bytes * _MARGIN), most)
        if more >= size_bytes and self.budget.try_reserve(item, more):
            self.watch_download(item)
            return
        limit = self.budget.limit_bytes or 0
        why = "does not report its size" if item.size_bytes is None else "reported a smaller size"
        msg = (
            f"the movie of {item.task.name} was stopped after {format_size(size_bytes)}: with the "
            f"rest the stream would hold more than disk_budget ({format_size(limit)}) allows, and "
            f"its source {why}; make disk_budget larger"
        )
        self._context.request_stop(BudgetError(msg))
        self._context.stages.downloader.interrupt()

    def _end_download(self, item: MovieState) -> None:
        self._watch.unwatch(item)
        self._downloading.pop(item, None)

    def _query_size(self, item: MovieState) -> bool:
        """Return whether the source has answered; ask it, for the next movies too."""
        following = islice(item.batch.waiting, _AHEAD) if isinstance(item, ImageState) else ()
        for movie in (item, *following):
            if movie.size_query is SizeQuery.NOT_ASKED and self._context.has_capacity("size"):
                movie.size_query = SizeQuery.ASKED
                ask = partial(self._context.stages.downloader.size, movie.task)
                self._context.submit("size", ask, partial(self._size_answered, movie))
        return item.size_query is SizeQuery.ANSWERED

    def _size_answered(self, item: MovieState, outcome: Outcome) -> None:
        item.size_query = SizeQuery.ANSWERED
        error = outcome.error
        if error is None:
            item.size_bytes = outcome.value
        elif isinstance(error, UserError) or not isinstance(error, Exception):
            self._context.request_stop(error)
        else:  # its download will probably fail for the same reason and report it
            log.debug("no size of %s: %s", item.task.name, error)
