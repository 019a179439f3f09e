"""Movies by Aspera's ``ascp``.

The client is proprietary and has to be installed by the user. It is run as an argument list
without a shell, its standard input is closed, and its partial file is watched: a transfer that
does not grow is stopped and resumed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from idrstream.download.aspera.attempt import (
    PARTIAL_SUFFIX,
    AttemptError,
    final_error,
    remove_leftovers,
    run_attempt,
    worth_another,
)
from idrstream.download.aspera.keys import Keys, check_key
from idrstream.download.aspera.options import AsperaOptions
from idrstream.download.downloader import TransportDownloader
from idrstream.download.locate.table import TableLocator
from idrstream.download.transports.errors import InterruptedDownloadError
from idrstream.download.transports.fetched import Fetched
from idrstream.download.transports.gate import connection_to
from idrstream.download.transports.part import PART_SUFFIX, SIDECAR_SUFFIX, sync_folder
from idrstream.download.transports.source import check_remote
from idrstream.download.transports.transfer import write_sidecar
from idrstream.errors import ConfigError, DownloadError, MissingToolError
from idrstream.screen.study.idr0013 import IDR0013_STUDY, Idr0013Locator, PlateScreens

ARCHIVE_ROOT = "/pub/databases/IDR"
_BLOCK_BYTES = 1 << 20
_STUDIES = {"idr0013": IDR0013_STUDY}


class AsperaTransport:
    """Moves files of a study with ascp.

    Parameters
    ----------
    ascp_path : Path or str
        The ``ascp`` program, or its name if it is on the PATH.
    key_path : Path or str, or several
        The private key that the archive hands out; of several (RSA, DSA) the next one is tried
        when the server refuses one.
    remote_root : str
        Folder on the server under which `fetch` finds its paths.
    options : AsperaOptions, optional
        How to call ascp.
    sleep : callable
        For tests: waits between two attempts.
    """

    name = "aspera"

    def __init__(
        self,
        ascp_path: Path | str,
        key_path: Path | str | Sequence[Path | str],
        *,
        remote_root: str = f"{ARCHIVE_ROOT}/{IDR0013_STUDY}",
        options: AsperaOptions | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self.ascp_path = Path(ascp_path).expanduser()
        given = [key_path] if isinstance(key_path, (str, Path)) else list(key_path)
        if not given:
            msg = "aspera needs a key"
            raise ConfigError(msg)
        self.key_paths = [Path(path).expanduser() for path in given]
        self.remote_root = remote_root.rstrip("/")
        self.options = options or AsperaOptions()
        self._sleep = sleep
        self._running: set[threading.Event] = set()

    def check(self) -> None:
        """Check that program and key are there, before any transfer.

        Raises
        ------
        MissingToolError
            If ascp is not installed or not executable.
        ConfigError
            If the key is missing or not readable.
        """
        if shutil.which(self.ascp_path) is None:
            what = "is not executable" if self.ascp_path.is_file() else "was not found"
            msg = (
                f"ascp {self.ascp_path} {what}; install IBM Aspera Connect or the ascp command "
                "line client and give the path of ascp, or use another downloader"
            )
            raise MissingToolError(msg)
        for path in self.key_paths:
            check_key(path)

    def command(
        self, remote: str, target: Path, log_folder: Path, key: Path | None = None
    ) -> list[str]:
        """Return the argument list that fetches `remote` to `target`."""
        options = self.options
        return [
            shutil.which(self.ascp_path) or str(self.ascp_path),
            "-T",
            *("-l", options.rate),
            *("-P", str(options.port)),
            *("-i", str((key or self.key_paths[0]).absolute())),
            *("-k", "2"),
            "--overwrite=diff",
            f"--partial-file-suffix={PARTIAL_SUFFIX}",
            "-q",
            *("-L", str(log_folder)),
            f"{options.user}@{options.host}:{self._path(remote)}",
            str(target.absolute()),
        ]

    def size(self, remote: str) -> int | None:
        """Return None: ascp does not tell the size of a file beforehand."""
        check_remote(remote)
        return None

    def fetch(self, remote: str, target: Path) -> Fetched:
        """Fetch one file, resuming and retrying; see `Transport.fetch`.

        Returns
        -------
        Fetched
            With the size of the file: ascp does not state that of the source.

        Raises
        ------
        DownloadError
            If trying again cannot help: no such file, not allowed, no space.
        TransientDownloadError
            If the last of the attempts failed in a way that may pass.
        MissingToolError, ConfigError
            If ascp, its licence or its key is missing.
        """
        self.check()
        check_remote(remote)
        stopped = threading.Event()
        self._running.add(stopped)
        try:
            with connection_to(
                self.options.host,
                self.options.connections_per_host,
                lambda: _raise_if(stopped),
            ):
                return self._fetch(remote, target, stopped)
        finally:
            self._running.discard(stopped)

    def interrupt(self) -> None:
        """End what is under way at once."""
        for stopped in list(self._running):
            stopped.set()

    def _fetch(self, remote: str, target: Path, stopped: threading.Event) -> Fetched:
        from tenacity import Retrying, stop_after_attempt, wait_exponential

        started = time.monotonic()
        part = target.with_name(target.name + PART_SUFFIX)
        sidecar = target.with_name(target.name + SIDECAR_SUFFIX)
        part.unlink(missing_ok=True)
        keys = Keys(self.key_paths)
        retrying = Retrying(
            stop=stop_after_attempt(self.options.attempts),
            wait=wait_exponential(multiplier=2, min=2, max=60),
            retry=lambda state: worth_another(
                state.outcome.exception() if state.outcome else None, keys
            ),
            sleep=self._sleep or (lambda seconds: _wait(stopped, seconds)),
            reraise=True,
        )
        try:
            retrying(
                run_attempt,
                lambda folder: self.command(remote, part, folder, keys.current),
                part,
                target.name,
                self.options,
                lambda: _raise_if(stopped),
            )
            tried = retrying.statistics["attempt_number"]
            fetched = self._finish(part, tried, time.monotonic() - started)
            if self.options.sidecar:
                address = f"{self.options.user}@{self.options.host}:{self._path(remote)}"
                write_sidecar(target, address, fetched)
            part.replace(target)
            sync_folder(target.parent)
        except AttemptError as error:
            tried = retrying.statistics["attempt_number"]
            sidecar.unlink(missing_ok=True)
            raise final_error(error, remote, tried) from None
        except BaseException:
            sidecar.unlink(missing_ok=True)
            raise
        finally:
            part.unlink(missing_ok=True)
            remove_leftovers(part)
        return fetched

    def _finish(self, part: Path, tried: int, seconds: float) -> Fetched:
        """Bring the file to the disk and take its digest."""
        digest = hashlib.sha256()
        try:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
        except OSError as error:
            msg = f"{part} cannot be read back: {error.strerror}"
            raise DownloadError(msg) from error
        return Fetched(
            part.stat().st_size,
            self.name,
            requests=tried,
            sha256=digest.hexdigest(),
            seconds=seconds,
        )

    def _path(self, remote: str) -> str:
        return f"{self.remote_root}/{remote}" if self.remote_root else remote


class AsperaDownloader(TransportDownloader):
    """Downloads idr0013's movies with Aspera.

    Parameters
    ----------
    aspera_path : Path or str
        The ``ascp`` program.
    aspera_key_path : Path or str
        The private key that the archive hands out.
    screens_path : Path or str, optional
        idr0013's plates file: ``idr0013-screenA-plates.tsv`` or ``idr0013-screenB-plates.tsv``.
        Not needed when every row of the table has its ``Path``.
    idr_index_name : str
        Name of the study's folder in the archive.
    options : AsperaOptions, optional
        How to call ascp.
    remote_root : str, optional
        Folder on the server that holds the study's files; by default
        ``/pub/databases/IDR/<idr_index_name>``.

    Raises
    ------
    MissingToolError, ConfigError, TableError
        If ascp, the key or the plates file is missing or wrong: checked before any download.
    """

    def __init__(
        self,
        aspera_path: Path | str,
        aspera_key_path: Path | str | Sequence[Path | str],
        screens_path: Path | str | None = None,
        idr_index_name: str = IDR0013_STUDY,
        *,
        options: AsperaOptions | None = None,
        remote_root: str | None = None,
    ) -> None:
        study = _STUDIES.get(idr_index_name, idr_index_name)
        root = f"{ARCHIVE_ROOT}/{study}" if remote_root is None else remote_root
        transport = AsperaTransport(aspera_path, aspera_key_path, remote_root=root, options=options)
        transport.check()
        locator = (
            TableLocator(study=study)
            if screens_path is None
            else Idr0013Locator(PlateScreens.read(screens_path), study)
        )
        super().__init__(transport, locator)


def _wait(stopped: threading.Event, seconds: float) -> None:
    stopped.wait(seconds)


def _raise_if(stopped: threading.Event) -> None:
    if stopped.is_set():
        msg = "the transfer was interrupted"
        raise InterruptedDownloadError(msg)
