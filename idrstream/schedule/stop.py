"""Stopping a stream: signals become requests, a second one ends it at once."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Turns the first Ctrl-C or SIGTERM into a request to stop; the next one interrupts.

    Only the main thread can do this; in others nothing is changed.

    Parameters
    ----------
    request : callable
        Asks the stream to stop; is given what is to be raised in the end. Called inside a
        signal handler.
    """

    def __init__(self, request: Callable[[BaseException], None]) -> None:
        self._request = request
        self._before: dict[signal.Signals, Any] = {}
        self._asked = False

    def __enter__(self) -> StopSignals:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before = signal.getsignal(number)
                # Whoever ignores a signal (nohup, a shell's background job) means it; None is a
                # handler that was not set from Python and could not be put back.
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, before in self._before.items():
            signal.signal(number, before)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        if self._asked:
            raise error
        self._asked = True
        self._request(error)
