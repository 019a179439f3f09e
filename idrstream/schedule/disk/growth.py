"""Watches downloads, so that none takes more disk space than was reserved for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path

from idrstream.schedule.disk.budget import tree_bytes
from idrstream.schedule.lanes import Inbox

_INTERVAL_S = 0.02


class GrowthWatch:
    """Measures folders fifty times a second, in a thread of its own.

    Parameters
    ----------
    inbox : SimpleQueue
        Gets one call for each folder that exceeds its limit.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._watched: dict[Hashable, tuple[Path, int, Callable[[int], None]]] = {}
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def watch(
        self, key: Hashable, folder: Path, limit_bytes: int, exceeded: Callable[[int], None]
    ) -> None:
        """Watch a folder, which need not exist yet; the inbox gets ``exceeded(size_bytes)``."""
        with self._changed:
            self._watched[key] = folder, limit_bytes, exceeded
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._measure, name="idrstream-growth", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def unwatch(self, key: Hashable) -> None:
        """Stop watching a folder, if it is watched."""
        with self._changed:
            self._watched.pop(key, None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _measure(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._watched)
                self._changed.wait_for(lambda: self._closed, _INTERVAL_S)
                if self._closed:
                    return
                watched = list(self._watched.items())
            for key, (folder, limit_bytes, exceeded) in watched:
                size_bytes = tree_bytes(folder)
                if size_bytes > limit_bytes:
                    self.unwatch(key)
                    self._inbox.put(partial(exceeded, size_bytes))
