"""Takes attempts from the inbox: final names for their files, events for journal and listeners."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.cluster.receipts import Receipt, SkippedPart, kept_of, verify
from idrstream.errors import CompileError, StorageError
from idrstream.files import atomic_path, flush
from idrstream.folder.outputs import forget_kept
from idrstream.opening import inside
from idrstream.quality.pictures import Picture, PictureStore
from idrstream.records import Batch, Published, Skipped
from idrstream.redact import redact
from idrstream.schedule.events import (
    BatchFinished,
    BatchPublished,
    DoneBy,
    Event,
    ImageFinished,
    StageFinished,
)

if TYPE_CHECKING:
    from idrstream.folder.journal.reader import FrameKey
    from idrstream.records import ImageTask

log = logging.getLogger(__name__)

Emit = Callable[[Event], bool]


@dataclass(frozen=True, slots=True)
class Placed:
    """An attempt whose files have their final names, and the end of its batch, not yet told."""

    attempt: Path
    finished: BatchFinished

    def published_event(self) -> BatchPublished | None:
        """Return the event for a batch that has a table."""
        end = self.finished
        if end.published is None:
            return None
        return BatchPublished(
            end.batch, end.published, end.nuclei, end.skipped, end.seconds, by=end.by
        )


class Acceptor:
    """Gives the files of verified attempts their final names and tells what came of batches.

    Files stay in the attempt until the journal has recorded the batch: whoever is killed in
    between finds them there. Several attempts are placed, then recorded together: the disk is
    waited for once for each folder and once for the journal.

    Parameters
    ----------
    output : Path
        Output folder.
    pictures : PictureStore
        Keeps the pictures of the lowest ranks.
    keep : Mapping[int, set]
        Frames in the existing tables of batches: a new table that lacks one is not taken.
    emit : callable
        Calls the listeners; returns False if one failed.
    """

    def __init__(
        self,
        output: Path,
        pictures: PictureStore,
        keep: Mapping[int, Set[FrameKey]],
        emit: Emit,
    ) -> None:
        self._output = output
        self._pictures = pictures
        self._keep = keep
        self._emit = emit
        self._unflushed: set[Path] = set()

    def place(self, batch: Batch, attempt: Path, receipt: Receipt) -> Placed:
        """Verify an attempt of a batch and give its files their final names.

        Raises
        ------
        ClusterError
            If the attempt differs from its receipt.
        StorageError
            If a file cannot be written under its final name.
        """
        verify(attempt, receipt)
        kind, error = receipt.error_kind, receipt.error
        if receipt.table and (lost := self._lost(batch, receipt)):
            kind, error = CompileError.__name__, lost
        self._tell_images(batch, receipt)
        nuclei = sum(image.nuclei for image in receipt.images)
        published = None
        if receipt.table and not error:
            published = self._place(attempt, receipt)
        finished = BatchFinished(
            batch, published, nuclei, _skipped(batch, receipt), kind, redact(error),
            dict(receipt.seconds), _done_by(receipt),
        )  # fmt: skip
        return Placed(attempt, finished)

    def record(self, placed: Sequence[Placed]) -> Iterator[BatchFinished]:
        """Have batches recorded, then delete their attempts; yield those that were recorded.

        Names and journal are waited for until they are on the disk, once for all of them.

        Raises
        ------
        StorageError
            If the names cannot be flushed.
        """
        self._flush_names()
        events = [event for one in placed if (event := one.published_event()) is not None]
        for event in events:
            if not self._emit(replace(event, more=event is not events[-1])):
                return  # the attempts stay: who goes on finds them
        for one in placed:
            shutil.rmtree(one.attempt, ignore_errors=True)
            self._emit(one.finished)
            yield one.finished

    def take_plate(self, attempt: Path, receipt: Receipt) -> None:
        """Take the illumination model of a plate, unless it has one.

        Raises
        ------
        ClusterError, StorageError
            As `place`.
        """
        verify(attempt, receipt)
        for name in receipt.files:
            target = inside(self._output, name)
            if not target.exists():
                self._give(attempt / name, target)
        self._flush_names()
        shutil.rmtree(attempt, ignore_errors=True)

    def _place(self, attempt: Path, receipt: Receipt) -> Published:
        """Give the files their final names: the table after measures, masks and project last."""
        names = [name for name in receipt.files if not name.startswith("pictures/")]
        self._keep_pictures(attempt, receipt)
        loose = [name for name in names if name.count("/") < 2]
        for name in sorted(loose, key=lambda name: name == receipt.table):
            self._give(attempt / name, inside(self._output, name))
        folders = {"/".join(name.split("/")[:2]) for name in names if name.count("/") >= 2}
        for name in sorted(folders):
            self._give(attempt / name, inside(self._output, name))
        forget_kept(self._output, receipt.batch, without=folders)  # of an earlier table
        kept = kept_of(attempt, receipt.batch)
        return Published(
            path=self._output / receipt.table,
            rows=receipt.rows,
            sha256=receipt.files[receipt.table],
            columns=receipt.columns,
            columns_sha256=receipt.columns_sha256,
            **kept,
        )

    def _give(self, source: Path, target: Path) -> None:
        """Give a file or folder a second name, its final one; copy it where that is not possible.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        try:
            self._unflushed.add(target.parent)
            if source.is_dir():
                _give_folder(source, target)
                return
            # Its worker flushed the content: only the new name has to reach the disk.
            with atomic_path(target, durable=False) as part:
                is_linked = _link(source, part)
            if not is_linked:
                flush(target)
        except OSError as error:
            msg = f"{target} cannot be written: {error.strerror}"
            raise StorageError(msg) from error

    def _flush_names(self) -> None:
        for folder in sorted(self._unflushed):
            flush(folder)
        self._unflushed.clear()

    def _keep_pictures(self, attempt: Path, receipt: Receipt) -> None:
        keys = {
            name[len("pictures/") :].partition("_")[0]
            for name in receipt.files
            if name.startswith("pictures/")
        }

        def content(key: str, what: str) -> bytes:
            path = attempt / "pictures" / f"{key}_{what}.webp"
            return path.read_bytes() if path.is_file() else b""

        try:
            self._pictures.keep(
                Picture(key, content(key, "frame"), content(key, "nuclei")) for key in sorted(keys)
            )
        except OSError as error:
            msg = f"the pictures of {self._output} cannot be written: {error}"
            raise StorageError(msg) from error

    def _tell_images(self, batch: Batch, receipt: Receipt) -> None:
        for planned, image in zip(batch.tasks, receipt.images, strict=False):
            task = planned.with_length(image.length)
            for stage, seconds in image.seconds.items():
                size = image.bytes if stage == "download" else None
                self._emit(StageFinished(stage, batch, task, seconds, size))
            self._emit(ImageFinished(batch, task, image.nuclei, _skipped_of(task, image.skipped)))

    def _lost(self, batch: Batch, receipt: Receipt) -> str:
        """Return which frames of the existing table the new one lacks, as a message."""
        have: set[FrameKey] = set()
        for task, image in zip(batch.tasks, receipt.images, strict=False):
            out = {part.frame for part in image.skipped}
            if None not in out:
                frames = set(task.with_length(image.length).frames) - out
                have |= {(task.plate, task.well_number, task.site, frame) for frame in frames}
        lost = sorted(self._keep.get(batch.number, frozenset()) - have)
        if not lost:
            return ""
        plate, well_number, _, frame = lost[0]
        return (
            f"{len(lost)} frames that the batch's table has would be lost (first: plate "
            f"{plate} well number {well_number} frame {frame}); the earlier table is kept"
        )


def _done_by(receipt: Receipt) -> DoneBy:
    return DoneBy(
        worker=receipt.worker, host=receipt.host, job=receipt.job, begun=receipt.begun,
        worked_s=max(0.0, receipt.ended - receipt.begun), loading_s=receipt.loading_s,
        peak_bytes=receipt.peak_bytes,
    )  # fmt: skip


def _skipped(batch: Batch, receipt: Receipt) -> tuple[Skipped, ...]:
    return tuple(
        item
        for task, image in zip(batch.tasks, receipt.images, strict=False)
        for item in _skipped_of(task, image.skipped)
    )


def _skipped_of(task: ImageTask, parts: tuple[SkippedPart, ...]) -> tuple[Skipped, ...]:
    return tuple(Skipped(task, part.frame, part.stage, part.kind, part.reason) for part in parts)


def _give_folder(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(source, part, copy_function=_link)
        if target.is_dir():
            shutil.rmtree(target)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _link(source: str | Path, target: str | Path) -> bool:
    """Give a file a second name; return False where it had to be copied."""
    with suppress(OSError):  # a file system without hard links
        os.link(source, target, follow_symlinks=False)
        return True
    shutil.copyfile(source, target, follow_symlinks=False)
    return False
