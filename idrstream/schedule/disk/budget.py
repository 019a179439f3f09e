"""The disk budget: a hard limit on everything under ``tmp_dir``.

Space is reserved before anything is written and released when it is deleted. The ledger knows
nothing of movies; `idrstream.schedule.disk.space` decides who may reserve next.
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
        The most that was measured there, every half second, as ``du --apparent-size`` counts.
    leftover_bytes : int
        What a crashed stream had left, removed at the start.
    now_bytes : int
        What was measured there last.
    """

    limit_bytes: int | None
    reserved_bytes: int
    peak_bytes: int
    leftover_bytes: int = 0
    now_bytes: int = 0

    def __str__(self) -> str:
        """Return it as text."""
        if self.limit_bytes is None:
            return f"at most {format_size(self.peak_bytes)}, no budget"
        return f"at most {format_size(self.peak_bytes)} of {format_size(self.limit_bytes)}"


class DiskBudget:
    """A ledger of reservations, whose sum never exceeds a limit; threads may share it.

    Parameters
    ----------
    limit_bytes : int or None
        The limit; None for none.
    """

    def __init__(self, limit_bytes: int | None = None) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.peak_bytes = 0  # the most that was reserved at once
        self._held: dict[Hashable, int] = {}
        self._lock = threading.Lock()

    @property
    def free_bytes(self) -> int | None:
        """Bytes that can still be reserved; None when there is no limit."""
        return None if self.limit_bytes is None else self.limit_bytes - self.used_bytes

    def held(self, key: Hashable) -> int:
        """Return the bytes reserved under a key."""
        return self._held.get(key, 0)

    def try_reserve(self, key: Hashable, size_bytes: int) -> bool:
        """Set the reservation of a key to a size. Return False if it does not fit.

        A smaller size always fits. A reservation that cannot grow stays as it was.
        """
        with self._lock:
            more = size_bytes - self.held(key)
            if more > 0 and self.free_bytes is not None and more > self.free_bytes:
                return False
            self.used_bytes += more
            self.peak_bytes = max(self.peak_bytes, self.used_bytes)
            if size_bytes:
                self._held[key] = size_bytes
            else:
                self._held.pop(key, None)
            return True

    def release(self, key: Hashable) -> None:
        """Release what is reserved under a key, if anything is."""
        self.try_reserve(key, 0)


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
                    stat = _stat(entry)
                    if stat is None:
                        continue
                    if stat.st_nlink > 1:
                        if (stat.st_dev, stat.st_ino) in seen:
                            continue
                        seen.add((stat.st_dev, stat.st_ino))
                    total += stat.st_size
        except (FileNotFoundError, NotADirectoryError):  # deleted meanwhile
            continue
    return total


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of a file, or None if it was deleted meanwhile; others still count."""
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def disk_free_bytes(folder: Path) -> int:
    """Return the free space on the disk of a folder, or of its nearest existing parent."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


class DiskMeter:
    """Measures every half second how much a folder holds, in a thread of its own.

    Parameters
    ----------
    folder : Path
        The folder.
    interval_s : float
        Seconds between measurements; more if one takes long.
    """

    def __init__(self, folder: Path, interval_s: float = 0.5) -> None:
        self.peak_bytes = 0
        self.now_bytes = 0
        self._folder = folder
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="idrstream-disk", daemon=True)

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def close(self) -> None:
        """End, after a last measurement."""
        self._stop.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    def _measure(self) -> None:
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
