"""One array of a Zarr hierarchy, version 2 or 3, read chunk by chunk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.download.omezarr._codecs import (
    Pipeline,
    v2_pipeline,
    v3_pipeline,
    without_crc32c,
)
from idrstream.download.omezarr._store import Store
from idrstream.errors import MovieError

_ABSENT = 2**64 - 1
_CRC_BYTES = 4
_MAX_ELEMENTS = 2**28


class ChunkError(Exception):
    """A chunk is missing at its source or damaged; says which."""


@dataclass(frozen=True, slots=True)
class Shards:
    """The layout of inner chunks in a shard (Zarr's ``sharding_indexed`` codec).

    Attributes
    ----------
    shape : tuple of int
        Shape of a shard.
    index_at_start : bool
        Whether its index is at the start rather than the end.
    has_checksum : bool
        Whether the index ends with a CRC-32C.
    """

    shape: tuple[int, ...]
    index_at_start: bool
    has_checksum: bool


@dataclass(frozen=True, slots=True)
class ZarrArray:
    """Metadata of an array; reads its chunks.

    Attributes
    ----------
    path : str
        Path under the store's root.
    shape, chunks : tuple of int
        Shape of the array and of its chunks.
    pipeline : Pipeline
        Decodes a chunk.
    separator : str
        Separator of the numbers in a chunk's key.
    prefix : str
        Prefix of the key, separator included.
    shards : Shards or None
        Given if one object stores several chunks.
    """

    path: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    pipeline: Pipeline
    separator: str
    prefix: str
    shards: Shards | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements in native byte order."""
        return self.pipeline.dtype.newbyteorder("=")

    def chunk(self, store: Store, index: tuple[int, ...]) -> NDArray[Any]:
        """Return a chunk, cropped to the array.

        Raises
        ------
        ChunkError
            If it is missing or damaged. It is never filled: microscopes write no fill value.
        DownloadError
            If the store cannot be read.
        """
        key, data = self._stored(store, index)
        if data is None:
            msg = f"chunk {key} is missing at its source, {store.root}"
            raise ChunkError(msg)
        try:
            whole = self.pipeline.decode(data, self.chunks)
        except ValueError as error:
            msg = f"chunk {key} of {store.root} is damaged: {error}"
            raise ChunkError(msg) from error
        return whole[
            tuple(
                slice(0, min(step, length - number * step))
                for number, step, length in zip(index, self.chunks, self.shape, strict=True)
            )
        ]

    def _stored(self, store: Store, index: tuple[int, ...]) -> tuple[str, bytes | None]:
        if self.shards is None:
            key = self._key(index)
            return key, store.get(key)
        per_shard = [s // c for s, c in zip(self.shards.shape, self.chunks, strict=True)]
        shard = tuple(number // n for number, n in zip(index, per_shard, strict=True))
        within = tuple(number % n for number, n in zip(index, per_shard, strict=True))
        key = self._key(shard)
        location = self._location_in_shard(store, key, per_shard, within)
        label = f"{key} (inner chunk {'.'.join(map(str, within))})"
        return label, None if location is None else store.get(key, *location)

    def _location_in_shard(
        self, store: Store, key: str, per_shard: Sequence[int], within: tuple[int, ...]
    ) -> tuple[int, int] | None:
        shards = self.shards
        if shards is None:
            return None
        checksum = _CRC_BYTES if shards.has_checksum else 0
        n_bytes = 16 * int(np.prod(per_shard)) + checksum
        index = store.get(key, 0, n_bytes) if shards.index_at_start else store.get(key, -n_bytes)
        if index is None:
            return None
        try:
            if len(index) != n_bytes:
                msg = f"its index has {len(index)} of {n_bytes} bytes"
                raise ValueError(msg)
            locations = np.frombuffer(without_crc32c(index) if checksum else index, "<u8")
        except ValueError as error:
            msg = f"shard {key} of {store.root} is damaged: {error}"
            raise ChunkError(msg) from error
        start, size = (int(n) for n in locations.reshape(*per_shard, 2)[within])
        return None if start == _ABSENT else (start, start + size)

    def _key(self, index: tuple[int, ...]) -> str:
        name = self.separator.join(map(str, index))
        return f"{self.path}/{self.prefix}{name}".lstrip("/")

    def chunks_of(self, fixed: Mapping[int, int]) -> list[tuple[int, ...]]:
        """Return the indices of the chunks of a slice, from its position on the fixed axes."""
        axes = [
            [fixed[axis] // step] if axis in fixed else range(-(-length // step))
            for axis, (length, step) in enumerate(zip(self.shape, self.chunks, strict=True))
        ]
        return list(product(*axes))


def read_array(store: Store, path: str, zarr_format: int) -> ZarrArray:
    """Read the metadata of the array at `path` of a store, of Zarr version 2 or 3.

    Raises
    ------
    MovieError
        If there is no array, or its storage is not supported.
    """
    name = ".zarray" if zarr_format == 2 else "zarr.json"
    metadata = read_json(store, f"{path}/{name}".lstrip("/"))
    where = f"{store.root}/{path}"
    if metadata is None:
        msg = f"{where} has no {name}: it is not a Zarr array"
        raise MovieError(msg)
    try:
        array = _of_v2(metadata, path, where) if zarr_format == 2 else _of_v3(metadata, path, where)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"{where}/{name} cannot be understood: {type(error).__name__}: {error}"
        raise MovieError(msg) from error
    _check_sizes(array, f"{where}/{name}")
    return array


def _check_sizes(array: ZarrArray, where: str) -> None:
    steps = [array.chunks, *([array.shards.shape] if array.shards else [])]
    lengths = [*array.shape, *(step for part in steps for step in part)]
    fits = all(isinstance(length, int) and length > 0 for length in lengths)
    if not fits or any(len(part) != len(array.shape) for part in steps):
        msg = f"{where}: chunks {array.chunks} do not fit the shape {array.shape}"
        raise MovieError(msg)
    if prod(array.shape[-2:]) > _MAX_ELEMENTS or prod(array.chunks) > _MAX_ELEMENTS:
        msg = (
            f"{where}: too large for a microscope image: shape {array.shape}, chunks {array.chunks}"
        )
        raise MovieError(msg)


def read_json(store: Store, key: str) -> dict[str, Any] | None:
    """Return a JSON object; None if there is no such file.

    Raises
    ------
    MovieError
        If it is not a JSON object.
    """
    data = store.get(key)
    if data is None:
        return None
    try:
        content = json.loads(data)
    except ValueError as error:
        msg = f"{store.root}/{key} is not JSON: {error}"
        raise MovieError(msg) from error
    if not isinstance(content, dict):
        msg = f"{store.root}/{key} is not a JSON object"
        raise MovieError(msg)
    return content


def _of_v2(metadata: Mapping[str, Any], path: str, where: str) -> ZarrArray:
    return ZarrArray(
        path,
        tuple(metadata["shape"]),
        tuple(metadata["chunks"]),
        v2_pipeline(metadata, where),
        metadata.get("dimension_separator", "."),
        "",
    )


def _of_v3(metadata: Mapping[str, Any], path: str, where: str) -> ZarrArray:
    shape = tuple(metadata["shape"])
    chunks = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
    encoding = metadata["chunk_key_encoding"]
    is_v2 = encoding["name"] == "v2"
    separator = (encoding.get("configuration") or {}).get("separator", "." if is_v2 else "/")
    codecs = metadata["codecs"]
    shards = None
    if codecs[0]["name"] == "sharding_indexed":
        options = codecs[0]["configuration"]
        index_codecs = [codec["name"] for codec in options["index_codecs"]]
        if len(codecs) > 1 or set(index_codecs) - {"bytes", "crc32c"}:
            msg = f"{where}: this kind of sharding is not supported: {codecs}"
            raise MovieError(msg)
        shards = Shards(chunks, options.get("index_location") == "start", "crc32c" in index_codecs)
        chunks, codecs = tuple(options["chunk_shape"]), options["codecs"]
    return ZarrArray(
        path,
        shape,
        chunks,
        v3_pipeline(codecs, np.dtype(metadata["data_type"]), len(shape), where),
        separator,
        "" if is_v2 else f"c{separator}",
        shards,
    )
