"""The transport of an address in a ``URL`` column."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from idrstream.config import DownloadSettings
from idrstream.download.protocol import Transport
from idrstream.download.transports.ftp import FtpTransport
from idrstream.download.transports.http import HttpTransport
from idrstream.download.transports.local import LocalTransport, path_from_address
from idrstream.download.transports.s3 import S3Transport
from idrstream.errors import ConfigError, DownloadError

_KINDS: dict[str, type[HttpTransport] | type[FtpTransport]] = {
    "http": HttpTransport,
    "https": HttpTransport,
    "ftp": FtpTransport,
    "s3": S3Transport,
}


class Addresses:
    """Transports for addresses, one for each server.

    Parameters
    ----------
    settings : DownloadSettings, optional
        Limits, and the server of ``s3://`` addresses.
    """

    def __init__(self, settings: DownloadSettings | None = None) -> None:
        self.settings = settings or DownloadSettings()
        self._known: dict[str, Transport] = {}

    def transport_for(self, address: str) -> tuple[Transport, str]:
        """Return the transport of an address, and the path to ask it for.

        Parameters
        ----------
        address : str
            As `TableLocator` returns it.

        Returns
        -------
        tuple of Transport and str
            The path is relative to the transport's root.

        Raises
        ------
        DownloadError
            If the address names no file or there is no transport for it.
        MissingToolError
            If the transport needs something that is not installed.
        """
        parts = urlsplit(address)
        scheme = parts.scheme.lower()
        if scheme == "file":
            file = path_from_address(address)
            local = LocalTransport(file.anchor or "/", self.settings)
            return self._known.setdefault("file://", local), str(file)
        if scheme not in _KINDS:
            msg = f"{address!r}: there is no transport for {scheme}:// addresses"
            raise DownloadError(msg)
        # In the name of an S3 object '?' and '#' are ordinary characters.
        path = address.split("://", 1)[1].partition("/")[2] if scheme == "s3" else parts.path
        path = (path if scheme == "s3" else unquote(path)).lstrip("/")
        if not path:
            msg = f"'{scheme}://{parts.hostname}{parts.path}' does not name a file"
            raise DownloadError(msg)
        root = f"{scheme}://{parts.netloc}/"
        if scheme in ("http", "https") and parts.query:
            return HttpTransport(root, self.settings, query=parts.query), path
        if root not in self._known:
            try:
                self._known[root] = _KINDS[scheme](root, self.settings)
            except ConfigError as error:
                raise DownloadError(str(error)) from error
        return self._known[root], path

    def interrupt(self) -> None:
        """Interrupt running transfers."""
        for transport in list(self._known.values()):
            transport.interrupt()
