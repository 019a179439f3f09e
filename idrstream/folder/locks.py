"""One stream for each output folder, each folder for intermediates, each GPU.

Locks are the kernel's (``flock``): they end with the process that holds them, however it ends.
What is written into a lock's file only tells others who holds it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from idrstream.errors import LockedError, StorageError

log = logging.getLogger(__name__)

LOCK_NAME = ".idrstream.lock"

# Somebody who only looks who holds a lock has it for a moment.
_PATIENCE_S = 0.5
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock.

    Attributes
    ----------
    pid : int
        Its process; 0 when that is not known.
    host : str
        The machine it runs on.
    since : float
        When it took the lock, in seconds since 1970.
    """

    pid: int = 0
    host: str = ""
    since: float = 0.0

    def __str__(self) -> str:
        """Return it for a message."""
        if not self.pid:
            return "another stream"
        who = "this process" if _is_me(self) else f"process {self.pid} on {self.host}"
        since = datetime.fromtimestamp(self.since, timezone.utc)
        return f"{who}, since {since:%Y-%m-%d %H:%M:%S} UTC"


class Lock:
    """A lock on what a file stands for, as a context manager.

    Parameters
    ----------
    path : Path
        The file; it is removed when the lock is given back.
    what : str
        What is locked, for messages.
    remedy : str
        What to do when somebody else has it.

    Raises
    ------
    LockedError
        On entering: when another stream has it; the message says who and since when.
    StorageError
        On entering: when the file cannot be made.
    """

    def __init__(self, path: Path, what: str, remedy: str) -> None:
        self.path = path
        self._what = what
        self._remedy = remedy
        self._descriptor: int | None = None

    def __enter__(self) -> Lock:
        """Take the lock."""
        descriptor = self._open_and_take()
        self._descriptor = descriptor
        self._sign(descriptor, Holder(os.getpid(), socket.gethostname(), time.time()))
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lock back."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):  # somebody else's file in a common folder
                self.path.unlink()
            os.close(descriptor)

    def _open_and_take(self) -> int:
        while True:
            try:
                descriptor = _open(self.path)
            except OSError as error:
                msg = f"{self.path} cannot be written: {error.strerror}"
                raise StorageError(msg) from error
            try:
                self._take(descriptor)
                # Its holder may have removed the file between our opening and locking it: then
                # the lock is on a file that nobody else will find.
                if _is_same(descriptor, self.path):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    log.warning(
                        "%s lies where files cannot be locked (%s): see to it yourself that no "
                        "second stream uses %s",
                        self.path, error.strerror, self._what,
                    )  # fmt: skip
                    return
                if not isinstance(error, BlockingIOError):
                    raise
            else:
                return
            if time.monotonic() > give_up:
                msg = f"{self._what} is in use by {_read(self.path)}; {self._remedy}"
                raise LockedError(msg)
            time.sleep(0.05)

    def _sign(self, descriptor: int, holder: Holder) -> None:
        text = json.dumps({"pid": holder.pid, "host": holder.host, "since": holder.since})
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text.encode(), 0)
        except OSError as error:  # the lock holds all the same, only who has it cannot be read
            log.debug("%s cannot be signed: %s", self.path, error)


def folder_lock(folder: Path, role: str) -> Lock:
    """Return the lock of an output folder or a folder for intermediates.

    Parameters
    ----------
    folder : Path
        The folder; it exists.
    role : str
        What it is called in messages and settings: ``final_data_dir`` or ``tmp_dir``.
    """
    return Lock(
        folder / LOCK_NAME,
        f"{role} {folder}",
        f"wait until it is done or stop it, or choose another {role}",
    )


def gpu_lock(name: str) -> Lock:
    """Return the lock of a GPU of this machine; `name` is for example ``cuda:0``."""
    own = _physical(name)
    safe = "".join(letter if letter.isalnum() else "-" for letter in own)
    return Lock(
        Path(tempfile.gettempdir()) / f"idrstream-gpu-{safe}.lock",
        f"GPU {name}",
        "wait until it is done or stop it, choose another GPU, or say share_gpu=True "
        "(--share-gpu true) when its memory is enough for both",
    )


def _physical(name: str) -> str:
    """Return a name that means the same GPU in every process, whichever GPUs it can see."""
    kind, _, number = name.partition(":")
    visible = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    if kind != "cuda":
        return name
    index = int(number) if number.isdigit() else 0
    return f"cuda:{visible[index]}" if index < len(visible) and visible[index] else f"cuda:{index}"


def holder(folder: Path) -> Holder | None:
    """Return who runs a stream in a folder, or None when nobody does."""
    path = folder / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(path)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        # Somebody else's file: it can be locked, though not signed.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _read(path: Path) -> Holder:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(said["pid"]), str(said["host"]), float(said["since"]))
    except (OSError, ValueError, TypeError, KeyError):
        return Holder()


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)


def _is_me(who: Holder) -> bool:
    return who.pid == os.getpid() and who.host == socket.gethostname()
