"""Several ways to the same files: the next one is taken when one fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from idrstream.download.protocol import RangeTransport, Transport
from idrstream.download.transports.errors import InterruptedDownloadError, NotThereError
from idrstream.download.transports.fetched import Fetched
from idrstream.errors import (
    ConfigError,
    DownloadError,
    ImageError,
    IncompleteFileError,
    MovieError,
    StorageError,
    TransientDownloadError,
    UserError,
)

if TYPE_CHECKING:
    from idrstream.download.protocol import RemoteFile

logger = logging.getLogger("idrstream.download")

T = TypeVar("T")


class TransportChain:
    """Transports that stand in for each other; itself a `Transport`.

    A way whose server failed rests: it is asked again when nothing else works, or after a
    while. One that cannot work at all (its program or key is missing) is told once in the log
    and left out. A file that one way does not have says nothing against that way.

    Parameters
    ----------
    transports : sequence of Transport
        In order of preference, all with the same paths under their roots.
    cool_down_s : float
        For how long a way rests.
    clock : callable
        For tests.

    Raises
    ------
    ConfigError
        If there are none.
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
        self._cool_down_s = cool_down_s
        self._clock = clock
        self._rests_until: dict[int, float] = {}
        self._useless: dict[int, UserError] = {}
        self._guard = threading.Lock()

    @property
    def name(self) -> str:
        """The names of its links."""
        return " > ".join(transport.name for transport in self.transports)

    def fetch(self, remote: str, target: Path) -> Fetched:
        """Bring one file by the first way that can; see `Transport.fetch`."""
        fetched = self._first(lambda transport: transport.fetch(remote, target), remote)
        logger.info(
            "%s served by %s: %d bytes in %.1f s",
            remote, fetched.served_by, fetched.size_bytes, fetched.seconds,
        )  # fmt: skip
        return fetched

    def size(self, remote: str) -> int | None:
        """Return the size of a file as the first way that can tell states it."""

        def ask(transport: Transport) -> int | None:
            return transport.size(remote)

        return self._first(ask, remote, wanted=lambda size: size is not None)

    def open_ranges(self, remote: str, head_bytes: int) -> RemoteFile | None:
        """Open a file for reading by ranges by the first way that has them."""
        if not any(isinstance(transport, RangeTransport) for transport in self.transports):
            return None

        def ask(transport: Transport) -> RemoteFile | None:
            if isinstance(transport, RangeTransport):
                return transport.open_ranges(remote, head_bytes)
            return None

        return self._first(ask, remote, wanted=lambda file: file is not None)

    def interrupt(self) -> None:
        """End what is under way at once."""
        for transport in self.transports:
            interrupt = getattr(transport, "interrupt", None)
            if interrupt is not None:
                interrupt()

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
                raise  # no other way would do better
            except UserError as error:
                self._leave_out(number, error)
                failures.append((transport.name, error))
            except ImageError as error:
                if not isinstance(error, NotThereError):
                    self._rest(number)
                logger.info("%s: not by %s: %s", remote, transport.name, error)
                failures.append((transport.name, error))
            else:
                if wanted(answer):
                    with self._guard:
                        self._rests_until.pop(number, None)
                    return answer
                unwanted.append(answer)
        if unwanted:
            return unwanted[0]
        raise self._together(failures, remote)

    def _order(self) -> Iterator[tuple[int, Transport]]:
        """Yield the ways to try: those at rest last, those left out never."""
        with self._guard:
            now = self._clock()
            resting = {number for number, until in self._rests_until.items() if until > now}
            numbers = [n for n in range(len(self.transports)) if n not in self._useless]
        for number in sorted(numbers, key=lambda n: (n in resting, n)):
            yield number, self.transports[number]

    def _rest(self, number: int) -> None:
        with self._guard:
            self._rests_until[number] = self._clock() + self._cool_down_s

    def _leave_out(self, number: int, error: UserError) -> None:
        with self._guard:
            known = number in self._useless
            self._useless[number] = error
        if not known:
            logger.warning("%s is left out: %s", self.transports[number].name, error)

    def _together(self, failures: list[tuple[str, Exception]], remote: str) -> Exception:
        with self._guard:
            useless = [
                (self.transports[number].name, error) for number, error in self._useless.items()
            ]
        named = {name for name, _ in failures}
        failures = failures + [item for item in useless if item[0] not in named]
        words = "; ".join(f"{name}: {error}" for name, error in failures)
        errors = [error for _, error in failures]
        if all(isinstance(error, UserError) for error in errors):
            return ConfigError(f"no way to the movies works: {words}")
        errors = [error for error in errors if not isinstance(error, UserError)]
        msg = f"{remote} could not be had in any way: {words}"
        # What says most of the file: one that came and was wrong, then one that may yet come.
        for kind in (MovieError, IncompleteFileError, TransientDownloadError):
            if any(isinstance(error, kind) for error in errors):
                return kind(msg)
        if all(isinstance(error, NotThereError) for error in errors):
            return NotThereError(msg)
        return DownloadError(msg)
