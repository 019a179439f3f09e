"""Movies by Aspera's ``ascp``.

The client is proprietary and has to be installed by the user. It runs from an argument list
without a shell, with standard input closed, and its partial file is watched: a transfer that does
not grow is stopped and resumed.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from idrstream.config import DownloadSettings
from idrstream.download.aspera.attempt import (
    PARTIAL_SUFFIX,
    AttemptError,
    final_error,
    remove_leftovers,
    run_attempt,
    should_retry,
)
from idrstream.download.aspera.keys import Keys, check_key
from idrstream.download.client.connections import connection_to
from idrstream.download.client.errors import InterruptedDownloadError
from idrstream.download.protocol import Fetched, Transport
from idrstream.download.transports.partial import PART_SUFFIX, SIDECAR_SUFFIX, sync_folder
from idrstream.download.transports.source import check_remote
from idrstream.download.transports.transfer import write_sidecar
from idrstream.errors import ConfigError, DownloadError, MissingToolError
from idrstream.files import file_sha256

ARCHIVE_ROOT = "/pub/databases/IDR"


class AsperaTransport(Transport):
    """Transfers files of a study with ascp.

    Parameters
    ----------
    remote_root : str
        Folder on the server under which `fetch` finds its paths.
    settings : DownloadSettings
        The program (``aspera_path``), one or several keys (``aspera_key_path``), the server and
        the limits.
    sleep : callable, optional
        For tests: waits between two attempts.

    Raises
    ------
    ConfigError
        If program or key is not given, or the server's name cannot be used.
    """

    name = "aspera"

    def __init__(
        self,
        remote_root: str,
        settings: DownloadSettings,
        *,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        if settings.aspera_path is None or not settings.aspera_key_path:
            path = "download.aspera_path" if settings.aspera_path is None else ""
            key = "" if settings.aspera_key_path else "download.aspera_key_path"
            msg = f"{', '.join(filter(None, (path, key)))} missing: Aspera needs it"
            raise ConfigError(msg)
        keys = settings.aspera_key_path
        self.ascp_path = Path(settings.aspera_path).expanduser()
        self.key_paths = [
            Path(path).expanduser() for path in (keys if isinstance(keys, tuple) else [keys])
        ]
        self.remote_root = remote_root.rstrip("/")
        self.settings = settings
        # These become words of a command line, wherever the settings come from.
        for what, word in (
            ("user", settings.aspera_user),
            ("host", settings.aspera_host),
            ("rate", settings.aspera_rate),
        ):
            if not word or word.startswith("-") or any(c.isspace() or c in "@:" for c in word):
                msg = f"aspera {what} {word!r} is not usable"
                raise ConfigError(msg)
        self._sleep = sleep
        self._running: set[threading.Event] = set()

    def check(self) -> None:
        """Check that program and key exist, before any transfer.

        Raises
        ------
        MissingToolError
            If ascp is not installed or not executable.
        ConfigError
            If a key is missing or not readable.
        """
        if shutil.which(self.ascp_path) is None:
            what = "is not executable" if self.ascp_path.is_file() else "was not found"
            msg = (
                f"ascp {self.ascp_path} {what}; install IBM Aspera Connect or the ascp command "
                "line client and give the path of ascp, or use another method"
            )
            raise MissingToolError(msg)
        for path in self.key_paths:
            check_key(path)

    def command(
        self, remote: str, target: Path, log_folder: Path, key: Path | None = None
    ) -> list[str]:
        """Return the argument list that fetches `remote` to `target`."""
        settings = self.settings
        return [
            shutil.which(self.ascp_path) or str(self.ascp_path),
            "-T",
            *("-l", settings.aspera_rate),
            *("-P", str(settings.aspera_port)),
            *("-i", str((key or self.key_paths[0]).absolute())),
            *("-k", "2"),
            "--overwrite=diff",
            f"--partial-file-suffix={PARTIAL_SUFFIX}",
            "-q",
            *("-L", str(log_folder)),
            self._address(remote),
            str(target.absolute()),
        ]

    def size(self, remote: str) -> int | None:
        """Return None: ascp does not state the size of a file beforehand."""
        check_remote(remote)
        return None

    def fetch(self, remote: str, target: Path) -> Fetched:
        """Fetch one file, with retries that resume; see `Transport.fetch`.

        Returns
        -------
        Fetched
            With the size of the file on disk: ascp does not state that of the source.
        """
        self.check()
        check_remote(remote)
        interrupted = threading.Event()
        self._running.add(interrupted)
        try:
            with connection_to(
                self.settings.aspera_host,
                self.settings.connections_per_host,
                lambda: _raise_if(interrupted),
            ):
                return self._fetch(remote, target, interrupted)
        finally:
            self._running.discard(interrupted)

    def interrupt(self) -> None:
        """Interrupt running transfers."""
        for interrupted in list(self._running):
            interrupted.set()

    def _fetch(self, remote: str, target: Path, interrupted: threading.Event) -> Fetched:
        from tenacity import Retrying, wait_exponential

        settings = self.settings
        started = time.monotonic()

        def remaining_s() -> float:
            _raise_if(interrupted)
            return settings.total_timeout_s - (time.monotonic() - started)

        def wait(seconds: float) -> None:
            interrupted.wait(seconds)

        part = target.with_name(target.name + PART_SUFFIX)
        part.unlink(missing_ok=True)
        keys = Keys(self.key_paths)
        retrying = Retrying(
            stop=lambda state: (
                state.attempt_number >= settings.aspera_attempts or remaining_s() <= 0
            ),
            wait=wait_exponential(
                multiplier=2 * settings.retry_wait_s, max=settings.longest_retry_wait_s
            ),
            retry=lambda state: should_retry(
                state.outcome.exception() if state.outcome else None, keys
            ),
            sleep=self._sleep or wait,
            reraise=True,
        )
        try:
            retrying(
                run_attempt,
                lambda folder: self.command(remote, part, folder, keys.current),
                part,
                target.name,
                settings,
                remaining_s,
            )
            attempts = retrying.statistics["attempt_number"]
            fetched = self._fetched(part, attempts, time.monotonic() - started)
            if settings.sidecar:
                write_sidecar(target, self._address(remote), fetched)
            part.replace(target)
            sync_folder(target.parent)
        except BaseException as error:
            target.with_name(target.name + SIDECAR_SUFFIX).unlink(missing_ok=True)
            if isinstance(error, AttemptError):
                attempts = retrying.statistics["attempt_number"]
                raise final_error(error, remote, self.settings.aspera_host, attempts) from None
            raise
        finally:
            part.unlink(missing_ok=True)
            remove_leftovers(part)
        return fetched

    def _fetched(self, part: Path, attempts: int, seconds: float) -> Fetched:
        """Flush the file to disk and compute its digest."""
        try:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            return Fetched(
                part.stat().st_size,
                self.name,
                requests=attempts,
                sha256=file_sha256(part),
                seconds=seconds,
            )
        except OSError as error:
            msg = f"{part} cannot be read back: {error.strerror}"
            raise DownloadError(msg) from error

    def _address(self, remote: str) -> str:
        path = f"{self.remote_root}/{remote}" if self.remote_root else remote
        return f"{self.settings.aspera_user}@{self.settings.aspera_host}:{path}"


def _raise_if(interrupted: threading.Event) -> None:
    if interrupted.is_set():
        msg = "the transfer was interrupted"
        raise InterruptedDownloadError(msg)
