"""One attempt of ascp: what it writes, how it failed, and whether another may help."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.download.aspera.process import StoppedError, read_tail, run_watched
from idrstream.download.aspera.text import AscpFailure, classify, quote
from idrstream.download.transports.errors import NotThereError
from idrstream.errors import ImageError, MovieError, TransientDownloadError
from idrstream.formats.complete import check_complete

if TYPE_CHECKING:
    from idrstream.download.aspera.keys import Keys
    from idrstream.download.aspera.options import AsperaOptions

logger = logging.getLogger("idrstream.download.aspera.transport")

PARTIAL_SUFFIX = ".partial"
_LEFTOVERS = (PARTIAL_SUFFIX, ".aspx", ".partial.aspx")


class AttemptError(Exception):
    """One attempt failed."""

    def __init__(self, failure: AscpFailure, said: str) -> None:
        super().__init__(f"{failure.kind}: {said}")
        self.failure = failure
        self.said = said


def run_attempt(
    command: Callable[[Path], list[str]],
    part: Path,
    name: str,
    options: AsperaOptions,
    check_stopped: Callable[[], None],
) -> None:
    """Call ascp once and prove what it brought complete.

    Parameters
    ----------
    command : callable
        Returns the argument list, given the folder for the log.
    part : Path
        The file that ascp writes.
    name : str
        Name of the movie.
    options : AsperaOptions
        Limits of time; whether every frame is decoded.
    check_stopped : callable
        Raises when the transfer is to end.

    Raises
    ------
    AttemptError
        If ascp failed, or was stopped, or the file is not whole.
    MovieError
        If the file is whole and something else than a movie.
    """

    def bytes_written() -> int:
        check_stopped()
        return _bytes_of(part)

    with tempfile.TemporaryDirectory(prefix="idrstream-ascp-") as folder:
        log_folder = Path(folder)
        try:
            said, returncode = run_watched(
                command(log_folder),
                bytes_written,
                timeout_s=options.timeout_s,
                stall_s=options.stall_s,
                poll_s=options.poll_s,
            )
        except StoppedError as error:
            stalled = AscpFailure("stopped", "yes", TransientDownloadError)
            raise AttemptError(stalled, str(error)) from error
        said += "".join(read_tail(path) for path in sorted(log_folder.iterdir()))
    failure = classify(said, returncode)
    if failure is not None:
        raise AttemptError(failure, quote(said) or f"exit status {returncode}, no words")
    try:
        check_complete(part, name=name)
        if options.deep:
            from idrstream.download.transports.deep import decode_all

            decode_all(part, name)
    except MovieError:
        part.unlink(missing_ok=True)
        raise
    except ImageError as error:
        # Exit 0 but not the whole file: seen with a server under load. Begin anew.
        part.unlink(missing_ok=True)
        remove_leftovers(part)
        short = AscpFailure("short file", "yes", TransientDownloadError)
        raise AttemptError(short, f"ascp ended well but {error}") from error


def worth_another(error: BaseException | None, keys: Keys) -> bool:
    """Tell whether another attempt may help after an error; takes the next key if need be."""
    if not isinstance(error, AttemptError):
        return False
    logger.info("ascp: %s", error)
    if error.failure.retry == "once":
        return keys.refused()
    return error.failure.retry == "yes"


def final_error(error: AttemptError, remote: str, tried: int) -> Exception:
    """Return what to raise when no attempt is left."""
    times = "once" if tried == 1 else f"{tried} times"
    advice = f"; {error.failure.advice}" if error.failure.advice else ""
    kind = NotThereError if error.failure.kind == "no such file" else error.failure.error
    return kind(
        f"ascp, tried {times}, did not bring {remote} ({error.failure.kind}): {error.said}{advice}"
    )


def _bytes_of(target: Path) -> int:
    """Return the bytes of the target and its partial file: what grows during a transfer."""
    total = 0
    for path in (target, target.with_name(target.name + PARTIAL_SUFFIX)):
        try:
            total += path.stat().st_size
        except OSError:
            continue
    return total


def remove_leftovers(target: Path) -> None:
    """Delete what ascp leaves beside a file."""
    for suffix in _LEFTOVERS:
        target.with_name(target.name + suffix).unlink(missing_ok=True)
