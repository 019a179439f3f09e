"""What a stored chunk may unpack to, checked before zarr-python unpacks it.

zarr-python unpacks as much as a chunk holds, and its Blosc reads beyond the end of one that is cut.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from idrstream.formats.cellh5.hdf5_guard import MAX_CHUNK_BYTES, MAX_FRAME_PIXELS, MAX_FRAMES

MOST_PIXELS, MOST_CHUNK_BYTES = MAX_FRAME_PIXELS, MAX_CHUNK_BYTES
MOST_CHUNKS = 2**14
"""Of a plane."""
MOST_PLANE_BYTES = 2**27
"""Of the unpacked chunks that a plane is in, which may hold parts of other planes."""
MOST_IN_SHARD = 2**16
"""Chunks of a shard, whose index is held in memory."""
MOST_POSITIONS = {"c": 4096, "t": MAX_FRAMES, "z": 2**16}
"""Length of the axes that are not within a plane."""

_PIXELS = re.compile(r"[<>|][uif][1248]|u?int(8|16|32|64)|float(16|32|64)")
# Bytes for checksums between two codecs.
_SLACK = 64
_CRC_BYTES = 4


def check_pixels(metadata: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless the elements of an array are plain numbers.

    zarr-python makes one of them when it opens an array: of ``|S1000000000`` a gigabyte.
    """
    kind = metadata.get("data_type", metadata.get("dtype"))
    if not isinstance(kind, str) or _PIXELS.fullmatch(kind) is None:
        msg = f"elements of the type {str(kind)[:80]} are not supported"
        raise ValueError(msg)


def codecs_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the codecs that unpack the stored bytes of an array, the first first.

    `metadata` are those of an array without shards, of either Zarr version.

    Raises
    ------
    ValueError
        If one is not supported.
    """
    if metadata.get("filters"):
        msg = f"filters {metadata['filters']} are not supported"
        raise ValueError(msg)
    if "codecs" in metadata:
        codecs = [str(codec["name"]).removeprefix("numcodecs.") for codec in metadata["codecs"]]
        names = tuple(name for name in reversed(codecs) if name not in ("transpose", "bytes"))
    else:
        names = (str(metadata["compressor"]["id"]),) if metadata.get("compressor") else ()
    packed = [name for name in names if name != "crc32c"]
    for name in packed:
        if name not in _CHECKS:
            msg = f"the codec {name!r} is not supported; supported are {', '.join(_CHECKS)}, crc32c"
            raise ValueError(msg)
    if len(packed) > 1:
        msg = f"more than one compressor is not supported: {', '.join(packed)}"
        raise ValueError(msg)
    return names


def check_chunk(data: bytes, codecs: Sequence[str], n_bytes: int) -> None:
    """Raise `ValueError` if a stored chunk unpacks to more than `n_bytes` and some checksums.

    Parameters
    ----------
    data : bytes
        The chunk as stored.
    codecs : sequence of str
        From `codecs_of`.
    n_bytes : int
        Size of an unpacked chunk.
    """
    for name in codecs:
        if name in _CHECKS:
            try:
                _CHECKS[name](data, n_bytes + _SLACK)
            except (RuntimeError, zlib.error) as error:
                msg = f"it cannot be decompressed: {error}"
                raise ValueError(msg) from error
            return
        data = data[:-_CRC_BYTES]


def _blosc(data: bytes, limit: int) -> None:
    _check_stated(int.from_bytes(data[4:8], "little"), limit)
    if len(data) < 16 or int.from_bytes(data[12:16], "little") != len(data):
        msg = f"it has {len(data):,} bytes, not as many as it states"
        raise ValueError(msg)


def _lz4(data: bytes, limit: int) -> None:
    _check_stated(int.from_bytes(data[:4], "little"), limit)


def _zstd(data: bytes, limit: int) -> None:
    import imagecodecs

    imagecodecs.zstd_decode(data, out=limit)


def _zlib(data: bytes, limit: int, *, wbits: int) -> None:
    decoder = zlib.decompressobj(wbits)
    decoder.decompress(data, limit)
    if not decoder.eof or decoder.unused_data:
        msg = f"it ends early, or has more than {limit:,} bytes"
        raise ValueError(msg)


def _check_stated(stated: int, limit: int) -> None:
    if stated > limit:
        msg = f"it unpacks to {stated:,} bytes, more than {limit:,}"
        raise ValueError(msg)


_CHECKS: dict[str, Callable[[bytes, int], None]] = {
    "blosc": _blosc,
    "zstd": _zstd,
    "gzip": partial(_zlib, wbits=31),
    "zlib": partial(_zlib, wbits=15),
    "lz4": _lz4,
}
