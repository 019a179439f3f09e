"""Whether a file is completely written; checked before anything reads it.

The size on disk is compared with the one that the source states. `h5py.is_hdf5` is true for a
truncated file, so the end-of-file address in HDF5's superblock is compared with the size, too (HDF5
File Format Specification 3.0, II.A); of TIFF, all offsets are::

    waiting ──▶ complete
       │
       └──────▶ wrong        an error page, too long, or truncated at its stated size
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from idrstream.errors import ImageError, IncompleteFileError, MovieError, storage_error
from idrstream.formats.cellh5.superblock import HDF5_SIGNATURE, hdf5_end_of_file
from idrstream.formats.tiff.complete import is_tiff_by, tiff_problem

HDF5_SUFFIXES = frozenset({".ch5", ".cellh5", ".h5", ".hdf5"})
PARTIAL_SUFFIXES = (".part", ".partial")
CONTROL_SUFFIXES = (".aspx", ".partial.aspx")

_ERROR_PAGE = (b"<!doctype html", b"<html")


@dataclass(frozen=True, slots=True)
class FileState:
    """The state of a file at one moment.

    Attributes
    ----------
    state : {"complete", "waiting", "wrong"}
        ``waiting`` may still become complete, ``wrong`` never will.
    reason : str
        What is missing or wrong; empty if complete.
    signature : tuple of int
        Sizes and modification times of the file and its partial file.
    size_bytes : int or None
        Size of the file; None if it does not exist.
    error : type
        The error to raise if the file stays in this state.
    is_proven : bool
        Whether the file's own structure was checked, too: of HDF5 and TIFF.
    """

    state: Literal["complete", "waiting", "wrong"]
    reason: str = ""
    signature: tuple[int, ...] = ()
    size_bytes: int | None = None
    error: type[ImageError] = IncompleteFileError
    is_proven: bool = False

    def check(self, path: Path, detail: str = "") -> None:
        """Raise `error` unless the file is complete."""
        if self.state != "complete":
            raise self.error(f"{path} {self.reason}{detail}")


def file_state(path: Path, size_bytes: int | None = None, *, name: str | None = None) -> FileState:
    """Return whether a file is complete now, or may become so.

    Parameters
    ----------
    path : Path
        The file.
    size_bytes : int, optional
        Size that the source states.
    name : str, optional
        Final name of a file that still has another one; its suffix tells the format.

    Returns
    -------
    FileState
        HDF5 is ``complete`` if the size agrees (if stated), the end-of-file address is reached
        and h5py opens it; TIFF if all its directories, strips, tiles and stated pages are there;
        other formats if they are not empty and the size agrees.
    """
    signature = _signature(path)
    try:
        return _state_of(path, size_bytes, path.stat().st_size, signature, name or path.name)
    except FileNotFoundError:
        return FileState("waiting", _missing_reason(path), signature)
    except OSError as error:
        _raise_if_of_machine(error)
        return FileState("waiting", f"cannot be read: {error.strerror or error}", signature)


def _state_of(
    path: Path,
    size_bytes: int | None,
    size: int,
    signature: tuple[int, ...],
    name: str,
) -> FileState:
    hdf5_by_name = Path(name).suffix.lower() in HDF5_SUFFIXES
    for suffix in CONTROL_SUFFIXES:
        if path.with_name(path.name + suffix).exists():
            reason = f"is still being transferred: {path.name}{suffix} exists"
            return FileState("waiting", reason, signature, size)
    page = _error_page(path, hdf5_by_name=hdf5_by_name)
    if page is not None:
        return FileState("wrong", page, signature, size, MovieError)
    if size_bytes is not None and size != size_bytes:
        reason = f"has {size:,} of {size_bytes:,} bytes"
        return FileState("waiting" if size < size_bytes else "wrong", reason, signature, size)
    if size == 0:
        return FileState("wrong" if size_bytes == 0 else "waiting", "is empty", signature, size)
    if hdf5_by_name or _head(path, len(HDF5_SIGNATURE)) == HDF5_SIGNATURE:
        return _hdf5_state(path, size, signature, final=size_bytes is not None)
    if is_tiff_by(name, _head(path, 4)):
        return _tiff_state(path, size, signature, name, final=size_bytes is not None)
    return FileState("complete", "", signature, size)


def check_complete(path: Path, size_bytes: int | None = None, *, name: str | None = None) -> None:
    """Raise if a file is not complete now; for the parameters see `file_state`.

    Raises
    ------
    IncompleteFileError
        If it is missing, too short or too long, or its end-of-file address is not reached.
    MovieError
        If it is something else: an error page, or not HDF5 though its name says so.
    """
    file_state(path, size_bytes, name=name).check(path.with_name(name or path.name))


def wait_until_complete(
    path: Path,
    *,
    size_bytes: int | None = None,
    timeout_s: float = 60.0,
    poll_s: float = 0.2,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until a file is completely written.

    An HDF5 file of stated size is complete as soon as `file_state` says so. All others must
    also stay unchanged for `poll_s`.

    Parameters
    ----------
    path : Path
        The file under its final name; it need not exist yet.
    size_bytes : int, optional
        Size that the source states.
    timeout_s : float
        Time limit, counted since the file or its partial file last grew: a slow transfer is
        waited for, a stalled one is not.
    poll_s : float
        Time between two checks.
    sleep, clock : callable
        For tests.

    Raises
    ------
    IncompleteFileError
        If the time limit passed, or the file is final and truncated.
    MovieError
        If it is something else: an error page, or not HDF5 though its name says so.
    """
    started = grown = clock()
    previous: FileState | None = None
    while True:
        now = file_state(path, size_bytes)
        unchanged = previous is not None and previous.signature == now.signature
        previous = now
        if now.state == "wrong":
            now.check(path)
        elif now.state == "complete" and (unchanged or (size_bytes is not None and now.is_proven)):
            return
        if not unchanged:
            grown = clock()
        elif clock() - grown >= timeout_s:
            break
        sleep(poll_s)
    now.check(
        path,
        f"; nothing of it has grown for {clock() - grown:.1f} s (size {_bytes(now.size_bytes)}, "
        f"expected {_bytes(size_bytes)}, waited {clock() - started:.1f} s)",
    )


