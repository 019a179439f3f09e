"""Decoding of stored chunks.

Zarr v2 names one compressor (and filters), v3 a chain of codecs; both are a few byte codecs
around one array codec (Zarr core protocol 3.0; numcodecs' registry for v2).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import MovieError

_CRC_BYTES = 4
# Bytes for checksums between two codecs.
_SLACK = 64

Decoder = Callable[[bytes, int], bytes]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The steps from a chunk's bytes to an array.

    Attributes
    ----------
    decoders : tuple of callable
        Applied in turn to the bytes; each gets the most bytes that it may return.
    dtype : numpy.dtype
        Type of the elements as stored, byte order included.
    order : tuple of int
        For each axis as stored, which axis of the chunk it is.
    """

    decoders: tuple[Decoder, ...]
    dtype: np.dtype[Any]
    order: tuple[int, ...]

    def decode(self, data: bytes, shape: Sequence[int]) -> NDArray[Any]:
        """Return a stored chunk as a read-only array of a shape.

        Raises
        ------
        ValueError
            If the bytes are damaged or too many or too few.
        """
        n_bytes = int(np.prod(shape)) * self.dtype.itemsize
        try:
            for decoder in self.decoders:
                data = decoder(data, n_bytes + _SLACK)
        except (RuntimeError, OSError, EOFError, zlib.error) as error:
            msg = f"it cannot be decompressed: {error}"
            raise ValueError(msg) from error
        stored_shape = [shape[axis] for axis in self.order]
        if len(data) != n_bytes:
            msg = f"it has {len(data):,} of {n_bytes:,} bytes"
            raise ValueError(msg)
        stored = np.frombuffer(data, self.dtype).reshape(stored_shape)
        return stored.transpose(np.argsort(self.order))


def v2_pipeline(metadata: Mapping[str, Any], where: str) -> Pipeline:
    """Return the pipeline of a ``.zarray``.

    Raises
    ------
    MovieError
        If it has filters or an unsupported compressor.
    """
    if metadata.get("filters"):
        msg = f"{where}: filters {metadata['filters']} are not supported"
        raise MovieError(msg)
    compressor = metadata.get("compressor")
    decoders = () if compressor is None else (_decoder(str(compressor.get("id")), where),)
    n_axes = len(metadata["shape"])
    order = tuple(range(n_axes))
    if metadata.get("order", "C") == "F":
        order = order[::-1]
    return Pipeline(decoders, np.dtype(metadata["dtype"]), order)


def v3_pipeline(
    codecs: Sequence[Mapping[str, Any]], dtype: np.dtype[Any], n_axes: int, where: str
) -> Pipeline:
    """Return the pipeline of the codecs of a ``zarr.json``, without sharding.

    Raises
    ------
    MovieError
        If it has an unsupported codec.
    """
    decoders: list[Decoder] = []
    order = tuple(range(n_axes))
    for codec in codecs:
        name, options = str(codec["name"]), codec.get("configuration") or {}
        if name == "transpose":
            order = tuple(order[axis] for axis in options["order"])
        elif name == "bytes":
            if options.get("endian") == "big":
                dtype = dtype.newbyteorder(">")
        else:
            decoders.append(_decoder(name, where))
    return Pipeline(tuple(reversed(decoders)), dtype, order)


def _decoder(name: str, where: str) -> Decoder:
    decoders: dict[str, Decoder] = {
        "blosc": _blosc,
        "zstd": _zstd,
        "gzip": partial(_zlib, wbits=31),
        "zlib": partial(_zlib, wbits=15),
        "lz4": _lz4,
        "crc32c": lambda data, _limit: without_crc32c(data),
    }
    if name not in decoders:
        msg = f"{where}: the codec {name!r} is not supported; supported are {', '.join(decoders)}"
        raise MovieError(msg)
    return decoders[name]


def _blosc(data: bytes, limit: int) -> bytes:
    import imagecodecs

    _check_size(int.from_bytes(data[4:8], "little"), limit)
    return bytes(imagecodecs.blosc_decode(data, numthreads=1))


def _zstd(data: bytes, limit: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.zstd_decode(data, out=limit))


def _zlib(data: bytes, limit: int, *, wbits: int) -> bytes:
    decoder = zlib.decompressobj(wbits)
    found = decoder.decompress(data, limit)
    if not decoder.eof:
        msg = f"it ends early or has more than {limit:,} bytes"
        raise ValueError(msg)
    return found


def _lz4(data: bytes, limit: int) -> bytes:
    import imagecodecs

    _check_size(int.from_bytes(data[:4], "little"), limit)
    return bytes(imagecodecs.lz4_decode(data, header=True))


def _check_size(stated: int, limit: int) -> None:
    if stated > limit:
        msg = f"it unpacks to {stated:,} bytes, more than {limit:,}"
        raise ValueError(msg)


def without_crc32c(data: bytes) -> bytes:
    """Verify and remove the checksum at the end of `data`.

    Raises
    ------
    ValueError
        If it is wrong.
    """
    content, stated = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if crc32c(content) != int.from_bytes(stated, "little"):
        msg = "its checksum is wrong"
        raise ValueError(msg)
    return content


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `data`."""
    crc = 0xFFFFFFFF
    table = _crc_table()
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@cache
def _crc_table() -> list[int]:
    table = []
    for number in range(256):
        crc = number
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table
