"""Tiled and striped TIFF, BigTIFF and OME-TIFF, of which only the tiles needed are read.

Smaller versions of the image (a pyramid) are passed over. Tiles that were never written have no
bytes in the file and are zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import DownloadError, MovieError
from idrstream.formats.hdf5_ranges.ranges import ByteRange
from idrstream.formats.hdf5_ranges.reader import RangeReader
from idrstream.formats.large.image import Key, LargeImage, LargeInfo
from idrstream.formats.tiff.ome import OmeImage, Planes, read_ome
from idrstream.formats.tiff.structure import TiffError
from idrstream.text import counted

if TYPE_CHECKING:
    from idrstream.download.protocol import RemoteFile

_STRIP_BYTES = 4 << 20  # of strips that are not compressed, read at once
_MOST_PAGES = 1 << 16
_MORE_BYTES = 1 << 16  # that a compressed tile may have beside twice its pixels'
_MOST_CHARACTERS = 16 << 20  # of OME-XML
_CENTIMETRE = 3


@dataclass(frozen=True, slots=True)
class _Plane:
    """One channel: its page, and its sample where a page has several."""

    page: Any
    sample: int


def open_tiff(file: RemoteFile, where: str, *, z: int | None = None) -> LargeImage:
    """Open the full resolution of the first image of a TIFF.

    Parameters
    ----------
    file : RemoteFile
        The file; closed with the image.
    where : str
        Its path or address, for messages.
    z : int, optional
        Plane to read, counted from 0; needed when there are several.

    Raises
    ------
    idrstream.errors.MovieError
        If it is no TIFF, damaged, or of a kind that is not read.
    """
    chunks = TiffChunks(file, where, z)
    return LargeImage(chunks.info, chunks, where)


class TiffChunks:
    """The tiles or strips of a TIFF; see `open_tiff`."""

    def __init__(self, file: RemoteFile, where: str, z: int | None = None) -> None:
        import tifffile

        self._file = file
        self._where = where
        self._reader = RangeReader(file)
        self._planes: dict[int, _Plane] = {}
        with self._readable():
            self._tiff = tifffile.TiffFile(cast("IO[bytes]", self._reader), name=where)
            page: Any = self._tiff.pages[0]
            self._ome = _first_image(page.description, where)
            self._z = self._plane_of(z)
            self._several = page.samplesperpixel if page.planarconfig in (1, 2) else 1
            self.info = self._info(page)
        self.info.check(where)

    @property
    def bytes_moved(self) -> int:
        """Bytes received so far."""
        return self._file.bytes_moved

    def read(self, keys: Sequence[Key]) -> Iterator[tuple[Key, NDArray[Any]]]:
        """Yield chunks; see `Chunks.read`."""
        at: dict[ByteRange, list[Key]] = {}
        with self._readable():
            for key in keys:
                stored = self._stored(key)
                if stored is None:
                    yield key, np.zeros(self.info.chunk, self.info.dtype)
                else:
                    at.setdefault(stored, []).append(key)
            for stored, data in self._reader.read_ranges(at):
                for key in at[stored]:
                    yield key, self._decoded(key, data)

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()
        self._file.close()

    def _info(self, page: Any) -> LargeInfo:
        shape = (int(page.imagelength), int(page.imagewidth))
        ome = self._ome
        names = self._unnamed(page) if ome is None else ome.channels or [""] * ome.sizes[0]
        if page.is_tiled:
            chunk = (int(page.tilelength), int(page.tilewidth))
        else:
            chunk = (_rows_at_once(page), shape[1])
        um = _resolution_um(page) if ome is None else ome.spacing_um[2]
        return LargeInfo(shape, str(page.dtype), tuple(names), chunk, um)

    def _unnamed(self, page: Any) -> list[str]:
        """Return a name for each channel of a plain TIFF: pages as large as the first."""
        if self._several > 1:
            return [""] * self._several
        pages: Any = self._tiff.pages
        count = 0
        while count < _MOST_PAGES:
            try:
                other: Any = pages[count]
            except IndexError:
                break
            if (other.imagelength, other.imagewidth) == (page.imagelength, page.imagewidth):
                count += not other.is_reduced
            elif count:
                break
        return [""] * count

    def _plane_of(self, z: int | None) -> int:
        if self._ome is None:
            return z or 0
        _, n_planes, n_times = self._ome.sizes
        if n_times > 1:
            raise MovieError(f"{self._where}: it has {n_times} time points; large images have one")
        if z is None and n_planes > 1:
            raise MovieError(
                f"{self._where}: it has {n_planes} z-planes: set z to the one to read, from 0"
            )
        if not 0 <= (z or 0) < n_planes:
            planes = counted(n_planes, "z-plane")
            raise MovieError(f"{self._where}: it has {planes}; there is no {z}")
        return z or 0

    def _plane(self, channel: int) -> _Plane:
        if channel not in self._planes:
            if self._several > 1:
                plane = _Plane(self._tiff.pages[0], channel)
            else:
                plane = _Plane(self._page(self._page_number(channel)), 0)
            self._planes[channel] = plane
        return self._planes[channel]

    def _page_number(self, channel: int) -> int:
        """Return which page of the file a channel is, counted from 0."""
        if self._ome is None:
            return channel
        wanted = channel, self._z, 0
        for planes in self._ome.planes or (Planes("", "", 0, (0, 0, 0), None),):
            for at, page in self._ome.positions(planes):
                if at == wanted:
                    return page
        msg = f"{self._where}: its OME-XML does not say where channel {channel}, plane {self._z} is"
        raise MovieError(msg)

    def _page(self, number: int) -> Any:
        try:
            page: Any = self._tiff.pages[number]
        except IndexError as error:
            raise MovieError(f"{self._where}: it lacks its plane {number + 1}") from error
        first: Any = self._tiff.pages[0]
        if (page.imagelength, page.imagewidth, page.dtype) != (
            first.imagelength, first.imagewidth, first.dtype,
        ):  # fmt: skip
            raise MovieError(f"{self._where}: its plane {number + 1} is unlike the first")
        return page

    def _stored(self, key: Key) -> ByteRange | None:
        """Return where a chunk is in the file; None if it was never written."""
        channel, row, column = key
        plane = self._plane(channel)
        page = plane.page
        if page.is_tiled or page.compression != 1:
            start, size = self._segment(plane, row, column)
        else:
            start, size = self._rows(plane, row)
        if start <= 0 or size <= 0:
            return None
        most = 2 * math.prod(self.info.chunk) * page.dtype.itemsize * self._per_pixel(page)
        if start + size > self._file.size_bytes or size > most + _MORE_BYTES:
            raise MovieError(
                f"{self._where}: truncated or damaged: {size:,} bytes of a tile at {start:,}"
            )
        return ByteRange(start, start + size)

    def _segment(self, plane: _Plane, row: int, column: int) -> tuple[int, int]:
        number = self._number(plane, row, column)
        offsets, sizes = plane.page.dataoffsets, plane.page.databytecounts
        if number >= min(len(offsets), len(sizes)):
            raise MovieError(f"{self._where}: damaged: it lists {len(offsets)} tiles only")
        return int(offsets[number]), int(sizes[number])

    def _number(self, plane: _Plane, row: int, column: int) -> int:
        height, width = self.info.chunk
        rows = -(-self.info.shape[0] // height)
        columns = -(-self.info.shape[1] // width)
        number = row * columns + column
        separate = plane.page.planarconfig == 2 and self._several > 1
        return number + plane.sample * rows * columns if separate else number

    def _rows(self, plane: _Plane, row: int) -> tuple[int, int]:
        """Return where some rows of strips without compression are."""
        page, (height, _) = plane.page, self.info.chunk
        strip, within = divmod(row * height, int(page.rowsperstrip))
        if page.planarconfig == 2 and self._several > 1:
            strip += plane.sample * -(-self.info.shape[0] // int(page.rowsperstrip))
        offsets = page.dataoffsets
        if strip >= len(offsets):
            raise MovieError(f"{self._where}: damaged: it lists {len(offsets)} strips only")
        line = self._line_bytes(page)
        count = min(height, self.info.shape[0] - row * height)
        start = int(offsets[strip])
        return (start + within * line if start else 0), count * line

    def _per_pixel(self, page: Any) -> int:
        return self._several if page.planarconfig == 1 else 1

    def _line_bytes(self, page: Any) -> int:
        return self.info.shape[1] * int(page.dtype.itemsize) * self._per_pixel(page)

    def _decoded(self, key: Key, data: bytes) -> NDArray[Any]:
        plane = self._plane(key[0])
        page, sample = plane.page, plane.sample if self._per_pixel(plane.page) > 1 else 0
        if not page.is_tiled and page.compression == 1:
            order = self._tiff.byteorder
            rows = np.frombuffer(data, page.dtype.newbyteorder(order))
            shaped = rows.reshape(-1, self.info.shape[1], self._per_pixel(page))
            return np.ascontiguousarray(shaped[:, :, sample], dtype=self.info.dtype)
        number = self._number(plane, key[1], key[2])
        segment, _, shape = page.decode(data, number, jpegtables=page.jpegtables)
        if segment is None:
            return np.zeros(self.info.chunk, self.info.dtype)
        pixels: NDArray[Any] = segment[0, : shape[1], : shape[2], sample]
        return np.ascontiguousarray(pixels, dtype=self.info.dtype)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn what tifffile raises into an error that names the file; pass ours on."""
        try:
            yield
        except (DownloadError, MovieError):
            raise
        except Exception as error:  # decoders raise errors of their own
            if isinstance(self._reader.error, DownloadError):
                raise self._reader.error from error
            msg = f"{self._where} is no TIFF or damaged: {type(error).__name__}: {error}"
            raise MovieError(msg) from error