def _hdf5_state(path: Path, size: int, signature: tuple[int, ...], *, final: bool) -> FileState:
    """Return the state of an HDF5 file; `final` if it has the size that its source states."""
    not_yet: Literal["wrong", "waiting"] = "wrong" if final else "waiting"
    try:
        end = hdf5_end_of_file(path)
    except MovieError as error:
        if not any(_head(path, len(HDF5_SIGNATURE))):
            reason = "begins with zeros: space was allocated for it, but it is not written yet"
            return FileState("waiting", reason, signature, size)
        reason = str(error).removeprefix(str(path)).lstrip(": ")
        return FileState(not_yet, reason, signature, size, MovieError)
    if end is None:
        return FileState(not_yet, "has no complete HDF5 superblock", signature, size)
    if size < end:
        reason = f"is truncated: has {size:,} bytes, its HDF5 end-of-file address is {end:,}"
        return FileState(not_yet, reason, signature, size)
    problem = _open_problem(path)
    if problem is not None:
        locked = "lock" in problem or "already open" in problem
        reason = f"cannot be opened: {problem}"
        return FileState("waiting" if locked else not_yet, reason, signature, size, MovieError)
    return FileState("complete", "", signature, size, is_proven=True)


def _tiff_state(
    path: Path, size: int, signature: tuple[int, ...], name: str, *, final: bool
) -> FileState:
    """Return the state of a TIFF file; `final` if it has the size that its source states."""
    problem = tiff_problem(path, name)
    if problem is None:
        return FileState("complete", "", signature, size, is_proven=True)
    if not any(_head(path, 4)):
        reason = "begins with zeros: space was allocated for it, but it is not written yet"
        return FileState("waiting", reason, signature, size)
    error = IncompleteFileError if problem.cut else MovieError
    return FileState("wrong" if final else "waiting", str(problem), signature, size, error)


def _open_problem(path: Path) -> str | None:
    import h5py

    try:
        with h5py.File(path, "r"):
            return None
    except OSError as error:
        _raise_if_of_machine(error)
        return str(error)


def _raise_if_of_machine(error: OSError) -> None:
    """Raise `StorageError` for errors of the machine, such as too many open files."""
    stops = storage_error(error)
    if stops is not None:
        raise stops from error


def _signature(path: Path) -> tuple[int, ...]:
    values: list[int] = []
    for name in (path.name, *(path.name + suffix for suffix in PARTIAL_SUFFIXES)):
        try:
            status = path.with_name(name).stat()
        except OSError:
            values += (-1, -1)
        else:
            values += (status.st_size, status.st_mtime_ns)
    return tuple(values)


def _missing_reason(path: Path) -> str:
    for suffix in PARTIAL_SUFFIXES:
        partial = path.with_name(path.name + suffix)
        try:
            return f"does not exist; {partial.name} has {partial.stat().st_size:,} bytes"
        except OSError:
            continue
    return "does not exist"


def _error_page(path: Path, *, hdf5_by_name: bool) -> str | None:
    """Return a reason if the file is a server's error page, else None."""
    head = _head(path, 64).lstrip().lower()
    if (hdf5_by_name and head.startswith(b"<")) or head.startswith(_ERROR_PAGE):
        text = head[:20].decode("ascii", "replace")
        return f"is not a movie but an error page (HTML or XML): it begins with {text!r}"
    return None


def _head(path: Path, n_bytes: int) -> bytes:
    with path.open("rb") as file:
        return file.read(n_bytes)


def _bytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size:,} bytes"
