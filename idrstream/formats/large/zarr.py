"""OME-Zarr (OME-NGFF 0.4 on Zarr 2 and 0.5 on Zarr 3), of which only the chunks needed are read.

zarr-python decodes the chunks; their bytes come from a store of ours, which reads a folder, a web
server or S3 with the limits of every other download.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ConfigError, DownloadError, MovieError
from idrstream.formats.large.image import Key, LargeImage, LargeInfo
from idrstream.text import counted

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest, Store
    from zarr.core.buffer import Buffer, BufferPrototype

_AXES = "tczyx"
_UM = {"nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}


class ZarrObjects(Protocol):
    """Where the objects of a hierarchy are."""

    def get(self, key: str, start: int | None = None, stop: int | None = None) -> bytes | None:
        """Return an object or a range of it; None if there is no such object."""
        ...

    @property
    def bytes_moved(self) -> int:
        """Bytes received so far."""
        ...


def open_zarr(objects: ZarrObjects, where: str, *, z: int | None = None) -> LargeImage:
    """Open the full resolution of an OME-Zarr image.

    Parameters
    ----------
    objects : ZarrObjects
        Its objects.
    where : str
        Its path or address, for messages.
    z : int, optional
        Plane to read, counted from 0; needed when there are several.

    Raises
    ------
    idrstream.errors.MovieError
        If it is no image of OME-Zarr, or of a kind that is not read.
    """
    chunks = ZarrChunks(objects, where, z)
    return LargeImage(chunks.info, chunks, where)


class ZarrChunks:
    """The chunks of an array; see `open_zarr`."""

    def __init__(self, objects: ZarrObjects, where: str, z: int | None = None) -> None:
        import zarr

        self._objects = objects
        self._where = where
        with self._readable():
            group = zarr.open_group(_store(objects), mode="r")
            attributes: Any = dict(group.attrs)
            ome = attributes.get("ome", attributes)
            if "multiscales" not in ome and "0" in group:  # what bioformats2raw writes
                group = group["0"]  # type: ignore[assignment]
                attributes = dict(group.attrs)
                ome = attributes.get("ome", attributes)
            scales = ome["multiscales"][0]
            level = scales["datasets"][0]
            self._array: Any = group[str(level["path"])]
            self._axes = tuple(
                str(one["name"] if isinstance(one, Mapping) else one).lower()
                for one in scales["axes"]
            )
            self._fixed = self._positions(z)
            self.info = self._info(ome, scales, level)
        self.info.check(where)

    @property
    def bytes_moved(self) -> int:
        """Bytes received so far."""
        return self._objects.bytes_moved

    def read(self, keys: Sequence[Key]) -> Iterable[tuple[Key, NDArray[Any]]]:
        """Yield chunks; see `Chunks.read`."""
        height, width = self.info.chunk
        for key in keys:
            channel, row, column = key
            rows = slice(row * height, min((row + 1) * height, self.info.shape[0]))
            columns = slice(column * width, min((column + 1) * width, self.info.shape[1]))
            where = {**self._fixed, "c": channel, "y": rows, "x": columns}
            with self._readable():
                pixels = np.asarray(self._array[tuple(where[axis] for axis in self._axes)])
            yield key, np.ascontiguousarray(pixels, dtype=self.info.dtype)

    def close(self) -> None:
        """Do nothing: no file is open between reads."""

    def _size(self, axis: str) -> int:
        return int(self._array.shape[self._axes.index(axis)]) if axis in self._axes else 1

    def _positions(self, z: int | None) -> dict[str, int]:
        if not {"y", "x"} <= set(self._axes) or set(self._axes) - set(_AXES):
            raise MovieError(f"{self._where}: it has the axes {', '.join(self._axes)}")
        if self._axes.index("y") > self._axes.index("x") or len(self._axes) != self._array.ndim:
            raise MovieError(f"{self._where}: its axes are {', '.join(self._axes)}: y before x")
        if self._size("t") > 1:
            raise MovieError(
                f"{self._where}: it has {self._size('t')} time points; large images have one"
            )
        if z is None and self._size("z") > 1:
            raise MovieError(
                f"{self._where}: it has {self._size('z')} z-planes: set z to one, from 0"
            )
        if not 0 <= (z or 0) < self._size("z"):
            planes = counted(self._size("z"), "z-plane")
            raise MovieError(f"{self._where}: it has {planes}; there is no {z}")
        return {"t": 0, "z": z or 0}

    def _info(self, ome: Mapping[str, Any], scales: Any, level: Any) -> LargeInfo:
        count = self._size("c")
        labels = [str(one.get("label", "")) for one in ome.get("omero", {}).get("channels", ())]
        names = tuple([*labels, *[""] * count][:count])
        chunks = dict(zip(self._axes, self._array.chunks, strict=True))
        pixel_um = math.nan
        axis = self._axes.index("x")
        said = scales["axes"][axis]
        unit = said.get("unit") if isinstance(said, Mapping) else None
        for change in level.get("coordinateTransformations", ()):
            if change.get("type") == "scale" and unit in _UM:
                pixel_um = float(change["scale"][axis]) * _UM[unit]
        if not 0 < pixel_um < math.inf:
            pixel_um = math.nan
        return LargeInfo(
            (self._size("y"), self._size("x")),
            str(self._array.dtype),
            names,
            (int(chunks["y"]), int(chunks["x"])),
            pixel_um,
        )

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn what zarr raises into an error that names the image; pass ours on."""
        try:
            yield
        except (DownloadError, MovieError, ConfigError):
            raise
        except Exception as error:  # codecs raise errors of their own
            msg = f"{self._where} is no OME-Zarr image or damaged: {type(error).__name__}: {error}"
            raise MovieError(msg) from error


def _store(objects: ZarrObjects) -> Store:
    from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

    class ReadOnly(Store):
        """Reads the objects in threads, one by one."""

        supports_writes = False
        supports_deletes = False
        supports_listing = False

        def __eq__(self, other: object) -> bool:
            return self is other

        def __hash__(self) -> int:
            return id(self)

        async def get(
            self,
            key: str,
            prototype: BufferPrototype,
            byte_range: ByteRequest | None = None,
        ) -> Buffer | None:
            part: tuple[int | None, int | None] = (None, None)
            if isinstance(byte_range, RangeByteRequest):
                part = (byte_range.start, byte_range.end)
            elif isinstance(byte_range, OffsetByteRequest):
                part = (byte_range.offset, None)
            elif isinstance(byte_range, SuffixByteRequest):
                part = (-byte_range.suffix, None)
            data = await asyncio.to_thread(objects.get, key, *part)
            return None if data is None else prototype.buffer.from_bytes(data)

        async def get_partial_values(
            self,
            prototype: BufferPrototype,
            key_ranges: Iterable[tuple[str, ByteRequest | None]],
        ) -> list[Buffer | None]:
            return [await self.get(key, prototype, part) for key, part in key_ranges]

        async def exists(self, key: str) -> bool:
            return await asyncio.to_thread(objects.get, key, 0, 1) is not None

        async def set(self, key: str, value: Buffer) -> None:
            raise NotImplementedError

        async def delete(self, key: str) -> None:
            raise NotImplementedError

        def list(self) -> AsyncIterator[str]:
            raise NotImplementedError

        def list_prefix(self, prefix: str) -> AsyncIterator[str]:
            raise NotImplementedError

        def list_dir(self, prefix: str) -> AsyncIterator[str]:
            raise NotImplementedError

    return ReadOnly(read_only=True)
