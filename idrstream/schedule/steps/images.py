"""The lanes that images pass through: download, preprocess, segment, profile."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Sequence
from functools import partial

from idrstream.errors import ImageError
from idrstream.records import ImageTask, Skipped
from idrstream.redact import redact
from idrstream.schedule.context import Context
from idrstream.schedule.disk.space import Space
from idrstream.schedule.events import ImageFinished
from idrstream.schedule.lanes import Outcome
from idrstream.schedule.state import BatchPhase, BatchState, FrameState, ImageState, ModelMovie
from idrstream.schedule.steps import jobs
from idrstream.schedule.steps.movies import Movies
from idrstream.schedule.steps.plates import PlateModels
from idrstream.schedule.stop import StreamState

log = logging.getLogger(__name__)


class ImageLanes:
    """Moves images from their download to their features.

    Parameters
    ----------
    context : Context
        What the components of the scheduler share.
    space : Space
        Reserves disk space.
    movies : Movies
        Downloads and deletes movies.
    plates : PlateModels
        The illumination models.
    """

    def __init__(self, context: Context, space: Space, movies: Movies, plates: PlateModels) -> None:
        self._context = context
        self._space = space
        self._movies = movies
        self._plates = plates
        self._n_on_disk = 0  # movies that are being downloaded, or wait to be read
        self._n_frames_reading = 0  # of the movies that are being read
        self._to_segment: list[FrameState] = []  # heaps in the order of the plan

    def pump(self) -> None:
        """Start whatever can start; `profile`, the last step, was called before."""
        if len(self._to_segment) < self._context.sizes.frames_at_once:  # first fill a group
            self._start_reading()
        self._start_segmenting()
        self._start_reading()
        self._start_downloads()

    def drop(self, batch: BatchState) -> None:
        """Drop the images of a batch that is postponed; none of its jobs runs."""
        for image in batch.images:
            if image.movie is not None:
                self._movies.discard(image)
                self._n_on_disk -= 1
        self._to_segment[:] = [one for one in self._to_segment if one.image.batch is not batch]
        heapq.heapify(self._to_segment)

    # Download

    def _start_downloads(self) -> None:
        context = self._context
        for batch in context.batches:
            for image in list(batch.waiting):
                if context.stopping or not context.has_capacity("download"):
                    return
                if self._n_on_disk >= context.sizes.prefetch:
                    return
                if image.earlier is not None and not image.earlier.finished:
                    continue
                if not self._plates.is_ready(image.task.plate, batch):
                    continue
                kept = self._plates.take_kept(image.task)
                while kept is None and not self._space.reserve_movie(image):
                    if not self._plates.drop_kept():
                        return  # in the order of the plan: no later image may overtake this one
                batch.waiting.remove(image)
                self._start_image(image, kept)

    def _start_image(self, image: ImageState, kept: ModelMovie | None) -> None:
        task = image.task
        frames = list(task.frames) or task.frames_text
        log.info("Processing well %s from %s, frames %s", task.well, task.plate, frames)
        self._n_on_disk += 1
        if kept is None:
            self._movies.download(image, partial(self._downloaded, image))
            return
        # The plate's model was fitted on this movie: it is on the disk already.
        image.folder, image.movie = kept.folder, kept.movie
        self._space.transfer(kept, image)
        # Like the outcome of a download: messages in the inbox are handled first.
        self._context.inbox.put(partial(self._downloaded, image, None))

    def _downloaded(self, image: ImageState, error: BaseException | None) -> None:
        if error is not None:
            self._n_on_disk -= 1
            self._fail(image, "download", error)
            return
        without_model = self._plates.error(image.task.plate)
        if without_model is not None:
            self._n_on_disk -= 1
            self._movies.discard(image)
            self._fail(image, "illumination", without_model)
            return
        heapq.heappush(image.batch.fetched, image)

    # Preprocess

    def _start_reading(self) -> None:
        context = self._context
        for batch in context.batches:
            while batch.fetched:
                if context.stopping or not context.has_capacity("preprocess"):
                    return
                image = batch.fetched[0]
                image.n_reading = self._n_to_read(image)
                n_frames = sum(state.n_frames_in_memory for state in context.batches)
                n_frames += self._n_frames_reading
                if n_frames and n_frames + image.n_reading > context.sizes.frames_in_memory:
                    return
                heapq.heappop(batch.fetched)
                self._n_frames_reading += image.n_reading
                context.stage_started("preprocess", batch, image.task)
                call = partial(jobs.read, context, image, context.sizes.frames_per_read)
                context.submit("preprocess", call, partial(self._read, image))

    def _n_to_read(self, image: ImageState) -> int:
        """Return how many frames of a movie are read next."""
        left = image.task.n_frames_expected - image.n_read
        return max(1, min(self._context.sizes.frames_per_read, left))

    def _read(self, image: ImageState, outcome: Outcome) -> None:
        batch = image.batch
        self._n_frames_reading -= image.n_reading
        self._context.stage_finished("preprocess", batch, image.task, outcome.seconds)
        if outcome.error is not None:
            self._release(image)
            self._fail(image, "preprocess", outcome.error)
            return
        read: jobs.FramesRead = outcome.value
        first, image.task, image.rest = image.n_read, read.task, read.rest
        image.n_read += len(read.results)
        # A preprocessor of the user's may return other frames than were wanted.
        n_frames = image.n_read if read.rest is None else len(read.task.frames)
        image.results += [None] * (n_frames - len(image.results))
        if not first:
            image.n_pending_frames = n_frames
        if read.rest is None:
            image.n_pending_frames -= len(image.results) - n_frames
            del image.results[n_frames:]
            self._release(image)
        else:
            heapq.heappush(batch.fetched, image)
        for position, frame in enumerate(read.results, first):
            if isinstance(frame, Skipped):
                self._skip(image, position, frame)
            else:
                batch.n_frames_in_memory += 1
                heapq.heappush(self._to_segment, FrameState(image, position, frame))
        self._check_finished(image)

    def _release(self, image: ImageState) -> None:
        """Note that a movie was deleted."""
        image.rest = None
        self._n_on_disk -= 1
        self._movies.release(image)

    # Segment

    def _start_segmenting(self) -> None:
        context = self._context
        while self._to_segment and not context.stopping:
            count = min(context.sizes.frames_at_once, len(self._to_segment))
            if not context.has_capacity("segment", count):
                return
            group = [heapq.heappop(self._to_segment) for _ in range(count)]
            for state in group:
                context.stage_started("segment", state.image.batch, state.image.task)
            context.submit(
                "segment",
                partial(jobs.segment, context.stages, [state.frame for state in group]),
                partial(self._segmented, group),
                count,
            )

    def _segmented(self, group: Sequence[FrameState], outcome: Outcome) -> None:
        results = outcome.value if outcome.error is None else [outcome.error] * len(group)
        for state, result in zip(group, results, strict=True):
            self._context.stage_finished(
                "segment", state.image.batch, state.image.task, outcome.seconds / len(group)
            )
            if isinstance(result, BaseException):
                self._finish_frame(state, result)
            else:
                state.objects = result
                self._await_profiling(state)

    # Profile

    def _await_profiling(self, state: FrameState) -> None:
        batch = state.image.batch
        if batch.error is None:
            heapq.heappush(batch.segmented, state)
        else:  # the batch has failed: its other frames are only brought to their end
            self._finish_frame(state, None)

    def profile(self) -> None:
        """Start to profile segmented frames; once the stream stops, of batches it can finish."""
        context = self._context
        for batch in context.batches:
            if not batch.segmented or not context.has_capacity("profile"):
                continue
            if context.stopping and not batch.only_profiling_left:
                continue
            group = self._with_space(batch)
            if not group:
                return  # in the order of the plan
            batch.n_profiling = len(group)
            context.stage_started("profile", batch)
            call = partial(
                batch.profiling.profile,
                [state.frame for state in group],
                [state.objects for state in group],
            )
            context.submit("profile", call, partial(self._profiled, batch, group))

    def _with_space(self, batch: BatchState) -> list[FrameState]:
        """Return the segmented frames of a batch, as many as there is disk space for."""
        group: list[FrameState] = []
        while batch.segmented:
            while not self._space.reserve_frame(batch.segmented[0]):
                if not self._plates.drop_kept():
                    return group
            group.append(heapq.heappop(batch.segmented))
        return group

    def _profiled(self, batch: BatchState, group: Sequence[FrameState], outcome: Outcome) -> None:
        self._context.stage_finished("profile", batch, None, outcome.seconds)
        batch.n_profiling = 0
        error = outcome.error
        if error is not None:
            if self._context.state >= StreamState.STOPPING:
                return  # it was interrupted, or may have been
            if not self._context.should_continue_after(error):
                return
            batch.error = error
        problems = [None] * len(group) if error is not None else outcome.value
        for state, problem in zip(group, problems, strict=True):
            self._space.settle_frame(state)
            self._finish_frame(state, problem, "profile")
        if error is not None:
            while batch.segmented:
                self._finish_frame(batch.segmented.pop(), None)

    # Results

    def _finish_frame(
        self, state: FrameState, error: BaseException | None, stage: str = "segment"
    ) -> None:
        """Note that a frame is done, or in which stage it failed."""
        image, batch = state.image, state.image.batch
        batch.n_frames_in_memory -= 1
        if error is not None:
            skipped = self._as_skipped(image.task, stage, error, state.frame.number)
            if skipped is not None:
                self._skip(image, state.position, skipped)
        else:
            batch.n_frames += 1
            batch.n_nuclei += len(state.objects)
            image.results[state.position] = len(state.objects)
            image.n_pending_frames -= 1
        self._check_finished(image)

    def _fail(self, image: ImageState, stage: str, error: BaseException) -> None:
        """Skip an image as a whole, or the frames that were not read, or stop the stream."""
        if not image.n_read:
            image.results = [None]
            image.n_pending_frames = 1
        for position in range(image.n_read, len(image.results)):
            frame = image.task.frames[position] if image.n_read else None
            skipped = self._as_skipped(image.task, stage, error, frame)
            if skipped is None:
                return
            self._skip(image, position, skipped)
        self._check_finished(image)

    def _as_skipped(
        self, task: ImageTask, stage: str, error: BaseException, frame: int | None = None
    ) -> Skipped | None:
        context = self._context
        if context.state >= StreamState.STOPPING or (context.stopping and stage == "download"):
            return None  # it was interrupted, or may have been
        if not context.should_continue_after(error):
            return None
        if not isinstance(error, ImageError):
            log.error("unforeseen error in stage %s of %s", stage, task.name, exc_info=error)
        return Skipped(task, frame, stage, type(error).__name__, redact(str(error)))

    def _skip(self, image: ImageState, position: int, skipped: Skipped) -> None:
        image.results[position] = skipped
        image.n_pending_frames -= 1
        frame = "" if skipped.frame_number is None else f" frame {skipped.frame_number}"
        log.warning(
            "Skipped %s%s (%s, %s): %s",
            skipped.task.name, frame, skipped.stage, skipped.kind, skipped.reason,
            extra={"in_result": True},
        )  # fmt: skip

    def _check_finished(self, image: ImageState) -> None:
        if image.n_pending_frames or image.finished:
            return
        image.finished = True
        batch = image.batch
        batch.n_pending_images -= 1
        if not batch.n_pending_images:
            batch.phase = BatchPhase.READY
        self._space.trim(image)
        nuclei = sum(item for item in image.results if isinstance(item, int))
        self._context.emit(ImageFinished(batch.batch, image.task, nuclei, image.skipped))
