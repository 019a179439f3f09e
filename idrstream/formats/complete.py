"""Is a file all there? Nothing is opened for reading before this says so.

`h5py.is_hdf5` is true for a file that was cut off, so the end-of-file address that HDF5 keeps
in its superblock is compared with the size on disk (HDF5 File Format Specification 3.0, II.A),
and the size with what the source states. What one look at a file saw is a plain value, `Look`;
waiting is looking again until the verdict is final or the file has stopped growing for too long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from idrstream.errors import ImageError, IncompleteFileError, MovieError, storage_error
from idrstream.formats.cellh5.superblock import HDF5_SIGNATURE, hdf5_end_of_file

if TYPE_CHECKING:
    from tenacity import RetryCallState

HDF5_SUFFIXES = frozenset({".ch5", ".cellh5", ".h5", ".hdf5"})
PART_SUFFIXES = (".part", ".partial")
CONTROL_SUFFIXES = (".aspx", ".partial.aspx")

_ERROR_PAGE = (b"<!doctype html", b"<html")


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a file saw.

    Attributes
    ----------
    state : {"complete", "waiting", "wrong"}
        ``waiting`` may still become complete, ``wrong`` never will.
    reason : str
        What is missing or wrong; empty when complete.
    signature : tuple of int
        Sizes and times of change of the file and its partial file; changes when either grows.
    size_bytes : int or None
        Size of the file; None while it is not there.
    error : type
        The error this look means if it is the last one.
    is_hdf5 : bool
        Whether HDF5's own word on its length was heard.
    """

    state: Literal["complete", "waiting", "wrong"]
    reason: str = ""
    signature: tuple[int, ...] = ()
    size_bytes: int | None = None
    error: type[ImageError] = IncompleteFileError
    is_hdf5: bool = False


def look_at(path: Path, size_bytes: int | None = None, *, name: str | None = None) -> Look:
    """Look at a file once and judge whether it is complete, or may become so.

    Parameters
    ----------
    path : Path
        The file under its final name.
    size_bytes : int, optional
        Size that the source states.
    name : str, optional
        Final name of a file that does not bear it yet; says what it should be.

    Returns
    -------
    Look
        The verdict. For HDF5 ``complete`` means: size agreed (if stated), end-of-file address
        reached, opened by h5py. For other formats it means a size above zero that agrees.
    """
    signature = _signature(path)
    try:
        suffix = Path(name or path.name).suffix.lower()
        return _judge(path, size_bytes, path.stat().st_size, signature, suffix in HDF5_SUFFIXES)
    except FileNotFoundError:
        return Look("waiting", _missing_reason(path), signature)
    except OSError as error:
        _raise_if_of_machine(error)
        return Look("waiting", f"cannot be read: {error.strerror or error}", signature)


def _judge(
    path: Path,
    size_bytes: int | None,
    size: int,
    signature: tuple[int, ...],
    hdf5_by_name: bool,
) -> Look:
    for suffix in CONTROL_SUFFIXES:
        if path.with_name(path.name + suffix).exists():
            reason = f"{path.name}{suffix} beside it says that the transfer is not finished"
            return Look("waiting", reason, signature, size)
    page = _error_page(path, hdf5_by_name)
    if page is not None:
        return Look("wrong", page, signature, size, MovieError)
    if size_bytes is not None and size != size_bytes:
        reason = f"has {size:,} of {size_bytes:,} bytes"
        return Look("waiting" if size < size_bytes else "wrong", reason, signature, size)
    if size == 0:
        return Look("wrong" if size_bytes == 0 else "waiting", "is empty", signature, size)
    if hdf5_by_name or _begins_as_hdf5(path):
        return _look_at_hdf5(path, size, signature, final=size_bytes is not None)
    return Look("complete", "", signature, size)


def check_complete(path: Path, size_bytes: int | None = None, *, name: str | None = None) -> None:
    """Raise if a file is not complete now; waits for nothing.

    Parameters
    ----------
    path : Path
        The file under its final name.
    size_bytes : int, optional
        Size that the source states.
    name : str, optional
        Final name of a file that does not bear it yet; says what it should be.

    Raises
    ------
    IncompleteFileError
        If it is missing, too short or too long, or its end-of-file address is not reached.
    MovieError
        If it is something else: an error page, not HDF5 though its name says so.
    """
    look = look_at(path, size_bytes, name=name)
    if look.state != "complete":
        msg = f"{path} {look.reason}"
        raise look.error(msg)


