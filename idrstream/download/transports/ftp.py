"""Movies from an FTP server."""

from __future__ import annotations

import ftplib
import math
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import unquote, urlsplit

from idrstream.config import DownloadSettings
from idrstream.download.client.answers import printable
from idrstream.download.client.connections import connection_to
from idrstream.download.client.errors import BusyError, network_errors
from idrstream.download.transports.source import Answer, check_remote
from idrstream.download.transports.transfer import SourceTransport
from idrstream.errors import (
    ConfigError,
    DownloadError,
    RemoteFileNotFoundError,
    TransientDownloadError,
)

_BLOCK_BYTES = 256 * 1024
_MOST_LINES = 1000  # of an answer, such as a greeting
_LS_LINE = re.compile(r"([d-])\S{9,10}\s+\d+\s+\S+\s+\S+\s+\d+\s+\S+\s+\d+\s+[\d:]+ (.+)")


class FtpTransport(SourceTransport):
    """Transfers files from an FTP server: anonymous, passive, binary.

    Parameters
    ----------
    root : str
        ``ftp://host[:port]/folder/``.
    settings : DownloadSettings, optional
        Limits.
    sleep : callable, optional
        For tests: waits between two attempts.

    Raises
    ------
    ConfigError
        If `root` is not such an address, or has a password in it.
    """

    def __init__(
        self,
        root: str,
        settings: DownloadSettings | None = None,
        *,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        parts = urlsplit(root)
        if parts.scheme != "ftp" or not parts.hostname:
            msg = f"{root!r} is not an ftp:// address"
            raise ConfigError(msg)
        if parts.username or parts.password:
            msg = "an address with a user or password is refused: it would be logged"
            raise ConfigError(msg)
        super().__init__("ftp", parts.netloc, settings, sleep=sleep)
        self._server, self._port = parts.hostname, parts.port or 21
        # An absolute path is never mistaken for an option by the server's own tools.
        self._folder = "/" + unquote(parts.path).strip("/")

    def address(self, remote: str) -> str:
        """Return the address of a file, for messages."""
        return f"ftp://{self.host}{self._path(remote)}"

    def open(self, remote: str, start: int, version: str) -> Answer:
        """Open a file at a byte offset; see `SourceTransport.open`."""
        address = self.address(remote)
        with self._errors(address):
            ftp = self._connect()
        try:
            with self._errors(address):
                size, now = self._size_and_version(ftp, remote)
                if start and (not version or now != version):
                    start = 0
                data = self._retrieve(ftp, remote, start)
        except BaseException:
            ftp.close()
            raise
        return Answer(
            self._blocks(ftp, data, address),
            start,
            size,
            now,
            close=lambda: _close(ftp, data),
            abort=lambda: _shut(data),
        )

    def size(self, remote: str) -> int | None:
        """Return the size of a file as the server states it."""
        address = self.address(remote)
        with (
            connection_to(self.host, self.settings.connections_per_host),
            self._errors(address),
        ):
            ftp = self._connect()
            try:
                return self._size_and_version(ftp, remote)[0]
            finally:
                _close(ftp, None)

    def names(self, folder: str, most: int) -> tuple[list[str], list[str]]:
        """Return the names of the files and of the folders in a folder, at most `most`."""
        path = self._path(folder) if folder else self._folder
        address = f"ftp://{self.host}{path}"
        lines: list[str] = []

        def take(line: str) -> None:
            lines.append(line)
            if len(lines) > most:
                msg = f"the folder has more than {most:,} names"
                raise ftplib.error_proto(msg)  # noqa: S321, public data

        with (
            connection_to(self.host, self.settings.connections_per_host),
            self._errors(address),
        ):
            ftp = self._connect()
            try:
                try:
                    ftp.retrlines(f"MLSD {path}", take)
                    parse = _named_by_facts
                except ftplib.error_perm as error:
                    _refuse_missing(error, address)
                    ftp.retrlines(f"LIST {path}", take)  # vsftpd has no MLSD
                    parse = _named_by_ls
            except ftplib.error_perm as error:
                _refuse_missing(error, address)
                raise
            finally:
                _close(ftp, None)
        found = [parse(line) for line in lines]
        return (
            [name for kind, name in found if kind == "file"],
            [name for kind, name in found if kind == "dir"],
        )

    def _path(self, remote: str) -> str:
        return f"{self._folder.rstrip('/')}/{check_remote(remote).lstrip('/')}"

    def _connect(self) -> ftplib.FTP:
        ftp = _Connection(timeout=self.settings.connect_timeout_s)
        ftp.ends = time.monotonic() + self.settings.total_timeout_s
        try:
            ftp.connect(self._server, self._port)
            if ftp.sock is not None:
                ftp.sock.settimeout(self.settings.stall_timeout_s)
            ftp.login()
            ftp.voidcmd("TYPE I")
        except BaseException:
            ftp.close()
            raise
        return ftp

    def _size_and_version(self, ftp: ftplib.FTP, remote: str) -> tuple[int | None, str]:
        """Return size and time of change, as far as the server has these commands."""
        path = self._path(remote)
        size, changed = None, ""
        try:
            answer = ftp.sendcmd(f"SIZE {path}").removeprefix("213").strip()
            size = int(answer) if re.fullmatch(r"[0-9]{1,18}", answer) else None
        except ftplib.error_perm as error:
            if str(error).startswith("550"):
                msg = f"there is no {self.address(remote)} ({printable(str(error))})"
                raise RemoteFileNotFoundError(msg) from error
        with suppress(ftplib.error_perm):
            changed = ftp.voidcmd(f"MDTM {path}").removeprefix("213").strip()
        return size, changed

    def _retrieve(self, ftp: ftplib.FTP, remote: str, start: int) -> socket.socket:
        try:
            data, _ = ftp.ntransfercmd(f"RETR {self._path(remote)}", rest=start or None)
        except ftplib.error_perm as error:
            if str(error).startswith("550"):
                msg = f"there is no {self.address(remote)} ({printable(str(error))})"
                raise RemoteFileNotFoundError(msg) from error
            raise
        data.settimeout(self.settings.stall_timeout_s)
        return data

    def _blocks(self, ftp: ftplib.FTP, data: socket.socket, address: str) -> Iterator[bytes]:
        with self._errors(address):
            while block := data.recv(_BLOCK_BYTES):
                yield block
            data.close()
            # 226: everything was sent; the size is checked as well.
            ftp.voidresp()

    @contextmanager
    def _errors(self, address: str) -> Iterator[None]:
        try:
            with network_errors(address, OSError, EOFError, ftplib.error_proto, UnicodeError):
                yield
        except ftplib.error_temp as error:
            msg = f"{address}: the server answered {printable(str(error))}"
            kind = BusyError if str(error).startswith("421") else TransientDownloadError
            raise kind(msg) from error
        except ftplib.Error as error:
            msg = f"{address}: the server answered {printable(str(error))}"
            raise DownloadError(msg) from error


class _Connection(ftplib.FTP):
    """A connection whose answers have a largest number of lines, and an end."""

    ends = math.inf

    def getmultiline(self) -> str:
        self._lines = 0
        return super().getmultiline()

    def getline(self) -> str:
        self._lines = getattr(self, "_lines", 0) + 1
        if self._lines > _MOST_LINES or time.monotonic() > self.ends:
            msg = "the server's answer does not end"
            raise ftplib.error_proto(msg)  # noqa: S321, public data
        return super().getline()


def _named_by_facts(line: str) -> tuple[str, str]:
    """Return kind and name in a line of MLSD: ``type=file;size=3; name``."""
    facts, _, name = line.partition(" ")
    match = re.search(r"(?i)(?:^|;)type=(file|dir);", facts)
    return (match[1].lower() if match else "", name)


def _named_by_ls(line: str) -> tuple[str, str]:
    """Return kind and name in a line of LIST, as ``ls -l`` writes it."""
    match = _LS_LINE.fullmatch(line)
    if match is None:
        return "", ""
    return ("dir" if match[1] == "d" else "file"), match[2]


def _refuse_missing(error: ftplib.error_perm, address: str) -> None:
    if str(error).startswith("550"):
        msg = f"there is no {address} ({printable(str(error))})"
        raise RemoteFileNotFoundError(msg) from error


def _close(ftp: ftplib.FTP, data: socket.socket | None) -> None:
    if data is not None:
        data.close()
    elif ftp.sock is not None:
        with suppress(*ftplib.all_errors):
            ftp.sock.settimeout(1.0)
            ftp.quit()
    ftp.close()


def _shut(data: socket.socket) -> None:
    with suppress(OSError):
        data.shutdown(socket.SHUT_RDWR)
