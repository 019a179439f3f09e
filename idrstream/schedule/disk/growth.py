"""Watches movies while they arrive, so that none takes more of the disk than it may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from idrstream.schedule.disk.budget import tree_bytes
from idrstream.schedule.lanes import Inbox

_INTERVAL_S = 0.02


@dataclass(slots=True)
class _Growing:
    """A folder that something arrives in."""

    folder: Path
    limit_bytes: int
    passed: Callable[[int], None]


class GrowthWatch:
    """Looks at folders fifty times a second, in a thread of its own.

    Parameters
    ----------
    inbox : SimpleQueue
        Where it is told that a folder holds more than it may, once, as a call to be made.
    interval_s : float
        Seconds between looks.
    """

    def __init__(self, inbox: Inbox, interval_s: float = _INTERVAL_S) -> None:
        self._inbox = inbox
        self._interval_s = interval_s
        self._growing: dict[Hashable, _Growing] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def begin(
        self, key: Hashable, folder: Path, limit_bytes: int, passed: Callable[[int], None]
    ) -> None:
        """Watch a folder.

        Parameters
        ----------
        key : hashable
            Its name.
        folder : Path
            Need not exist yet.
        limit_bytes : int
            What it may hold.
        passed : callable
            Gets the bytes it holds; called by the owner of the inbox.
        """
        with self._changed:
            self._growing[key] = _Growing(folder, limit_bytes, passed)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._look, name="idrstream-growth", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def end(self, key: Hashable) -> None:
        """Watch a folder no more, if it is watched."""
        with self._changed:
            self._growing.pop(key, None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._growing)
                self._changed.wait_for(lambda: self._closed, self._interval_s)
                if self._closed:
                    return
                watched = list(self._growing.items())
            for key, growing in watched:
                size_bytes = tree_bytes(growing.folder)
                if size_bytes > growing.limit_bytes:
                    self.end(key)
                    self._inbox.put(partial(growing.passed, size_bytes))
