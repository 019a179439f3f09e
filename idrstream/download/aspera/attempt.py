"""One attempt of ascp: its output, its failure, and whether to retry."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.download.aspera.process import StoppedError, TimeLimitError, read_tail, run_watched
from idrstream.download.aspera.text import AscpFailure, classify, last_words
from idrstream.errors import ImageError, MovieError, RemoteFileNotFoundError, TransientDownloadError
from idrstream.formats.complete import check_complete

if TYPE_CHECKING:
    from idrstream.config import DownloadSettings
    from idrstream.download.aspera.keys import Keys

logger = logging.getLogger("idrstream.download.aspera.transport")

PARTIAL_SUFFIX = ".partial"
_LEFTOVERS = (PARTIAL_SUFFIX, ".aspx", ".partial.aspx")


class AttemptError(Exception):
    """One attempt failed."""

    def __init__(self, failure: AscpFailure, output: str) -> None:
        super().__init__(f"{failure.kind}: {output}")
        self.failure = failure
        self.output = output


def run_attempt(
    command: Callable[[Path], list[str]],
    part: Path,
    name: str,
    settings: DownloadSettings,
    remaining_s: Callable[[], float],
) -> None:
    """Call ascp once and verify the file.

    Parameters
    ----------
    command : callable
        Returns the argument list, given the folder for the log.
    part : Path
        The file that ascp writes.
    name : str
        Name of the movie.
    settings : DownloadSettings
        Limits of time; whether to decode every frame.
    remaining_s : callable
        Returns what is left of the time for this file; raises to interrupt the transfer.

    Raises
    ------
    AttemptError
        If ascp failed or was stopped, or the file is incomplete.
    MovieError
        If the file is complete but not a movie.
    """

    def bytes_written() -> int:
        remaining_s()
        return _bytes_of(part)

    with tempfile.TemporaryDirectory(prefix="idrstream-ascp-") as folder:
        log_folder = Path(folder)
        try:
            output, returncode = run_watched(
                command(log_folder),
                bytes_written,
                timeout_s=remaining_s(),
                # Nothing grows while ascp connects.
                stall_s=settings.connect_timeout_s + settings.stall_timeout_s,
            )
        except TimeLimitError as error:
            limit = f"not finished within {settings.total_timeout_s:g} s, {error}"
            stopped = AscpFailure("stopped", "yes", TransientDownloadError)
            raise AttemptError(stopped, limit) from error
        except StoppedError as error:
            stalled = AscpFailure("stopped", "yes", TransientDownloadError)
            raise AttemptError(stalled, str(error)) from error
        output += "".join(read_tail(path) for path in sorted(log_folder.iterdir()))
    failure = classify(output, returncode)
    if failure is not None:
        raise AttemptError(failure, last_words(output) or f"exit status {returncode}, no message")
    try:
        check_complete(part, name=name)
        if settings.deep_verify:
            from idrstream.formats.deep import decode_all

            decode_all(part, name)
    except MovieError:
        part.unlink(missing_ok=True)
        raise
    except ImageError as error:
        # Exit status 0 but a short file happens with a busy server. Start over.
        part.unlink(missing_ok=True)
        remove_leftovers(part)
        short = AscpFailure("short file", "yes", TransientDownloadError)
        raise AttemptError(short, f"ascp succeeded but {error}") from error


def should_retry(error: BaseException | None, keys: Keys) -> bool:
    """Return whether to retry after an error; switch to the next key if need be."""
    if not isinstance(error, AttemptError):
        return False
    logger.info("ascp: %s", error)
    if error.failure.retry == "once":
        return keys.refused()
    return error.failure.retry == "yes"


def final_error(error: AttemptError, remote: str, host: str, tried: int) -> Exception:
    """Return the error to raise when no attempt is left."""
    times = "once" if tried == 1 else f"{tried} times"
    advice = f"; {error.failure.advice}" if error.failure.advice else ""
    kind = RemoteFileNotFoundError if error.failure.kind == "no such file" else error.failure.error
    return kind(
        f"ascp, tried {times}, did not fetch {remote} from {host} "
        f"({error.failure.kind}): {error.output}{advice}"
    )


def _bytes_of(target: Path) -> int:
    """Return the bytes of the target and its partial file, which grow during a transfer."""
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
