"""How a stream stops: its states, and signals that become requests."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from enum import IntEnum
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StreamState(IntEnum):
    """What a stream still starts.

    ::

        RUNNING <-> PAUSED      every job               | no new images
           |          |
           +----------+
           v
        DRAINING                only the jobs of batches whose images are all finished
           v
        STOPPING                nothing; a table that is being published is finished
           v
        ABANDONED               nothing; threads that do not end may delete nothing

    An error that the user has to fix drains the stream. A request to stop, an interrupt, and the
    end of draining stop it. It is abandoned by a second signal, or when threads do not end in
    time. States may be skipped; only a pause is undone.
    """

    RUNNING = 0
    PAUSED = 1
    DRAINING = 2
    STOPPING = 3
    ABANDONED = 4


class StopSignals:
    """Turns the first Ctrl-C or SIGTERM into a request to stop; the next one interrupts.

    Signals are handled in the main thread only; in others nothing is changed.

    Parameters
    ----------
    request : callable
        Requests the stop; gets what is to be raised in the end. Called inside a signal handler.

    Attributes
    ----------
    error : BaseException or None
        What the first signal is to raise: also if it came too late to stop anything, for what runs
        after the stream is to be interrupted, too.
    """

    def __init__(self, request: Callable[[BaseException], None]) -> None:
        self._request = request
        self._before: dict[signal.Signals, Any] = {}
        self.error: BaseException | None = None

    def __enter__(self) -> StopSignals:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before = signal.getsignal(number)
                # An ignored signal (nohup, a shell's background job) stays ignored; None is a
                # handler that was not set from Python and could not be restored.
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the handlers."""
        for number, before in self._before.items():
            signal.signal(number, before)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        error = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        if self.error is not None:
            raise error
        self.error = error
        self._request(error)
