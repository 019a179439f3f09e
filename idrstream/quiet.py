"""Warnings of other people's code, suppressed where threads work beside each other."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


class _Inside:
    """How many threads are inside, and what the last of them undoes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.undo = ExitStack()


_INSIDE = _Inside()  # as warnings' filters themselves, one for the process


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress all warnings, in all threads, as long as one is inside.

    `warnings.catch_warnings` puts back the filters that it found: of two threads that overlap,
    the first to leave shows the other's warnings, and the last leaves them suppressed for good.
    """
    with _INSIDE.lock:
        if not _INSIDE.count:
            _INSIDE.undo.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        _INSIDE.count += 1
    try:
        yield
    finally:
        with _INSIDE.lock:
            _INSIDE.count -= 1
            if not _INSIDE.count:
                _INSIDE.undo.close()
