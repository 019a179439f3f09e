"""What the headers of an answer state, and its content unpacked."""

from __future__ import annotations

import re
import time
import zlib
from contextlib import suppress
from typing import Any

from idrstream.download.client.errors import TooLargeError
from idrstream.errors import DownloadError, TransientDownloadError

_NUMBER = re.compile(r"[0-9]{1,18}")
_PART = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_SHOWN = 100
# An answer that is not read is read to its end, so that its connection can be used again, only
# if little is left of it and it comes at once.
_LEFT_BYTES = 64 * 1024
_LEFT_S = 1.0


def length_of(reply: Any, url: str) -> int | None:
    """Return the number of bytes that an answer states; None if it states none.

    Raises
    ------
    TransientDownloadError
        If what it states is not a number.
    """
    text = reply.headers.get("Content-Length")
    if text is None:
        return None
    if _NUMBER.fullmatch(text.strip(" \t")) is None:
        msg = f"{url}: the server states the length {printable(text)!r}, which is not a number"
        raise TransientDownloadError(msg)
    return int(text)


def range_of(reply: Any) -> tuple[int, int, int] | None:
    """Return first byte, last byte and size of the whole file of a part; None if not stated."""
    match = _PART.fullmatch(reply.headers.get("Content-Range", "").strip())
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]))


def refuse_packed(reply: Any, url: str) -> None:
    """Raise `DownloadError` if an answer is compressed: its bytes are not those of the file."""
    if reply.headers.get("Content-Encoding", "identity") != "identity":
        msg = f"{url}: the server sends it compressed, against the request"
        raise DownloadError(msg)


def printable(text: str) -> str:
    """Return the beginning of a server's words, without what a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text[:_SHOWN])


def unpacked(data: bytes, url: str, most: int | None) -> bytes:
    """Return the content of an answer that was sent compressed by gzip.

    Raises
    ------
    TooLargeError
        If it has more than `most` bytes.
    TransientDownloadError
        If it cannot be unpacked.
    """
    decoder = zlib.decompressobj(wbits=31)
    try:
        content = decoder.decompress(data, 0 if most is None else most + 1)
    except zlib.error as error:
        msg = f"{url}: it is sent compressed and cannot be unpacked: {error}"
        raise TransientDownloadError(msg) from error
    if most is not None and len(content) > most:
        raise too_large(url, most)
    if not decoder.eof:
        msg = f"{url}: it is sent compressed and ends early"
        raise TransientDownloadError(msg)
    return content


def too_large(url: str, most: int) -> TooLargeError:
    """Return the error of an answer with more than `most` bytes."""
    return TooLargeError(f"{url}: it has more than {most:,} bytes")


def finish(reply: Any) -> None:
    """Return the connection of an answer, or close it if much of its content is not read."""
    left = reply.length_remaining
    began = time.monotonic()
    if left is not None and left <= _LEFT_BYTES:
        with suppress(Exception):  # nobody waits for these bytes
            while time.monotonic() - began < _LEFT_S:
                if not reply.read1(_LEFT_BYTES):
                    reply.release_conn()
                    return
    reply.close()