def wait_until_complete(
    path: Path,
    *,
    size_bytes: int | None = None,
    timeout_s: float = 60.0,
    poll_s: float = 0.2,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until a file is proven completely written.

    A file of stated size is complete when `look_at` says so. Without a stated size it must
    also look the same twice, `poll_s` apart; so must every format other than HDF5.

    Parameters
    ----------
    path : Path
        The file under its final name; it need not be there yet.
    size_bytes : int, optional
        Size that the source states.
    timeout_s : float
        Time limit, counted since the file or the partial file beside it last grew: a slow
        transfer is waited for, one that stopped is not.
    poll_s : float
        Time between two looks.
    sleep, clock : callable
        For tests.

    Raises
    ------
    IncompleteFileError
        If the time limit passed, or the file is final and cut off. Says what was seen.
    MovieError
        If it is something else: an error page, not HDF5 though its name says so.
    """
    from tenacity import Retrying, retry_if_result, wait_fixed

    watch = _Watch(path, size_bytes, timeout_s, clock)
    retrying = Retrying(
        retry=retry_if_result(lambda look: look.state == "waiting"),
        stop=watch.timed_out,
        wait=wait_fixed(poll_s),
        sleep=sleep,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    look: Look = retrying(watch.look)
    if look.state == "waiting":
        msg = (
            f"{path} {look.reason}; nothing of it has grown for {watch.idle_s:.1f} s "
            f"(seen {_bytes(look.size_bytes)}, expected {_bytes(size_bytes)}, "
            f"first looked for {watch.age_s:.1f} s ago)"
        )
        raise look.error(msg)
    if look.state == "wrong":
        msg = f"{path} {look.reason}"
        raise look.error(msg)


class _Watch:
    """Looks again and again, and remembers when the file last grew."""

    def __init__(
        self, path: Path, size_bytes: int | None, timeout_s: float, clock: Callable[[], float]
    ) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self.timeout_s = timeout_s
        self.clock = clock
        self.started = self.grown = clock()
        self.previous: Look | None = None

    @property
    def idle_s(self) -> float:
        return self.clock() - self.grown

    @property
    def age_s(self) -> float:
        return self.clock() - self.started

    def look(self) -> Look:
        look = look_at(self.path, self.size_bytes)
        unchanged = self.previous is not None and self.previous.signature == look.signature
        if not unchanged:
            self.grown = self.clock()
        self.previous = look
        if look.state != "complete" or unchanged:
            return look
        if self.size_bytes is not None and look.is_hdf5:
            return look
        return Look("waiting", "may still be growing", look.signature, look.size_bytes)

    def timed_out(self, _state: RetryCallState) -> bool:
        return self.idle_s >= self.timeout_s


def _look_at_hdf5(path: Path, size: int, signature: tuple[int, ...], *, final: bool) -> Look:
    """Judge an HDF5 file; `final` when its size is the one its source states."""
    not_yet: Literal["wrong", "waiting"] = "wrong" if final else "waiting"
    try:
        end = hdf5_end_of_file(path)
    except MovieError as error:
        if not any(_head(path, len(HDF5_SIGNATURE))):
            reason = "begins with zeros: its place was reserved, but it is not written yet"
            return Look("waiting", reason, signature, size)
        reason = str(error).removeprefix(str(path)).lstrip(": ")
        return Look(not_yet, reason, signature, size, MovieError)
    if end is None:
        return Look(not_yet, "has no complete HDF5 superblock", signature, size)
    if size < end:
        reason = f"is truncated: has {size:,} bytes, its HDF5 end-of-file address is {end:,}"
        return Look(not_yet, reason, signature, size)
    problem = _open_problem(path)
    if problem is not None:
        locked = "lock" in problem or "already open" in problem
        reason = f"cannot be opened: {problem}"
        return Look("waiting" if locked else not_yet, reason, signature, size, MovieError)
    return Look("complete", "", signature, size, is_hdf5=True)


def _open_problem(path: Path) -> str | None:
    import h5py

    try:
        with h5py.File(path, "r"):
            return None
    except OSError as error:
        _raise_if_of_machine(error)
        return str(error)


def _raise_if_of_machine(error: OSError) -> None:
    """Do not blame a movie for what the machine lacks: without handles none can be opened."""
    stops = storage_error(error)
    if stops is not None:
        raise stops from error


def _signature(path: Path) -> tuple[int, ...]:
    values: list[int] = []
    for name in (path.name, *(path.name + suffix for suffix in PART_SUFFIXES)):
        try:
            status = path.with_name(name).stat()
        except OSError:
            values += (-1, -1)
        else:
            values += (status.st_size, status.st_mtime_ns)
    return tuple(values)


def _missing_reason(path: Path) -> str:
    for suffix in PART_SUFFIXES:
        part = path.with_name(path.name + suffix)
        try:
            size = part.stat().st_size
        except OSError:
            continue
        return f"is not there; {part.name} has {size:,} bytes"
    return "is not there"


def _error_page(path: Path, hdf5_by_name: bool) -> str | None:
    """Say that the file is a server's error page, or None."""
    head = _head(path, 64).lstrip().lower()
    if (hdf5_by_name and head.startswith(b"<")) or head.startswith(_ERROR_PAGE):
        text = head[:20].decode("ascii", "replace")
        return f"is not a movie but an error page (HTML or XML): it begins with {text!r}"
    return None


def _begins_as_hdf5(path: Path) -> bool:
    return _head(path, len(HDF5_SIGNATURE)) == HDF5_SIGNATURE


def _head(path: Path, n_bytes: int) -> bytes:
    with path.open("rb") as file:
        return file.read(n_bytes)


def _bytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size:,} bytes"
