"""One way of bringing a file that survives what networks do; every transport stands on it.

The bytes go to ``<name>.part``. When the connection breaks, stalls or ends early, the next
attempt asks for the rest of the same version; when the file changed meanwhile, it begins anew.
Only a file whose size, end of file and digest (as far as its source states one) are right, and
which is on the disk, gets its final name. Whatever fails leaves nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from idrstream.download.transports.errors import InterruptedDownloadError, SpoiledError
from idrstream.download.transports.fetched import Fetched
from idrstream.download.transports.gate import connection_to
from idrstream.download.transports.part import SIDECAR_SUFFIX, PartFile, write_json
from idrstream.download.transports.retry import try_again
from idrstream.download.transports.source import Answer, Source, check_remote
from idrstream.errors import (
    ConfigError,
    DownloadError,
    IncompleteFileError,
    MovieError,
    TransientDownloadError,
)
from idrstream.formats.complete import check_complete

logger = logging.getLogger("idrstream.download")

_PROGRESS_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """Limits of a transfer.

    Attributes
    ----------
    connect_timeout_s, stall_timeout_s, total_timeout_s : float
        Time limits for a connection, between two pieces of content, and for the whole file
        with all its attempts.
    attempts : int
        Attempts in a row that bring nothing new before a file is given up.
    wait_s, longest_wait_s : float
        Pause before the second attempt; it doubles, up to the longest, with some chance in it.
    connections_per_host : int
        Connections to one host at a time, over all threads and transports.
    checkpoint_bytes : int
        After so many bytes what is there is brought to the disk and noted, for a later run.
    deep : bool
        Decode every frame of a movie before it is accepted.
    sidecar : bool
        Write ``<name>.source.json``: address, size, version, SHA-256, time, transport.
    """

    connect_timeout_s: float = 15.0
    stall_timeout_s: float = 60.0
    total_timeout_s: float = 3600.0
    attempts: int = 5
    wait_s: float = 1.0
    longest_wait_s: float = 60.0
    connections_per_host: int = 4
    checkpoint_bytes: int = 8 << 20
    deep: bool = False
    sidecar: bool = True

    def __post_init__(self) -> None:
        numbers = (
            "connect_timeout_s", "stall_timeout_s", "total_timeout_s", "attempts",
            "connections_per_host", "checkpoint_bytes",
        )  # fmt: skip
        for name in numbers:
            if not getattr(self, name) > 0:
                msg = f"{name} must be above zero, not {getattr(self, name)}"
                raise ConfigError(msg)


class Transfers:
    """Brings files from a source; safe to use from several threads for different targets.

    Parameters
    ----------
    source : Source
        Where from.
    options : TransferOptions
        Limits.
    sleep : callable, optional
        For tests: waits between two attempts.
    """

    def __init__(
        self,
        source: Source,
        options: TransferOptions,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.source = source
        self.options = options
        self._sleep = sleep
        self._running: set[_Transfer] = set()
        self._guard = threading.Lock()

    def fetch(self, remote: str, target: Path) -> Fetched:
        """Bring one file; see `Transport.fetch`."""
        check_remote(remote)
        transfer = _Transfer(self.source, self.options, remote, target, self._sleep)
        with self._guard:
            self._running.add(transfer)
        try:
            return transfer.run()
        finally:
            with self._guard:
                self._running.discard(transfer)

    def interrupt(self) -> None:
        """End what is under way at once; called from another thread. Later calls work."""
        with self._guard:
            running = list(self._running)
        for transfer in running:
            transfer.interrupt()


class _ProofError(Exception):
    """All of a file came, and it is not what it should be."""

    def __init__(self, why: Exception, *, final: bool) -> None:
        super().__init__(str(why))
        self.why = why
        self.final = final


class _Transfer:
    """One file on its way."""

    def __init__(
        self,
        source: Source,
        options: TransferOptions,
        remote: str,
        target: Path,
        sleep: Callable[[float], None] | None,
    ) -> None:
        self._source = source
        self._options = options
        self._remote = remote
        self._target = target
        self._address = source.address(remote)
        self._stopped = threading.Event()
        self._sleep = sleep or self._wait
        self._answer: Answer | None = None
        self._moved = self._requests = self._idle = 0
        self._furthest = 0
        self._refused: set[str] = set()
        self._started = time.monotonic()

    def interrupt(self) -> None:
        self._stopped.set()
        answer = self._answer
        if answer is not None:
            answer.abort()

    def run(self) -> Fetched:
        part = PartFile(self._target, self._address, self._options.checkpoint_bytes)
        self._furthest = part.have_bytes
        try:
            try_again(
                partial(self._attempt, part),
                may_pass=_may_pass,
                give_up=self._give_up,
                wait_s=self._options.wait_s,
                longest_wait_s=self._options.longest_wait_s,
                sleep=self._sleep,
            )
            fetched = self._fetched(part)
            if self._options.sidecar:
                write_sidecar(self._target, self._address, fetched)
            part.publish()
        except BaseException as error:
            self._target.with_name(self._target.name + SIDECAR_SUFFIX).unlink(missing_ok=True)
            if isinstance(error, _ProofError):
                raise type(error.why)(self._tried(error.why)) from error
            if type(error) is TransientDownloadError:
                raise TransientDownloadError(self._tried(error)) from error
            raise
        finally:
            part.discard()
        return fetched

    def _tried(self, error: BaseException) -> str:
        return f"{error} (tried {self._requests} times)" if self._requests > 1 else str(error)

    def _fetched(self, part: PartFile) -> Fetched:
        return Fetched(
            part.have_bytes,
            self._source.name,
            self._moved,
            self._requests,
            part.version,
            part.sha256,
            self._seconds(),
        )

    def _attempt(self, part: PartFile) -> None:
        with connection_to(self._source.host, self._options.connections_per_host, self._check):
            self._check()
            self._requests += 1
            digests = self._receive(part)
        part.flush()
        try:
            self._prove(part, digests)
        except (DownloadError, IncompleteFileError, MovieError) as error:
            # All of it came, and it is wrong: nothing of it can be trusted. When the very same
            # comes a second time, the source has it so.
            digest = part.sha256
            part.restart()
            final = digest in self._refused
            self._refused.add(digest)
            raise _ProofError(error, final=final) from error

    def _prove(self, part: PartFile, digests: dict[str, str]) -> None:
        for kind, stated in digests.items():
            if part.digest(kind) != stated.lower():
                msg = f"{self._address}: its {kind} is not the one that its source states"
                raise TransientDownloadError(msg)
        check_complete(part.path, part.stated_bytes, name=self._target.name)
        if self._options.deep:
            from idrstream.download.transports.deep import decode_all

            decode_all(part.path, self._target.name)

    def _receive(self, part: PartFile) -> dict[str, str]:
        """Append what the source sends; return the digests that it states."""
        if part.version and part.have_bytes == part.stated_bytes:
            part.restart()  # a crash came between the last byte and its proof
        answer = self._source.open(self._remote, part.have_bytes, part.version)
        self._answer = answer
        try:
            self._check()
            self._agree(answer, part)
            for block in answer.blocks:
                self._moved += len(block)
                part.append(block)
                self._check()
                if answer.size_bytes is not None and part.have_bytes > answer.size_bytes:
                    msg = f"{self._address}: more than the {answer.size_bytes:,} bytes it has came"
                    raise SpoiledError(msg)
        except SpoiledError:
            part.restart()
            raise
        except DownloadError:
            self._check()  # an interrupted connection looks like a broken one
            raise
        finally:
            self._answer = None
            answer.close()
            if part.have_bytes >= self._furthest + _PROGRESS_BYTES:
                self._idle = 0  # something new came: the attempts begin to count anew
                self._furthest = part.have_bytes
        self._check()
        if answer.size_bytes is not None and part.have_bytes < answer.size_bytes:
            msg = (
                f"{self._address}: the connection ended after {part.have_bytes:,} of "
                f"{answer.size_bytes:,} bytes"
            )
            raise TransientDownloadError(msg)
        return dict(answer.digests)

    def _agree(self, answer: Answer, part: PartFile) -> None:
        """Make the part fit what the source is about to send."""
        if answer.start == 0:
            part.restart()
            part.version, part.stated_bytes = answer.version, answer.size_bytes
            return
        same = (answer.version, answer.size_bytes) == (part.version, part.stated_bytes)
        if answer.start != part.have_bytes or not same:
            msg = f"{self._address} changed while it was transferred"
            raise SpoiledError(msg)

    def _check(self) -> None:
        if self._stopped.is_set():
            msg = f"{self._address}: the transfer was interrupted"
            raise InterruptedDownloadError(msg)
        if self._seconds() > self._options.total_timeout_s:
            msg = f"{self._address} did not arrive within {self._options.total_timeout_s:g} s"
            raise TransientDownloadError(msg)

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _give_up(self, _attempts: int, error: BaseException) -> bool:
        logger.info("%s: attempt %d: %s", self._target.name, self._requests, error)
        self._idle += 1
        too_late = self._seconds() > self._options.total_timeout_s
        return too_late or self._stopped.is_set() or self._idle >= self._options.attempts

    def _wait(self, seconds: float) -> None:
        self._stopped.wait(seconds)


def write_sidecar(target: Path, address: str, fetched: Fetched) -> None:
    """Write where a file came from beside it."""
    content = {
        "address": address,
        "size_bytes": fetched.size_bytes,
        "etag": fetched.etag,
        "sha256": fetched.sha256,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "served_by": fetched.served_by,
    }
    write_json(target.with_name(target.name + SIDECAR_SUFFIX), content)


@contextmanager
def network_errors(address: str, *kinds: type[BaseException]) -> Iterator[None]:
    """Turn a library's errors into `TransientDownloadError`."""
    try:
        yield
    except DownloadError:
        raise
    except kinds as error:
        msg = f"{address}: {type(error).__name__}: {error}"
        raise TransientDownloadError(msg) from error


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, InterruptedDownloadError):
        return False
    if isinstance(error, _ProofError):
        return not error.final
    return isinstance(error, TransientDownloadError)
