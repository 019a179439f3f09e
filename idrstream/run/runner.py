"""The runner: walks batches through the rooms and decides what a failure means."""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from idrstream.errors import BatchError, ImageError, StorageError, UserError
from idrstream.records import Batch, Frame, ImageTask, Movie, Nuclei, Published, Skipped
from idrstream.run.events import (
    BatchFinished,
    BatchPublished,
    BatchStarted,
    Event,
    ImageFinished,
    Listener,
    RunResult,
    StageFinished,
    StageStarted,
    StreamFinished,
    StreamStarted,
)

if TYPE_CHECKING:
    from idrstream.download import Downloader
    from idrstream.screen import Plan

log = logging.getLogger(__name__)

_STORAGE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class Preprocessing(Protocol):
    """The preprocess room, as the runner sees it."""

    def process(self, movie: Movie) -> Sequence[Frame | Skipped]:
        """Return one result per wanted frame, in the order asked for."""
        ...

    def needs_plate_model(self, plate: str) -> bool:
        """Tell whether frames of many wells must be seen before this plate is processed."""
        ...

    def fit_plate(self, plate: str, movies: Iterator[Movie]) -> None:
        """Fit the plate's illumination model; `movies` hands over one movie at a time."""
        ...


class BatchProfiling(Protocol):
    """The profile, compile and publish rooms, as the runner sees them."""

    def add(self, frame: Frame, nuclei: Nuclei) -> None:
        """Take a frame and its nuclei into the batch."""
        ...

    def profile(self) -> None:
        """Compute the features of all nuclei of the batch."""
        ...

    def publish(self, number: int) -> Published:
        """Compile the batch's table and put it in place under its final name."""
        ...

    def clear(self) -> None:
        """Delete everything that belongs to the batch."""
        ...


@dataclass(frozen=True, slots=True)
class Rooms:
    """The parts that a batch walks through."""

    downloader: Downloader
    wait_until_complete: Callable[[Movie], None]
    preprocessor: Preprocessing
    segment: Callable[[Frame], Nuclei]
    profiling: BatchProfiling


class Runner:
    """Runs a plan through the rooms, one batch after the other.

    One bad image is skipped and recorded; one bad batch is recorded and the next one runs.
    Only what the user has to act on (`UserError`) and an interrupt end the stream early, and
    even then nothing of the current batch is left behind.

    Parameters
    ----------
    rooms : Rooms
        The parts.
    downloads : Path
        Folder for movies while they are needed; emptied after every batch.
    listeners : sequence of Listener
        Called with every event.
    plate_wells : int
        At most so many wells of a plate are looked at for a per-plate illumination model.
    """

    def __init__(
        self,
        rooms: Rooms,
        downloads: Path,
        listeners: Sequence[Listener] = (),
        *,
        plate_wells: int = 12,
    ) -> None:
        self._rooms = rooms
        self._downloads = downloads
        self._listeners = tuple(listeners)
        self._plate_wells = plate_wells
        self._plates_without_model: dict[str, ImageError] = {}

    def run(self, plan: Plan) -> RunResult:
        """Run all batches of a plan.

        Parameters
        ----------
        plan : Plan
            What to do.

        Returns
        -------
        RunResult
            What was published and what failed.

        Raises
        ------
        UserError
            When every further batch would fail the same way: a missing tool, a full disk.
        """
        started = time.monotonic()
        self._tell(StreamStarted(plan))
        finished: list[BatchFinished] = []
        stopped_by = "interrupted"
        try:
            for batch in plan:
                self._tell(BatchStarted(batch))
                done = _BatchRun(self, plan, batch).run()
                finished.append(done)
                self._tell(done)
            stopped_by = ""
        except UserError as error:
            stopped_by = str(error)
            raise
        finally:
            result = RunResult(tuple(finished), plan, time.monotonic() - started)
            self._tell(StreamFinished(result, stopped_by))
        return result

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)


@dataclass(slots=True)
class _Moved:
    bytes: int | None = None


