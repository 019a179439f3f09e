"""One stream for each output folder, each folder for intermediates, each GPU.

Locks are the kernel's (``flock``): they end with the process that holds them, however it ends.
The content of a lock's file only names its holder.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from idrstream.errors import LockedError, StorageError
from idrstream.folder.private import private_folder
from idrstream.opening import open_own, open_regular, read_regular
from idrstream.text import parse_json

log = logging.getLogger(__name__)

LOCK_NAME = ".idrstream.lock"

# `holder` takes a lock for a moment.
_TIMEOUT_S = 0.5
_MOST_BYTES = 4096
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class Holder:
    """Process that holds a lock.

    Attributes
    ----------
    pid : int
        Its number; 0 if unknown.
    host : str
        The machine it runs on.
    since : float
        When it took the lock, in seconds since 1970.
    """

    pid: int = 0
    host: str = ""
    since: float = 0.0

    def __str__(self) -> str:
        """Return the holder for a message."""
        if not self.pid:
            return "another stream"
        who = "this process" if _is_me(self) else f"process {self.pid} on {self.host}"
        since = datetime.fromtimestamp(self.since, UTC)
        return f"{who}, since {since:%Y-%m-%d %H:%M:%S} UTC"


class Lock:
    """A lock through a file, as a context manager.

    Parameters
    ----------
    path : Path
        The file; removed when the lock is released.
    what : str
        What is locked, for messages.
    remedy : str
        What to do if another stream holds it.

    Raises
    ------
    LockedError
        On entering, if another stream holds it; the message says who and since when.
    StorageError
        On entering, if the file cannot be created.
    """

    def __init__(self, path: Path, what: str, remedy: str) -> None:
        self.path = path
        self._what = what
        self._remedy = remedy
        self._file: BinaryIO | None = None

    def __enter__(self) -> Lock:
        """Take the lock."""
        self._file = self._open_and_take()
        self._sign(self._file.fileno(), Holder(os.getpid(), socket.gethostname(), time.time()))
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # another user's file in a shared folder
                self.path.unlink()
            file.close()

    def _open_and_take(self) -> BinaryIO:
        while True:
            try:
                file = _open(self.path)
            except OSError as error:
                msg = f"{self.path} cannot be written: {error.strerror}"
                raise StorageError(msg) from error
            try:
                self._take(file.fileno())
                # Its holder may have removed the file after it was opened here: then the lock
                # is on a file that no other process can find.
                if _is_same(file.fileno(), self.path):
                    return file
            except BaseException:
                file.close()
                raise
            file.close()

    def _take(self, descriptor: int) -> None:
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    log.warning(
                        "%s is on a file system without locks (%s): make sure that no second "
                        "stream uses %s",
                        self.path, error.strerror, self._what,
                    )  # fmt: skip
                    return
                if not isinstance(error, BlockingIOError):
                    raise
            else:
                return
            if time.monotonic() > deadline:
                msg = f"{self._what} is in use by {_read(self.path)}; {self._remedy}"
                raise LockedError(msg)
            time.sleep(0.05)

    def _sign(self, descriptor: int, holder: Holder) -> None:
        text = json.dumps({"pid": holder.pid, "host": holder.host, "since": holder.since})
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text.encode(), 0)
        except OSError as error:  # the lock holds, only its holder cannot be read
            log.debug("%s cannot be signed: %s", self.path, error)


def folder_lock(folder: Path, role: str) -> Lock:
    """Return the lock of an output folder or a folder for intermediates.

    Parameters
    ----------
    folder : Path
        The folder; it exists.
    role : str
        Its name in messages and settings: ``final_data_dir`` or ``tmp_dir``.
    """
    return Lock(
        folder / LOCK_NAME,
        f"{role} {folder}",
        f"wait until it is done or stop it, or choose another {role}",
    )


def gpu_lock(name: str) -> Lock:
    """Return the lock of a GPU of this machine; `name` is for example ``cuda:0``.

    It excludes streams of the same user. Those of another user have a folder of their own; who
    shares a machine has to leave GPUs to its scheduler, or set ``CUDA_VISIBLE_DEVICES``.

    Raises
    ------
    StorageError
        As `private_folder`.
    """
    own = _physical(name)
    safe = "".join(letter if letter.isalnum() else "-" for letter in own)
    return Lock(
        private_folder() / f"gpu-{safe}-{socket.gethostname()}.lock",
        f"GPU {name}",
        "wait until it is done or stop it, choose another GPU, or set share_gpu=True "
        "(--share-gpu true) if its memory is enough for both",
    )


def _physical(name: str) -> str:
    """Return a name of the GPU that is the same in every process, whatever it can see."""
    kind, _, number = name.partition(":")
    visible = [item.strip() for item in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    if kind != "cuda":
        return name
    index = int(number) if number.isdigit() else 0
    return f"cuda:{visible[index]}" if index < len(visible) and visible[index] else f"cuda:{index}"


def holder(folder: Path) -> Holder | None:
    """Return the process that runs a stream in a folder, or None."""
    path = folder / LOCK_NAME
    try:
        with open_regular(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path)
    except OSError:
        return None
    return None


def _open(path: Path) -> BinaryIO:
    try:
        return open_own(path, os.O_RDWR, "rb+")
    except PermissionError:
        if not path.exists():
            raise
        # Another user's file: it can be locked, but not written.
        return open_regular(path)


def _read(path: Path) -> Holder:
    try:
        content = parse_json(read_regular(path, _MOST_BYTES))
        return Holder(int(content["pid"]), str(content["host"]), float(content["since"]))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return Holder()


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino)


def _is_me(who: Holder) -> bool:
    return who.pid == os.getpid() and who.host == socket.gethostname()
