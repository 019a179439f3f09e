"""The log file of a stream, in the form the first IDR_stream wrote."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.errors import StorageError
from idrstream.redact import RedactingFilter
from idrstream.schedule.events import BatchFinished, Event, StreamFinished, StreamStarted
from idrstream.text import as_ranges

if TYPE_CHECKING:
    from idrstream.schedule.result import RunResult

log = logging.getLogger(__name__)

_ROOT = "idrstream"
_LONG = 400  # letters of a call that is better said in other words
_FORMAT = "%(asctime)s - %(levelname)s - %(message)s"


class StreamLog:
    """Sends everything idrstream logs to a file, at level INFO.

    Lines look like ``2023-12-28 10:27:05,045 - INFO - Processing well A4 from LT0001_02``.
    Opening the same file again replaces the earlier handler, so that a notebook cell that is
    run twice does not write every line twice.

    Parameters
    ----------
    path : Path or None
        The file, appended to; None logs nowhere.

    Raises
    ------
    StorageError
        If the file cannot be opened for writing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._handler: logging.Handler | None = None
        if path is None:
            return
        logger = logging.getLogger(_ROOT)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(path, encoding="utf-8")
        except OSError as error:
            msg = f"the log file {path} cannot be written: {error.strerror}"
            raise StorageError(msg) from error
        for other in list(logger.handlers):
            same = isinstance(other, logging.FileHandler) and (
                other.baseFilename == handler.baseFilename
            )
            if same:
                logger.removeHandler(other)
                other.close()
        handler.setFormatter(logging.Formatter(_FORMAT))
        handler.addFilter(RedactingFilter())
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        self._handler = handler

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Write nothing to the file in this block."""
        logger, handler = logging.getLogger(_ROOT), self._handler
        if handler is None or handler not in logger.handlers:
            yield
            return
        logger.removeHandler(handler)
        try:
            yield
        finally:
            logger.addHandler(handler)

    def close(self) -> None:
        """Stop logging to the file."""
        if self._handler is not None:
            logging.getLogger(_ROOT).removeHandler(self._handler)
            self._handler.close()
            self._handler = None

    def __enter__(self) -> StreamLog:
        """Return the open log."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop logging to the file."""
        self.close()


@contextmanager
def errors_logged() -> Iterator[None]:
    """Write an error that ends a command to the log, with its traceback, and let it pass."""
    try:
        yield
    except Exception as error:
        log.error("Ended by %s: %s", type(error).__name__, error, exc_info=True)
        raise


def log_events(event: Event) -> None:
    """Write the milestones of a stream to the log; a `Listener`."""
    if isinstance(event, StreamStarted):
        plan = event.plan
        log.info(
            "Running IDR stream with batch_size %d, batches %d to run of %d, images %d",
            plan.batch_size, len(plan), plan.batch_count, plan.image_count,
        )  # fmt: skip
    elif isinstance(event, BatchFinished) and event.published is not None:
        log.info(
            "Batch %d: %d nuclei of %d images saved to %s",
            event.batch.number, event.nuclei, len(event.batch.tasks), event.published.path,
        )  # fmt: skip
    elif isinstance(event, StreamFinished):
        result = event.result
        if event.stopped_by:
            log.error("Stream run stopped: %s", event.stopped_by)
        else:
            log.info("Stream run done in %.1f seconds!", result.seconds)
        if result.bottleneck:
            log.info("%s", result.bottleneck)
        if result.disk is not None:
            log.info("Disk used for intermediates: %s", result.disk)
        numbers = result.rerun_batches
        if numbers:
            log.warning(
                "Batches that failed, lack images or were not reached: %s (%d). Run them with %s",
                as_ranges(numbers), len(numbers), _rerun_call(result), extra={"in_result": True},
            )  # fmt: skip


def _rerun_call(result: RunResult) -> str:
    """Return the call that runs what is left, as short as it can be."""
    call = result.rerun_call
    if len(call) <= _LONG:
        return call
    return "stream.resume() and stream.rerun_failed()"
