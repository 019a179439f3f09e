"""Which transport an address of a ``URL`` column means."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from idrstream.download.protocol import Transport
from idrstream.download.transports.transfer import TransferOptions
from idrstream.errors import ConfigError, DownloadError


class Addresses:
    """Transports for addresses, one for each server.

    Parameters
    ----------
    options : TransferOptions, optional
        Limits of those that go over a network.
    s3_endpoint : str, optional
        Server of ``s3://`` addresses.
    s3_anonymous : bool
        Whether their buckets are public.
    """

    def __init__(
        self,
        options: TransferOptions | None = None,
        *,
        s3_endpoint: str | None = None,
        s3_anonymous: bool = True,
    ) -> None:
        self.options = options
        self.s3_endpoint = s3_endpoint
        self.s3_anonymous = s3_anonymous
        self._known: dict[str, Transport] = {}

    def transport_for(self, address: str) -> tuple[Transport, str]:
        """Return the transport that an address means, and the path to ask it for.

        Parameters
        ----------
        address : str
            One with a scheme of `SCHEMES`, as `TableLocator` hands out.

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
            return self._local(address)
        if scheme not in ("http", "https", "ftp", "s3"):
            msg = f"{address!r}: there is no transport for {scheme}:// addresses"
            raise DownloadError(msg)
        # In the name of an object '?' and '#' are ordinary characters.
        path = address.split("://", 1)[1].partition("/")[2] if scheme == "s3" else parts.path
        path = (path if scheme == "s3" else unquote(path)).lstrip("/")
        shown = f"{scheme}://{parts.hostname}{parts.path}"
        if not path:
            msg = f"{shown!r} does not name a file"
            raise DownloadError(msg)
        root = f"{scheme}://{parts.netloc}/"
        if scheme in ("http", "https") and parts.query:
            from idrstream.download.transports.http import HttpTransport

            return HttpTransport(root, self.options, query=parts.query), path
        if root not in self._known:
            try:
                self._known[root] = self._build(scheme, root)
            except ConfigError as error:
                raise DownloadError(str(error)) from error
        return self._known[root], path

    def interrupt(self) -> None:
        """End what is under way at once."""
        for transport in list(self._known.values()):
            interrupt = getattr(transport, "interrupt", None)
            if interrupt is not None:
                interrupt()

    def _build(self, scheme: str, root: str) -> Transport:
        if scheme == "ftp":
            from idrstream.download.transports.ftp import FtpTransport

            return FtpTransport(root, self.options)
        if scheme == "s3":
            from idrstream.download.transports.s3 import S3Transport

            return S3Transport(
                root, self.options, endpoint=self.s3_endpoint, anonymous=self.s3_anonymous
            )
        from idrstream.download.transports.http import HttpTransport

        return HttpTransport(root, self.options)

    def _local(self, address: str) -> tuple[Transport, str]:
        from idrstream.download.transports.local import LocalTransport, path_from_address

        path = path_from_address(address)
        root = path.anchor or "/"
        return self._known.setdefault("file://", LocalTransport(root)), str(path)


def transport_for(address: str) -> tuple[Transport, str]:
    """Return the transport that an address means; see `Addresses.transport_for`."""
    return Addresses().transport_for(address)
