"""The disk budget: a hard limit on everything under ``tmp_dir``.

Space is reserved before anything is written and given back when it is deleted. Reservations are
kept by a plain ledger that knows nothing of movies; who may reserve next is the stream's matter.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from idrstream.text import format_size


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What a stream held under ``tmp_dir``.

    Attributes
    ----------
    limit_bytes : int or None
        The budget; None for no limit.
    reserved_bytes : int
        The most that was reserved at once.
    peak_bytes : int
        The most that was seen there, as ``du --apparent-size`` counts, every half second.
    leftover_bytes : int
        What a stream that died had left, removed at the start.
    now_bytes : int
        What was seen there last.
    """

    limit_bytes: int | None
    reserved_bytes: int
    peak_bytes: int
    leftover_bytes: int = 0
    now_bytes: int = 0

    def __str__(self) -> str:
        """Return it as text for a person."""
        if self.limit_bytes is None:
            return f"at most {format_size(self.peak_bytes)}, no budget"
        return f"at most {format_size(self.peak_bytes)} of {format_size(self.limit_bytes)}"


class DiskBudget:
    """A ledger of reservations that never add up to more than a limit.

    Threads may share it.

    Parameters
    ----------
    limit_bytes : int or None
        The limit; None for none.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        self._held: dict[Hashable, int] = {}
        self._used = 0
        self._peak = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Bytes reserved now."""
        return self._used

    @property
    def peak_bytes(self) -> int:
        """The most that was reserved at once."""
        return self._peak

    @property
    def free_bytes(self) -> int | None:
        """Bytes that can still be reserved; None when there is no limit."""
        return None if self.limit_bytes is None else self.limit_bytes - self._used

    def held(self, key: Hashable) -> int:
        """Return the bytes reserved under a name; 0 when there are none."""
        return self._held.get(key, 0)

    def resize(self, key: Hashable, size_bytes: int) -> bool:
        """Make the reservation of a name as large as said; tell whether that was possible.

        Smaller is always possible. When it is not, the old reservation stays.
        """
        with self._lock:
            more = size_bytes - self._held.get(key, 0)
            if more > 0 and self.limit_bytes is not None and self._used + more > self.limit_bytes:
                return False
            self._set(key, size_bytes)
            return True

    def release(self, key: Hashable) -> None:
        """Give back what is reserved under a name, if anything is."""
        with self._lock:
            self._set(key, 0)

    def _set(self, key: Hashable, size_bytes: int) -> None:
        self._used += size_bytes - self._held.pop(key, 0)
        if size_bytes:
            self._held[key] = size_bytes
        self._peak = max(self._peak, self._used)


def tree_bytes(folder: Path) -> int:
    """Return the bytes of all files under a folder; links to one file count once."""
    total, seen, folders = 0, set(), [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                        continue
                    stat = entry.stat(follow_symlinks=False)
                    if stat.st_nlink > 1:
                        if (stat.st_dev, stat.st_ino) in seen:
                            continue
                        seen.add((stat.st_dev, stat.st_ino))
                    total += stat.st_size
        except (FileNotFoundError, NotADirectoryError):  # deleted meanwhile
            continue
    return total


def disk_free_bytes(folder: Path) -> int:
    """Return what the disk of a folder, or of the nearest parent that is there, has free."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


class DiskMeter:
    """Looks every half second how much a folder holds, in a thread of its own.

    Parameters
    ----------
    folder : Path
        The folder.
    interval_s : float
        Seconds between looks; more when a look takes long.
    """

    def __init__(self, folder: Path, interval_s: float = 0.5) -> None:
        self.peak_bytes = 0
        self.now_bytes = 0
        self._folder = folder
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="idrstream-disk", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End, after a last look."""
        self._stop.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    def _look(self) -> None:
        wait_s = 0.0
        while True:
            ended = self._stop.wait(wait_s)
            started = time.monotonic()
            self.now_bytes = tree_bytes(self._folder)
            self.peak_bytes = max(self.peak_bytes, self.now_bytes)
            if ended:
                return
            # A folder of many thousand files must not keep a core busy.
            wait_s = max(self._interval_s, 20 * (time.monotonic() - started))
