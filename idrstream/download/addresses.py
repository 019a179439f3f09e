"""Which transport an address of a ``URL`` column means."""

from __future__ import annotations

from idrstream.download._protocol import Transport
from idrstream.errors import DownloadError


def transport_for(address: str) -> tuple[Transport, str]:
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
        If there is no transport for such addresses.
    """
    from idrstream.download.local import LocalTransport, path_from_address

    scheme = address.partition("://")[0].lower()
    if scheme == "file":
        path = path_from_address(address)
        return LocalTransport(path.anchor or "/"), str(path)
    msg = f"{address!r}: there is no transport for {scheme}:// addresses"
    raise DownloadError(msg)
