"""The lanes that images walk through: download, preprocess, segment, write."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Sequence
from functools import partial

from idrstream.errors import ImageError
from idrstream.records import Frame, ImageTask, Movie, Skipped
from idrstream.redact import redact
from idrstream.schedule.context import Context
from idrstream.schedule.disk.movie_folders import Folders
from idrstream.schedule.disk.space import Space
from idrstream.schedule.events import ImageFinished
from idrstream.schedule.lanes import Outcome
from idrstream.schedule.state import BatchState, FrameState, ImageState, ModelMovie
from idrstream.schedule.steps import image_jobs
from idrstream.schedule.steps.plates import PlateModels

log = logging.getLogger(__name__)


class ImageLanes:
    """Moves images from their download into the project of their batch.

    Parameters
    ----------
    context : Context
        What all parts share.
    space : Space
        Gives space on the disk.
    folders : Folders
        Where movies are put.
    plates : PlateModels
        The illumination models.
    """

    def __init__(
        self, context: Context, space: Space, folders: Folders, plates: PlateModels
    ) -> None:
        self._context = context
        self._space = space
        self._folders = folders
        self._plates = plates
        self._on_disk = 0  # movies being downloaded or waiting for being read
        self._read_frames = 0  # of the movies being read
        self._frames: list[FrameState] = []
        self._growing: list[FrameState] = []
        sizes = context.sizes
        self._frames_limit = sizes.frames_in_memory
        self._at_once = sizes.frames_at_once if context.rooms.segment_many else 1

    def pump(self) -> None:
        """Start what can be started, the end of the way first."""
        self._start_writes()
        if len(self._frames) < self._at_once:  # first what fills a group
            self._start_reading()
        self._start_segments()
        self._start_reading()
        self._start_downloads()

    def forget(self, batch: BatchState) -> None:
        """Drop all that is under way of a batch that is set back; none of its jobs runs."""
        for image in batch.images:
            if image.movie is not None:
                image_jobs.delete(image.movie, image.folder)
                self._folders.give_back(image.folder)
                self._on_disk -= 1
        for waiting in (self._frames, self._growing):
            waiting[:] = [state for state in waiting if state.image.batch is not batch]
            heapq.heapify(waiting)

    # Download

    def _start_downloads(self) -> None:
        context = self._context
        for batch in context.batches:
            for image in list(batch.waiting):
                if context.stopping or not context.lanes["download"].has_room:
                    return
                if self._on_disk >= context.sizes.prefetch:
                    return
                if image.earlier is not None and not image.earlier.finished:
                    continue
                if not self._plates.ready(image.task.plate, batch):
                    continue
                kept = self._plates.take_kept(image.task)
                if kept is not None:
                    batch.waiting.remove(image)
                    _log_begin(image.task)
                    self._adopt(image, kept)
                    continue
                while not self._space.take(image, batch, context.batches):
                    if not self._plates.drop_kept():
                        return  # in the order of the plan: no later one must get in between
                batch.waiting.remove(image)
                _log_begin(image.task)
                self._download(image)

    def _download(self, image: ImageState) -> None:
        task = image.task
        self._on_disk += 1
        image.folder = self._folders.take(task.plate)
        self._space.begins(image)
        self._context.begin("download", image.batch, task)
        self._context.lanes["download"].submit(
            partial(image_jobs.fetch, self._context.rooms, task, image.folder),
            partial(self._downloaded, image),
        )

    def _downloaded(self, image: ImageState, outcome: Outcome) -> None:
        moved = None if outcome.value is None else outcome.value[1]
        self._context.end("download", image.batch, image.task, outcome.seconds, moved)
        if outcome.error is not None:
            self._left_disk(image)
            self._fail(image, "download", outcome.error)
            return
        movie, size_bytes = outcome.value
        image.movie = movie
        self._space.arrived(image, image.batch, size_bytes)
        self._to_read(image, movie)

    def _adopt(self, image: ImageState, kept: ModelMovie) -> None:
        """Take the movie that the plate's model was fitted on: it is on the disk already."""
        assert kept.movie is not None  # noqa: S101, only such are kept
        self._on_disk += 1
        image.folder, image.movie = kept.folder, kept.movie
        self._space.hand_over(kept, image)
        # As the outcome of a download comes: what is in the inbox is seen before all else.
        self._context.inbox.put(partial(self._to_read, image, kept.movie))

    def _to_read(self, image: ImageState, movie: Movie) -> None:
        without_model = self._plates.error(image.task.plate)
        if without_model is not None:
            image_jobs.delete(movie, image.folder)
            self._left_disk(image)
            self._fail(image, "illumination", without_model)
            return
        heapq.heappush(image.batch.fetched, image)

    def _left_disk(self, image: ImageState) -> None:
        image.movie = None
        self._on_disk -= 1
        self._folders.give_back(image.folder)
        self._space.gone(image, image.batch)

    # Preprocess

    def _start_reading(self) -> None:
        context = self._context
        for batch in context.batches:
            while batch.fetched:
                in_memory = sum(state.in_memory for state in context.batches) + self._read_frames
                if context.stopping or not context.has_room("preprocess"):
                    return
                if in_memory and in_memory >= self._frames_limit:
                    return
                image = heapq.heappop(batch.fetched)
                self._read_frames += len(image.task.frames)
                context.begin("preprocess", batch, image.task)
                context.submit(
                    "preprocess",
                    partial(image_jobs.read, context, image),
                    partial(self._read_done, image),
                )

    def _read_done(self, image: ImageState, outcome: Outcome) -> None:
        batch = image.batch
        self._read_frames -= len(image.task.frames)
        self._context.end("preprocess", batch, image.task, outcome.seconds)
        self._left_disk(image)
        if outcome.error is not None:
            self._fail(image, "preprocess", outcome.error)
            return
        frames: Sequence[Frame | Skipped] = outcome.value
        image.results = [None] * len(frames)
        image.left = len(frames)
        for position, frame in enumerate(frames):
            if isinstance(frame, Skipped):
                self._skip(image, position, frame)
            else:
                batch.in_memory += 1
                heapq.heappush(self._frames, FrameState(image, position, frame))
        self._check_finished(image)

    # Segment

    def _start_segments(self) -> None:
        context = self._context
        while self._frames and not context.stopping:
            count = min(self._at_once, len(self._frames))
            if not context.has_room("segment", count):
                return
            group = [heapq.heappop(self._frames) for _ in range(count)]
            for state in group:
                context.begin("segment", state.image.batch, state.image.task)
            context.submit(
                "segment",
                partial(image_jobs.segment, context.rooms, [state.frame for state in group]),
                partial(self._segmented, group),
                count,
            )

    def _segmented(self, group: Sequence[FrameState], outcome: Outcome) -> None:
        found = outcome.value if outcome.error is None else [outcome.error] * len(group)
        for state, result in zip(group, found, strict=True):
            state.seconds = outcome.seconds / len(group)
            if isinstance(result, BaseException):
                self._frame_ended(state, result)
            else:
                state.nuclei = result
                heapq.heappush(self._growing, state)

    # Write into the project

    def _start_writes(self) -> None:
        while self._growing and not self._context.stopping:
            state = self._growing[0]
            if not self._context.lanes["write"].has_room:
                return
            while not self._space.grow(state):
                if not self._plates.drop_kept():
                    return
            heapq.heappop(self._growing)
            self._context.lanes["write"].submit(
                partial(image_jobs.write, state), partial(self._written, state)
            )

    def _written(self, state: FrameState, outcome: Outcome) -> None:
        state.seconds += outcome.seconds
        self._frame_ended(state, outcome.error)

    def _frame_ended(self, state: FrameState, error: BaseException | None) -> None:
        image, batch = state.image, state.image.batch
        batch.in_memory -= 1
        self._context.end("segment", batch, image.task, state.seconds)
        if error is None and state.nuclei is not None:
            batch.frames += 1
            batch.nuclei += len(state.nuclei)
            image.results[state.position] = len(state.nuclei)
            image.left -= 1
        elif error is not None:
            number = state.frame.number
            skipped = self._as_skipped(image.task, "segment", error, number)
            if skipped is not None:
                self._skip(image, state.position, skipped)
        self._check_finished(image)

    # Results

    def _fail(self, image: ImageState, stage: str, error: BaseException) -> None:
        """Record that an image as a whole cannot be processed, or end the stream."""
        skipped = self._as_skipped(image.task, stage, error)
        if skipped is not None:
            image.results = [None]
            image.left = 1
            self._skip(image, 0, skipped)
            self._check_finished(image)

    def _as_skipped(
        self, task: ImageTask, stage: str, error: BaseException, frame: int | None = None
    ) -> Skipped | None:
        stopping = self._context.stopping
        if stopping == "now" or (stopping and stage == "download"):
            return None  # it was interrupted, or might have been
        if not self._context.goes_on_after(error):
            return None
        if not isinstance(error, ImageError):
            log.error("unforeseen error in stage %s of %s", stage, task.name, exc_info=error)
        return Skipped(task, frame, stage, type(error).__name__, redact(str(error)))

    def _skip(self, image: ImageState, position: int, skipped: Skipped) -> None:
        image.results[position] = skipped
        image.left -= 1
        frame = "" if skipped.frame_number is None else f" frame {skipped.frame_number}"
        log.warning(
            "Skipped %s%s (%s, %s): %s",
            skipped.task.name, frame, skipped.stage, skipped.kind, skipped.reason,
        )  # fmt: skip

    def _check_finished(self, image: ImageState) -> None:
        if image.left or image.finished:
            return
        image.finished = True
        image.batch.left -= 1
        self._space.settle(image)
        nuclei = sum(item for item in image.results if isinstance(item, int))
        self._context.tell(ImageFinished(image.batch.batch, image.task, nuclei, image.skipped))


def _log_begin(task: ImageTask) -> None:
    log.info("Processing well %s from %s, frames %s", task.well, task.plate, list(task.frames))
