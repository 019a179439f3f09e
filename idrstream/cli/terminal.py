"""What every command does on a terminal: text is written visibly, warnings are shown."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from idrstream.redact import RedactingFilter
from idrstream.visible import visible


def say(text: str) -> None:
    """Write text to the standard output, control characters in it as escapes."""
    sys.stdout.write(visible(text))


def say_aside(text: str) -> None:
    """Write text to the standard error, control characters in it as escapes."""
    sys.stderr.write(visible(text))


class Interrupts:
    """Notes that Ctrl-C was pressed and raises `KeyboardInterrupt` for it, as Python does."""

    def __init__(self) -> None:
        self.seen = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        """Install the handler; in the main thread only, and not over another one."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            if self._before is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Bring the earlier handler back."""
        if self._before is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        signal.default_int_handler(number, frame)


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Show warnings on the terminal while a command runs."""
    logger, handler = logging.getLogger("idrstream"), _Warnings()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Warnings(logging.Handler):
    """Writes warnings to the terminal, between its progress bars.

    Left out is what a command says at its end itself: errors, and records with the attribute
    ``in_result``.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.addFilter(RedactingFilter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write a warning as one line."""
        if record.levelno > logging.WARNING or getattr(record, "in_result", False):
            return
        line = f"idrstream: warning: {record.getMessage()}"
        # Bars are drawn again below what is written through them.
        bars = getattr(sys.modules.get("tqdm"), "tqdm", None)
        try:
            if bars is None:
                sys.stderr.write(f"{line}\n")
            else:
                bars.write(line, file=sys.stderr)
        except OSError:
            self.handleError(record)
