"""A worker's listener: turns the batches of its runner into attempts in the inbox."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.cluster.receipts import ImageReceipt, Receipt, SkippedPart, deliver, own_items
from idrstream.cluster.work import batch_key
from idrstream.errors import StorageError
from idrstream.quality.notes import picture_keys, qc_path
from idrstream.quality.pictures import picture_paths
from idrstream.schedule.events import (
    BatchFinished,
    BatchPublished,
    BatchStarted,
    Event,
    ImageFinished,
    StageFinished,
)

if TYPE_CHECKING:
    from idrstream.records import ImageTask, Skipped

_Key = tuple[str, int, int, str]


@dataclass(slots=True)
class _Progress:
    """What is known of a batch in progress."""

    begun: float
    seconds: dict[_Key, dict[str, float]] = field(default_factory=dict)
    bytes: dict[_Key, int] = field(default_factory=dict)
    images: dict[_Key, ImageReceipt] = field(default_factory=dict)


class AttemptWriter:
    """Puts every batch that the worker's runner ends into the inbox; a `Listener`.

    Parameters
    ----------
    output : Path
        The worker's own output folder, where its runner publishes.
    inbox : Path
        The inbox, on the same file system.
    identity : str
        Digest of the settings that change results.
    receipt : callable
        Returns a receipt with what is known of the worker.
    changed : callable
        Called with the batches in progress, when they change, and those that have a result.
    """

    def __init__(
        self,
        output: Path,
        inbox: Path,
        identity: str,
        receipt: Callable[[], Receipt],
        changed: Callable[[tuple[int, ...], tuple[int, ...]], None],
    ) -> None:
        self._output = output
        self._inbox = inbox
        self._identity = identity
        self._receipt = receipt
        self._changed = changed
        self._running: dict[int, _Progress] = {}
        self.done: list[int] = []
        self.longest_s = 0.0

    def __call__(self, event: Event) -> None:
        """Handle an event of the worker's runner."""
        if isinstance(event, BatchStarted):
            self._running[event.batch.number] = _Progress(time.time())
            self._changed(tuple(self._running), tuple(self.done))
        elif isinstance(event, StageFinished) and event.task is not None:
            self._stage(event, event.task)
        elif isinstance(event, ImageFinished):
            progress, key = self._running[event.batch.number], _key(event.task)
            progress.images[key] = ImageReceipt(
                nuclei=event.nuclei,
                bytes=progress.bytes.get(key),
                seconds=progress.seconds.pop(key, {}),
                skipped=tuple(map(_part, event.skipped)),
                length=max(event.task.frames, default=0) if event.task.every else 0,
            )
        elif isinstance(event, BatchPublished) or (
            isinstance(event, BatchFinished) and event.published is None
        ):
            self._deliver(event)

    def begin(self) -> None:
        """Begin a new piece of work."""
        self._running.clear()
        self.done.clear()

    def _stage(self, event: StageFinished, task: ImageTask) -> None:
        progress = self._running.get(event.batch.number)
        if progress is None:
            return
        seconds = progress.seconds.setdefault(_key(task), {})
        seconds[event.stage] = seconds.get(event.stage, 0.0) + event.seconds
        if event.stage == "download" and event.bytes is not None:
            progress.bytes[_key(task)] = event.bytes

    def _deliver(self, event: BatchPublished | BatchFinished) -> None:
        batch, number = event.batch, event.batch.number
        progress = self._running.pop(number)
        receipt = replace(
            self._receipt(),
            batch=number,
            key=batch_key(self._identity, number, batch.tasks),
            images=tuple(progress.images.get(_key(t), ImageReceipt()) for t in batch.tasks),
            seconds=event.seconds,
            begun=progress.begun,
            ended=time.time(),
        )
        published = event.published
        if published is not None:
            receipt = replace(
                receipt,
                table=published.path.relative_to(self._output).as_posix(),
                rows=published.rows,
                columns=published.columns,
                columns_sha256=published.columns_sha256,
            )
        elif isinstance(event, BatchFinished):
            receipt = replace(receipt, error_kind=event.error_kind, error=event.error)
        attempt = self._output.with_name(uuid.uuid4().hex)
        try:
            attempt.mkdir()
            if published is not None:
                self._move_files(number, attempt)
        except OSError as error:
            msg = f"{error.filename or attempt} cannot be written: {error.strerror}"
            raise StorageError(msg) from error
        deliver(attempt, self._inbox, receipt)
        self.done.append(number)
        self.longest_s = max(self.longest_s, time.time() - progress.begun)
        self._changed(tuple(self._running), tuple(self.done))

    def _move_files(self, number: int, attempt: Path) -> None:
        """Move everything that is of a batch from the output folder into the attempt."""
        measures = qc_path(self._output, number)
        keys = picture_keys(measures) if measures.exists() else []
        pictures = [path for key in keys for path in picture_paths(self._output, key)]
        for path in [*own_items(self._output, number), *filter(Path.exists, pictures)]:
            target = attempt / path.relative_to(self._output)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)


def _key(task: ImageTask) -> _Key:
    return task.plate, task.well_number, task.site, task.frames_text


def _part(item: Skipped) -> SkippedPart:
    return SkippedPart(
        frame=item.frame_number, stage=item.stage, kind=item.kind, reason=item.reason
    )


def plate_attempt(output: Path, inbox: Path, names: Mapping[str, Path], receipt: Receipt) -> None:
    """Put the illumination model of a plate, or why there is none, into the inbox.

    Parameters
    ----------
    output : Path
        The worker's own output folder.
    inbox : Path
        The inbox.
    names : Mapping[str, Path]
        The files of the model by their names in the output folder.
    receipt : Receipt
        The receipt.

    Raises
    ------
    StorageError
        If something cannot be written.
    """
    attempt = output.with_name(uuid.uuid4().hex)
    try:
        attempt.mkdir()
        for name, path in names.items():
            target = attempt / name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    except OSError as error:
        msg = f"{error.filename or attempt} cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    deliver(attempt, inbox, receipt)