def _first_image(description: str, where: str) -> OmeImage | None:
    """Return what an OME-XML says of its first image; None if it is no OME-XML.

    Raises
    ------
    idrstream.errors.MovieError
        If it cannot be understood, declares entities, or its pixels are in other files.
    """
    if "<OME" not in description[:4096]:
        return None
    if len(description) > _MOST_CHARACTERS:
        raise MovieError(f"{where}: its OME-XML has {len(description):,} characters")
    try:
        images = read_ome(description).images
    except TiffError as error:
        raise MovieError(f"{where} {error}") from error
    if not images:
        raise MovieError(f"{where}: its OME-XML has no image")
    files = {planes.file for planes in images[0].planes} - {""}
    if len(files) > 1:
        raise MovieError(
            f"{where}: its planes are in {len(files)} files; "
            "write it as one OME-TIFF or OME-Zarr (bfconvert and bioformats2raw do)"
        )
    return images[0]


def _rows_at_once(page: Any) -> int:
    """Return how many rows of strips are read together: a divisor of those of a strip."""
    rows = min(int(page.rowsperstrip), int(page.imagelength))
    if page.compression != 1:
        return rows
    line = int(page.imagewidth) * int(page.dtype.itemsize)
    most = max(1, min(rows, _STRIP_BYTES // max(1, line)))
    if int(page.rowsperstrip) >= int(page.imagelength):
        return most
    return next(count for count in range(most, 0, -1) if rows % count == 0)


def _resolution_um(page: Any) -> float:
    """Return the side of a pixel of a plain TIFF; NaN unless it is stated in centimetres."""
    unit, resolution = page.tags.get(296), page.tags.get(282)
    if unit is None or resolution is None or int(unit.value) != _CENTIMETRE:
        return math.nan
    above, below = resolution.value
    found = 1e4 * below / above if above else math.nan
    return found if 0.01 < found < 100 else math.nan