class _BatchRun:
    """One batch on its way through the rooms."""

    def __init__(self, runner: Runner, plan: Plan, batch: Batch) -> None:
        self._runner = runner
        self._rooms = runner._rooms
        self._plan = plan
        self._batch = batch
        self._skipped: list[Skipped] = []
        self._seconds: dict[str, float] = {}
        self._frames = 0
        self._nuclei = 0
        self._at = ""

    def run(self) -> BatchFinished:
        published: Published | None = None
        kind = message = ""
        self._clear()  # what a crash left behind must not leak into this batch
        try:
            published = self._publish()
        except UserError:
            raise
        except Exception as error:  # the boundary of a batch: whatever sank it is recorded
            _raise_storage_error(error)
            kind, message = type(error).__name__, str(error)
            unforeseen = not isinstance(error, BatchError)
            log.error(
                "Error while profiling batch %d: %s", self._batch.number, error, exc_info=unforeseen
            )
        finally:
            self._clear()
        return BatchFinished(
            batch=self._batch,
            published=published,
            nuclei=self._nuclei,
            skipped=tuple(self._skipped),
            error_kind=kind,
            error=message,
            seconds=dict(self._seconds),
        )

    def _publish(self) -> Published:
        for task in self._batch.tasks:
            self._image(task)
        if not self._frames:
            msg = f"none of the {len(self._batch.tasks)} images could be processed"
            raise BatchError(msg)
        with self._stage("profile"):
            self._rooms.profiling.profile()
        with self._stage("compile") as stage:
            published = self._rooms.profiling.publish(self._batch.number)
            stage.bytes = published.path.stat().st_size
        self._runner._tell(
            BatchPublished(
                self._batch, published, self._nuclei, tuple(self._skipped), dict(self._seconds)
            )
        )
        return published

    def _image(self, task: ImageTask) -> None:
        log.info("Processing well %s from %s, frames %s", task.well, task.plate, list(task.frames))
        skipped_before, nuclei_before = len(self._skipped), self._nuclei
        for frame in self._frames_of(task):
            if isinstance(frame, Skipped):
                self._skip(frame)
                continue
            with self._skipping(task, frame.number), self._stage("segment", task):
                nuclei = self._rooms.segment(frame)
                self._rooms.profiling.add(frame, nuclei)
                self._frames += 1
                self._nuclei += len(nuclei)
        self._runner._tell(
            ImageFinished(
                self._batch,
                task,
                self._nuclei - nuclei_before,
                tuple(self._skipped[skipped_before:]),
            )
        )

    def _frames_of(self, task: ImageTask) -> Sequence[Frame | Skipped]:
        frames: Sequence[Frame | Skipped] = ()
        folder = self._runner._downloads / task.plate
        with self._skipping(task), self._movie(task, folder) as movie:
            self._ensure_plate_model(task.plate)
            with self._stage("preprocess", task):
                frames = self._rooms.preprocessor.process(movie)
        return frames

    @contextmanager
    def _movie(self, task: ImageTask, folder: Path) -> Iterator[Movie]:
        """Hand over a movie that is completely on disk, and delete it afterwards."""
        with self._stage("download", task) as stage:
            movie = self._rooms.downloader.download(task, folder)
            self._rooms.wait_until_complete(movie)
            stage.bytes = movie.path.stat().st_size
        try:
            yield movie
        finally:
            movie.path.unlink(missing_ok=True)

    def _ensure_plate_model(self, plate: str) -> None:
        without_model = self._runner._plates_without_model
        if plate in without_model:  # found out once a run, not for every image of the plate
            self._at = "illumination"
            raise without_model[plate]
        if not self._rooms.preprocessor.needs_plate_model(plate):
            return
        tasks = [task for task in self._plan.tasks if task.plate == plate]
        step = max(1, len(tasks) // self._runner._plate_wells)
        chosen = tasks[::step][: self._runner._plate_wells]
        log.info("Fitting the illumination of plate %s on %d wells", plate, len(chosen))
        try:
            with self._stage("illumination"):
                self._rooms.preprocessor.fit_plate(plate, self._movies_for_model(chosen))
        except ImageError as error:
            without_model[plate] = error
            raise

    def _movies_for_model(self, tasks: Sequence[ImageTask]) -> Iterator[Movie]:
        for task in tasks:
            # Apart from the batch's own movies: the same well may be among both.
            folder = self._runner._downloads / "for-model" / task.plate
            try:
                with self._movie(task, folder) as movie:
                    yield movie
            except ImageError as error:
                log.warning("%s is left out of its plate's illumination: %s", task.name, error)
                self._at = "illumination"

    @contextmanager
    def _skipping(self, task: ImageTask, frame: int | None = None) -> Iterator[None]:
        """Turn whatever goes wrong with one image into a record of it."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # the boundary of an image: whatever went wrong sinks only it
            _raise_storage_error(error)
            if not isinstance(error, ImageError):
                log.exception("unforeseen error in stage %s of %s", self._at, task.name)
            self._skip(Skipped(task, frame, self._at, type(error).__name__, str(error)))

    def _skip(self, skipped: Skipped) -> None:
        self._skipped.append(skipped)
        frame = "" if skipped.frame_number is None else f" frame {skipped.frame_number}"
        log.warning(
            "Skipped %s%s (%s, %s): %s",
            skipped.task.name, frame, skipped.stage, skipped.kind, skipped.reason,
        )  # fmt: skip

    @contextmanager
    def _stage(self, stage: str, task: ImageTask | None = None) -> Iterator[_Moved]:
        self._runner._tell(StageStarted(stage, self._batch, task))
        started = time.monotonic()
        outer, self._at = self._at, stage
        moved = _Moved()
        try:
            yield moved
        finally:
            elapsed = time.monotonic() - started
            self._seconds[stage] = self._seconds.get(stage, 0.0) + elapsed
            self._runner._tell(StageFinished(stage, self._batch, task, elapsed, moved.bytes))
        self._at = outer  # not after an error: its record names the stage it came from

    def _clear(self) -> None:
        self._rooms.profiling.clear()
        shutil.rmtree(self._runner._downloads, ignore_errors=True)


def _raise_storage_error(error: Exception) -> None:
    """Raise `StorageError` for a full or read-only disk: every further batch would fail too."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _STORAGE_ERRNOS:
            where = cause.filename or "a folder"
            msg = f"{where} cannot be written: {cause.strerror}; free space and start again"
            raise StorageError(msg) from error
        cause = cause.__cause__ or cause.__context__
