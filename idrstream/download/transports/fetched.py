"""The result of a transfer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is on disk under its final name, and how it was transferred.

    Attributes
    ----------
    size_bytes : int
        Size of the file; equal to the size that the source states, if it states one.
    served_by : str
        Name of the transport; of a chain, of the transport that succeeded.
    bytes_moved : int or None
        Bytes of content received, failed attempts included; None if not counted.
    requests : int or None
        Requests or attempts made; None if not counted.
    etag : str
        Version identifier (HTTP's ETag or Last-Modified); empty if there is none.
    sha256 : str
        Hexadecimal digest of the file; empty if not computed.
    seconds : float
        Duration, pauses between attempts included.
    """

    size_bytes: int
    served_by: str
    bytes_moved: int | None = None
    requests: int | None = None
    etag: str = ""
    sha256: str = ""
    seconds: float = 0.0
