"""What a transport says of a file it brought."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is on the disk under its final name, and how it came there.

    Attributes
    ----------
    size_bytes : int
        Size of the file; where the source states a size, that is this one.
    served_by : str
        Name of the transport that brought it; of a chain, of the one that did.
    bytes_moved : int or None
        Bytes of content that came, in failed attempts too; None when the way does not count.
    requests : int or None
        Requests or attempts made; None when the way does not count.
    etag : str
        The source's word for this version of the file (HTTP's ETag or, without one, its
        Last-Modified); empty when it has none.
    sha256 : str
        Digest of the file, hexadecimal; empty when it was not taken.
    seconds : float
        How long it took, pauses between attempts included.
    """

    size_bytes: int
    served_by: str
    bytes_moved: int | None = None
    requests: int | None = None
    etag: str = ""
    sha256: str = ""
    seconds: float = 0.0
