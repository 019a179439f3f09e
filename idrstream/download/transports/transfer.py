"""Transfers that survive broken networks; the HTTP, FTP, S3 and local transports use them.

The bytes go to ``<name>.part``. If the connection breaks, stalls or ends early, the next attempt
asks for the rest of the same version; if the file changed meanwhile, it starts over. A file gets
its final name only when its size, its end and its digest (as far as its source states one) are
right and it is flushed to disk. A failed transfer leaves nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from idrstream.config import DownloadSettings
from idrstream.download.client.connections import connection_to
from idrstream.download.client.errors import (
    InterruptedDownloadError,
    PartialFileInvalidError,
    TooLargeError,
)
from idrstream.download.client.pool import ended_after
from idrstream.download.client.retry import may_pass, with_retries
from idrstream.download.protocol import Fetched, Transport
from idrstream.download.transports.partial import SIDECAR_SUFFIX, PartialFile, write_json
from idrstream.download.transports.source import Answer, check_remote
from idrstream.errors import (
    DownloadError,
    IncompleteFileError,
    MovieError,
    TransientDownloadError,
)
from idrstream.formats.complete import check_complete
from idrstream.text import format_size, parse_size

logger = logging.getLogger("idrstream.download")

_PROGRESS_BYTES = 64 * 1024


class SourceTransport(Transport):
    """A transport that reads from a server or folder at any byte offset.

    Subclasses implement `address`, `open` and `size`. Safe to use from several threads for
    different targets.

    Parameters
    ----------
    name : str
        Short name of the transport.
    host : str
        Host whose connections are limited; empty for no limit.
    settings : DownloadSettings, optional
        Limits.
    retry_scale : float
        Factor of the pauses between attempts.
    sleep : callable, optional
        For tests: waits between two attempts.
    """

    def __init__(
        self,
        name: str,
        host: str,
        settings: DownloadSettings | None,
        *,
        retry_scale: float = 1.0,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.name = name
        self.host = host
        self.settings = settings = settings or DownloadSettings()
        self._limits = replace(
            settings,
            retry_wait_s=settings.retry_wait_s * retry_scale,
            longest_retry_wait_s=settings.longest_retry_wait_s * retry_scale,
        )
        self._sleep = sleep
        self._running: set[_Transfer] = set()
        self._guard = threading.Lock()

    @abstractmethod
    def address(self, remote: str) -> str:
        """Return the address of a file for messages and the sidecar, without secrets."""

    @abstractmethod
    def open(self, remote: str, start: int, version: str) -> Answer:
        """Open a file for reading.

        Parameters
        ----------
        remote : str
            Path under the root.
        start : int
            First byte wanted.
        version : str
            Version of the first `start` bytes; if the file has another one now, the answer
            starts at 0.

        Raises
        ------
        RemoteFileNotFoundError
            If there is no such file.
        DownloadError, TransientDownloadError
            If it cannot be read.
        """

    def fetch(self, remote: str, target: Path) -> Fetched:
        """Transfer one file; see `Transport.fetch`."""
        check_remote(remote)
        transfer = _Transfer(self, self._limits, remote, target, self._sleep)
        with self._guard:
            self._running.add(transfer)
        try:
            return transfer.run()
        finally:
            with self._guard:
                self._running.discard(transfer)

    def interrupt(self) -> None:
        """Interrupt running transfers; called from another thread. Later calls work."""
        with self._guard:
            running = list(self._running)
        for transfer in running:
            transfer.interrupt()


class _VerificationError(Exception):
    """All of a file was received, and it is wrong."""

    def __init__(self, why: Exception, *, final: bool) -> None:
        super().__init__(str(why))
        self.why = why
        self.final = final


class _Transfer:
    """One transfer in progress."""

    def __init__(
        self,
        source: SourceTransport,
        settings: DownloadSettings,
        remote: str,
        target: Path,
        sleep: Callable[[float], None] | None,
    ) -> None:
        self._source = source
        self._settings = settings
        self._remote = remote
        self._target = target
        self._address = source.address(remote)
        self._interrupted = threading.Event()
        self._sleep = sleep or self._wait
        self._answer: Answer | None = None
        self._moved = self._requests = 0
        self._fruitless = 0  # attempts in a row without new bytes
        self._furthest = 0
        self._refused: set[str] = set()
        self._started = time.monotonic()
        self._most = parse_size(settings.largest_file, "largest_file")

    def interrupt(self) -> None:
        self._interrupted.set()
        answer = self._answer
        if answer is not None:
            answer.abort()

    def run(self) -> Fetched:
        part = PartialFile(self._target, self._address)
        self._furthest = part.have_bytes
        try:
            with_retries(
                partial(self._attempt, part),
                self._settings,
                may_pass=_may_pass,
                give_up=self._give_up,
                sleep=self._sleep,
            )
            fetched = self._fetched(part)
            if self._settings.sidecar:
                write_sidecar(self._target, self._address, fetched)
            part.publish()
        except BaseException as error:
            self._target.with_name(self._target.name + SIDECAR_SUFFIX).unlink(missing_ok=True)
            if isinstance(error, _VerificationError):
                raise type(error.why)(self._tried(error.why)) from error
            if type(error) is TransientDownloadError:
                raise TransientDownloadError(self._tried(error)) from error
            raise
        finally:
            part.discard()
        return fetched

    def _tried(self, error: BaseException) -> str:
        return f"{error} (tried {self._requests} times)" if self._requests > 1 else str(error)

    def _fetched(self, part: PartialFile) -> Fetched:
        return Fetched(
            part.have_bytes,
            self._source.name,
            self._moved,
            self._requests,
            part.version,
            part.sha256,
            self._seconds(),
        )

    def _attempt(self, part: PartialFile) -> None:
        with connection_to(self._source.host, self._settings.connections_per_host, self._check):
            self._check()
            self._requests += 1
            digests = self._receive(part)
        part.flush()
        try:
            self._verify(part, digests)
        except (DownloadError, IncompleteFileError, MovieError) as error:
            # The whole file is wrong, so none of it can be trusted. If the same bytes come a
            # second time, the file is wrong at its source.
            digest = part.sha256
            part.restart()
            final = digest in self._refused
            self._refused.add(digest)
            raise _VerificationError(error, final=final) from error

    def _verify(self, part: PartialFile, digests: dict[str, str]) -> None:
        for kind, stated in digests.items():
            if part.digest(kind) != stated.lower():
                msg = f"{self._address}: its {kind} differs from the one that its source states"
                raise TransientDownloadError(msg)
        check_complete(part.path, part.stated_bytes, name=self._target.name)
        if self._settings.deep_verify:
            from idrstream.formats.deep import decode_all

            decode_all(part.path, self._target.name)

    def _receive(self, part: PartialFile) -> dict[str, str]:
        """Append what the source sends; return the digests that it states."""
        if part.version and part.have_bytes == part.stated_bytes:
            part.restart()  # a crash after the last byte, before its verification
        answer = self._source.open(self._remote, part.have_bytes, part.version)
        self._answer = answer
        try:
            self._check()
            self._match(answer, part)
            self._check_size(answer.size_bytes)
            left_s = self._settings.total_timeout_s - self._seconds()
            with ended_after(left_s, answer.abort):
                for block in answer.blocks:
                    self._moved += len(block)
                    self._check_size(part.have_bytes + len(block))
                    part.append(block)
                    self._check()
                    if answer.size_bytes is not None and part.have_bytes > answer.size_bytes:
                        msg = f"{self._address}: received more than its {answer.size_bytes:,} bytes"
                        raise PartialFileInvalidError(msg)
        except PartialFileInvalidError:
            part.restart()
            raise
        except DownloadError:
            self._check()  # an interrupted connection looks like a broken one
            raise
        finally:
            self._answer = None
            answer.close()
            if part.have_bytes >= self._furthest + _PROGRESS_BYTES:
                self._fruitless = 0
                self._furthest = part.have_bytes
        self._check()
        if answer.size_bytes is not None and part.have_bytes < answer.size_bytes:
            msg = (
                f"{self._address}: the connection ended after {part.have_bytes:,} of "
                f"{answer.size_bytes:,} bytes"
            )
            raise TransientDownloadError(msg)
        return dict(answer.digests)

    def _match(self, answer: Answer, part: PartialFile) -> None:
        """Make the partial file match what the source is about to send."""
        if answer.start == 0:
            part.restart()
            part.version, part.stated_bytes = answer.version, answer.size_bytes
            return
        same = (answer.version, answer.size_bytes) == (part.version, part.stated_bytes)
        if answer.start != part.have_bytes or not same:
            msg = f"{self._address} changed while it was transferred"
            raise PartialFileInvalidError(msg)

    def _check_size(self, size_bytes: int | None) -> None:
        if self._most is not None and size_bytes is not None and size_bytes > self._most:
            msg = (
                f"{self._address} has more than {format_size(self._most)}, the largest file that "
                "is downloaded; is it a movie, set download.largest_file"
            )
            raise TooLargeError(msg)

    def _check(self) -> None:
        if self._interrupted.is_set():
            msg = f"{self._address}: the transfer was interrupted"
            raise InterruptedDownloadError(msg)
        if self._seconds() > self._settings.total_timeout_s:
            msg = f"{self._address} did not arrive within {self._settings.total_timeout_s:g} s"
            raise TransientDownloadError(msg)

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _give_up(self, _attempts: int, error: BaseException) -> bool:
        logger.info("%s: attempt %d: %s", self._target.name, self._requests, error)
        self._fruitless += 1
        return (
            self._seconds() > self._settings.total_timeout_s
            or self._interrupted.is_set()
            or self._fruitless >= self._settings.download_attempts
        )

    def _wait(self, seconds: float) -> None:
        self._interrupted.wait(seconds)


def write_sidecar(target: Path, address: str, fetched: Fetched) -> None:
    """Write the origin of a file beside it."""
    content = {
        "address": address,
        "size_bytes": fetched.size_bytes,
        "etag": fetched.etag,
        "sha256": fetched.sha256,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "served_by": fetched.served_by,
    }
    write_json(target.with_name(target.name + SIDECAR_SUFFIX), content)


def _may_pass(error: BaseException) -> bool:
    return not error.final if isinstance(error, _VerificationError) else may_pass(error)
