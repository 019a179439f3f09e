"""One array of a Zarr hierarchy: its chunks are fetched here and read by zarr-python.

The stored chunks of a plane are put into a store in memory, which zarr-python reads. Chunks
within shards are fetched by ranges; zarr-python sees them as chunks of their own.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.download.client.errors import TooLargeError
from idrstream.download.omezarr._limits import (
    MOST_CHUNK_BYTES,
    MOST_IN_SHARD,
    check_chunk,
    check_pixels,
    codecs_of,
)
from idrstream.download.omezarr._store import Store
from idrstream.errors import MovieError

_ABSENT = 2**64 - 1
_CRC_BYTES = 4
# The index of a shard, start and size of each of its chunks, is a chunk of such an array.
_INDEX = {
    "zarr_format": 3,
    "node_type": "array",
    "data_type": "uint64",
    "chunk_key_encoding": {"name": "default"},
    "fill_value": _ABSENT,
}
_INDICES_KEPT = 32
_SLACK_BYTES = 64 * 1024
_DAMAGED = (ValueError, TypeError, RuntimeError, ArithmeticError, OSError, EOFError, zlib.error)


class ChunkError(Exception):
    """A chunk is missing at its source or damaged; says which."""


class ZarrArray:
    """An array of Zarr version 2 or 3; for one thread at a time.

    Parameters
    ----------
    store : Store
        Where its objects are.
    path : str
        Path under the store's root.
    zarr_format : int
        2 or 3.
    fill : bool
        Whether a missing chunk has the fill value of the metadata.

    Attributes
    ----------
    shape, chunks : tuple of int
        Shape of the array and of its smallest chunks.
    dtype : numpy.dtype
        Type of the elements in native byte order.
    chunks_read, chunks_missing : set of tuple
        Indices of the chunks that were asked for so far, and of those missing at their source.

    Raises
    ------
    MovieError
        If there is no array, or its storage is not supported.
    """

    def __init__(self, store: Store, path: str, zarr_format: int, *, fill: bool = False) -> None:
        self._store, self._path, self._fill = store, path, fill
        name = ".zarray" if zarr_format == 2 else "zarr.json"
        where = f"{store.root}/{path}/{name}"
        metadata = store.read_json(f"{path}/{name}".lstrip("/"))
        if metadata is None:
            msg = f"{store.root}/{path} has no {name}: it is not a Zarr array"
            raise MovieError(msg)
        try:
            self._index_codecs, self._index_at_start, plain = _taken_apart(metadata)
            self._codecs = codecs_of(plain)
            check_pixels(plain)
            self._shards: tuple[int, ...] | None = _open(metadata).shards
            self._held: dict[str, Any] = {}
            self._zarr = _open(plain, self._held)
            self.shape: tuple[int, ...] = self._zarr.shape
            self.chunks: tuple[int, ...] = self._zarr.chunks
        except (LookupError, AttributeError, *_DAMAGED) as error:
            msg = f"{where} cannot be understood: {type(error).__name__}: {error}"
            raise MovieError(msg) from error
        self.dtype: np.dtype[Any] = self._zarr.dtype.newbyteorder("=")
        self._check_sizes(where)
        self._n_bytes = prod(self.chunks) * self.dtype.itemsize
        self._indices: dict[str, NDArray[Any]] = {}
        self.chunks_read: set[tuple[int, ...]] = set()
        self.chunks_missing: set[tuple[int, ...]] = set()

    @property
    def fill_value(self) -> Any:
        """Value of the elements in chunks that are not stored; None if the metadata give none."""
        return self._zarr.metadata.fill_value

    def read(self, fixed: Mapping[int, int]) -> NDArray[Any]:
        """Return the part at a position on the fixed axes; the other axes are read whole.

        Raises
        ------
        ChunkError
            If a chunk of it is damaged, or missing and not to be filled.
        DownloadError
            If the store cannot be read.
        """
        axes = [
            [fixed[axis] // step] if axis in fixed else range(-(-length // step))
            for axis, (length, step) in enumerate(zip(self.shape, self.chunks, strict=True))
        ]
        wanted = {self._zarr.metadata.encode_chunk_key(index): index for index in product(*axes)}
        for key in self._held.keys() - wanted.keys():
            del self._held[key]
        for key, index in wanted.items():
            if key not in self._held and index not in self.chunks_missing:
                self._hold(key, index)
        selection = tuple(fixed.get(axis, slice(None)) for axis in range(len(self.shape)))
        try:
            part = np.asarray(self._zarr[selection])
        except _DAMAGED as error:
            msg = f"one of the chunks {', '.join(wanted)} of {self._where} is damaged: {error}"
            raise ChunkError(msg) from error
        return part.astype(self.dtype, copy=False)

    @property
    def _where(self) -> str:
        return f"{self._store.root}/{self._path}".rstrip("/")

    def _hold(self, key: str, index: tuple[int, ...]) -> None:
        """Fetch a chunk into the store in memory."""
        self.chunks_read.add(index)
        try:
            data = self._fetched(key, index)
            if data is not None:
                check_chunk(data, self._codecs, self._n_bytes)
        except (ValueError, TooLargeError) as error:
            msg = f"chunk {key} of {self._where} is damaged: {error}"
            raise ChunkError(msg) from error
        if data is not None:
            self._held[key] = _buffer(data)
            return
        if not self._fill or self.fill_value is None or self._store.refused:
            why = "the server answered 403" if self._store.refused else ""
            why = why or ("its metadata give no fill value" if self._fill else "")
            msg = f"chunk {key} is missing at its source, {self._where}"
            raise ChunkError(f"{msg} ({why})" if why else msg)
        self.chunks_missing.add(index)

    def _fetched(self, key: str, index: tuple[int, ...]) -> bytes | None:
        most = self._n_bytes + self._n_bytes // 8 + _SLACK_BYTES
        if self._shards is None:
            return self._store.get(f"{self._path}/{key}".lstrip("/"), most=most)
        per_shard = [shard // step for shard, step in zip(self._shards, self.chunks, strict=True)]
        shard = tuple(number // n for number, n in zip(index, per_shard, strict=True))
        name = f"{self._path}/{self._zarr.metadata.encode_chunk_key(shard)}".lstrip("/")
        locations = self._indices.get(name)
        if locations is None:
            locations = self._index_of(name, per_shard)
        if locations is None:
            return None
        self._indices[name] = locations
        if len(self._indices) > _INDICES_KEPT:
            del self._indices[next(iter(self._indices))]
        within = tuple(number % n for number, n in zip(index, per_shard, strict=True))
        start, size = (int(n) for n in locations[within])
        if start == size == _ABSENT:
            return None
        if not 0 < size <= most:
            msg = f"its shard states {size:,} bytes"
            raise ValueError(msg)
        return self._store.get(name, start, start + size)

    def _index_of(self, name: str, per_shard: list[int]) -> NDArray[Any] | None:
        """Return start and size of every chunk in a shard; None if there is no such shard."""
        shape = [*per_shard, 2]
        n_bytes = 8 * prod(shape) + _CRC_BYTES * (len(self._index_codecs) - 1)
        data = self._store.get(name, *((0, n_bytes) if self._index_at_start else (-n_bytes,)))
        if data is None:
            return None
        if len(data) != n_bytes:
            msg = f"the index of its shard has {len(data)} of {n_bytes} bytes"
            raise ValueError(msg)
        held: dict[str, Any] = {}
        index = _open({**_INDEX, "codecs": self._index_codecs, **_grid(shape, shape)}, held)
        held[index.metadata.encode_chunk_key((0,) * len(shape))] = _buffer(data)
        return np.asarray(index[...])

    def _check_sizes(self, where: str) -> None:
        if not all(length > 0 for length in (*self.shape, *self.chunks)):
            msg = f"{where}: chunks {self.chunks} do not fit the shape {self.shape}"
            raise MovieError(msg)
        per_shard = prod(self._shards) // prod(self.chunks) if self._shards else 1
        if prod(self.chunks) * self.dtype.itemsize > MOST_CHUNK_BYTES or per_shard > MOST_IN_SHARD:
            msg = (
                f"{where}: chunks {self.chunks}, {per_shard:,} in a shard, are too large for a "
                "microscope's image"
            )
            raise MovieError(msg)


def _buffer(data: bytes) -> Any:
    from zarr.buffer.cpu import Buffer

    return Buffer.from_bytes(data)


def _open(metadata: Mapping[str, Any], held: dict[str, Any] | None = None) -> Any:
    """Return the array of metadata as zarr-python understands them, with its chunks in `held`."""
    import zarr
    from zarr.storage import MemoryStore

    held = {} if held is None else held
    zarr_format = metadata["zarr_format"]
    name = "zarr.json" if zarr_format == 3 else ".zarray"
    held[name] = _buffer(json.dumps(metadata).encode())
    return zarr.open_array(MemoryStore(held, read_only=True), mode="r", zarr_format=zarr_format)


def _taken_apart(metadata: dict[str, Any]) -> tuple[list[dict[str, Any]], bool, dict[str, Any]]:
    """Return the codecs of a shard's index, whether it is at the start, and the rest.

    The rest are the metadata of the array as if it had no shards.
    """
    codecs = metadata.get("codecs") or [{}]
    if codecs[0].get("name") != "sharding_indexed":
        return [], False, metadata
    options = codecs[0]["configuration"]
    index_codecs = options["index_codecs"]
    if [codec["name"] for codec in index_codecs] not in (["bytes"], ["bytes", "crc32c"]):
        msg = f"an index of shards with the codecs {index_codecs} is not supported"
        raise ValueError(msg)
    grid = _grid(metadata["shape"], options["chunk_shape"])
    at_start = options.get("index_location") == "start"
    return index_codecs, at_start, {**metadata, **grid, "codecs": options["codecs"]}


def _grid(shape: Sequence[int], chunks: Sequence[int]) -> dict[str, Any]:
    grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
    return {"shape": shape, "chunk_grid": grid}
