"""Several transports for the same files: if one fails, the next is tried."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from idrstream.download.client.errors import InterruptedDownloadError, joined
from idrstream.download.protocol import Fetched, RangeTransport, RemoteFile, Transport
from idrstream.errors import (
    ConfigError,
    ImageError,
    RemoteFileNotFoundError,
    StorageError,
    UserError,
)

logger = logging.getLogger("idrstream.download")

T = TypeVar("T")


class TransportChain(Transport):
    """Transports that replace each other; a `Transport` itself.

    A transport that failed is tried last for a while. One that cannot work at all, because its
    program or key is missing, is logged once and left out. A missing file does not count as a
    failure of the transport.

    Parameters
    ----------
    transports : sequence of Transport
        In order of preference, all with the same paths under their roots.
    cool_down_s : float
        For how long a transport that failed is tried last.
    clock : callable
        For tests.

    Raises
    ------
    ConfigError
        If there are no transports.
    """

    def __init__(
        self,
        transports: Sequence[Transport],
        *,
        cool_down_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not transports:
            msg = "a chain needs at least one transport"
            raise ConfigError(msg)
        self.transports = tuple(transports)
        self.name = " > ".join(transport.name for transport in transports)
        self._cool_down_s = cool_down_s
        self._clock = clock
        self._cooling_until: dict[int, float] = {}
        self._unusable: dict[int, UserError] = {}
        self._guard = threading.Lock()

    def fetch(self, remote: str, target: Path) -> Fetched:
        """Fetch one file by the first transport that can; see `Transport.fetch`."""
        fetched = self._first(lambda transport: transport.fetch(remote, target), remote)
        logger.info(
            "%s served by %s: %d bytes in %.1f s",
            remote, fetched.served_by, fetched.size_bytes, fetched.seconds,
        )  # fmt: skip
        return fetched

    def size(self, remote: str) -> int | None:
        """Return the size of a file from the first transport that states it."""

        def ask(transport: Transport) -> int | None:
            return transport.size(remote)

        return self._first(ask, remote, wanted=lambda size: size is not None)

    def open_ranges(self, remote: str, head_bytes: int) -> RemoteFile | None:
        """Open a file for reading by ranges by the first transport that supports them."""
        if not any(isinstance(transport, RangeTransport) for transport in self.transports):
            return None

        def ask(transport: Transport) -> RemoteFile | None:
            if isinstance(transport, RangeTransport):
                return transport.open_ranges(remote, head_bytes)
            return None

        return self._first(ask, remote, wanted=lambda file: file is not None)

    def interrupt(self) -> None:
        """Interrupt running transfers."""
        for transport in self.transports:
            transport.interrupt()

    def _first(
        self,
        ask: Callable[[Transport], T],
        remote: str,
        wanted: Callable[[T], bool] = lambda _: True,
    ) -> T:
        failures: list[tuple[str, Exception]] = []
        unwanted: list[T] = []
        for number, transport in self._order():
            try:
                answer = ask(transport)
            except (StorageError, InterruptedDownloadError):
                raise  # no other transport would do better
            except UserError as error:
                self._leave_out(number, error)
                failures.append((transport.name, error))
            except ImageError as error:
                if not isinstance(error, RemoteFileNotFoundError):
                    self._cool_down(number)
                logger.info("%s: not by %s: %s", remote, transport.name, error)
                failures.append((transport.name, error))
            else:
                if wanted(answer):
                    with self._guard:
                        self._cooling_until.pop(number, None)
                    return answer
                unwanted.append(answer)
        if unwanted:
            return unwanted[0]
        raise self._combined(failures, remote)

    def _order(self) -> Iterator[tuple[int, Transport]]:
        """Yield the usable transports, those that failed recently last."""
        with self._guard:
            now = self._clock()
            cooling = {number for number, until in self._cooling_until.items() if until > now}
            numbers = [n for n in range(len(self.transports)) if n not in self._unusable]
        for number in sorted(numbers, key=lambda n: (n in cooling, n)):
            yield number, self.transports[number]

    def _cool_down(self, number: int) -> None:
        with self._guard:
            self._cooling_until[number] = self._clock() + self._cool_down_s

    def _leave_out(self, number: int, error: UserError) -> None:
        with self._guard:
            known = number in self._unusable
            self._unusable[number] = error
        if not known:
            logger.warning("%s is left out: %s", self.transports[number].name, error)

    def _combined(self, failures: list[tuple[str, Exception]], remote: str) -> Exception:
        with self._guard:
            unusable = [
                (self.transports[number].name, error) for number, error in self._unusable.items()
            ]
        named = {name for name, _ in failures}
        failures = failures + [item for item in unusable if item[0] not in named]
        details = "; ".join(f"{name}: {error}" for name, error in failures)
        errors = [error for _, error in failures]
        if all(isinstance(error, UserError) for error in errors):
            return ConfigError(f"no source of the movies works: {details}")
        errors = [error for error in errors if not isinstance(error, UserError)]
        msg = f"{remote} could not be downloaded from any source: {details}"
        return joined(errors, msg)
