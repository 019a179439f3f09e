"""What is checked of HDF5 before it reads or unpacks anything: of movies and of checkpoints.

HDF5 believes what a file says of itself: a chunk of some kilobytes may unpack to gigabytes, one
that unpacks to less than it states is read beyond its end, and filters that it does not know are
looked for as libraries on the disk. So only the filters that CellCognition and h5py write are
let through, sizes are bounded, and each packed chunk is unpacked once in small steps to see that
it has the size it states.
"""

from __future__ import annotations

import zlib
from math import prod
from pathlib import Path
from typing import Any

from idrstream.errors import FrameError, MovieError

MAX_FRAME_PIXELS = 2**26
MAX_FRAMES = 2**20
MAX_CHUNK_BYTES = 2**26
MAX_CHUNKS_PER_FRAME = 2**12

# HDF5's filter numbers; only these are built in everywhere and can be bounded.
_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_NAMES = {
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    32001: "blosc",
    32008: "bitshuffle",
    32015: "zstd",
}
_CHECKSUM_BYTES = 4


def check_storage(dataset: Any, path: Path) -> None:
    """Check shape, chunks and filters of an image dataset.

    Parameters
    ----------
    dataset : h5py.Dataset
        Shape ``(c, t, z, y, x)``.
    path : Path
        The file, for messages.

    Raises
    ------
    MovieError
        If frames, chunks or their number are larger than a microscope's movie has, or the
        chunks are packed with a filter that is not let through.
    """
    _, n_frames, _, height, width = dataset.shape
    if height * width > MAX_FRAME_PIXELS:
        msg = f"{path} states frames of {height} x {width} pixels: not a microscope's movie"
        raise MovieError(msg)
    if n_frames > MAX_FRAMES:
        msg = f"{path} states {n_frames:,} frames: not a microscope's movie"
        raise MovieError(msg)
    check_chunks(dataset, path)
    chunks = dataset.chunks
    if chunks is None:
        return
    per_frame = -(-height // chunks[3]) * -(-width // chunks[4])
    if per_frame > MAX_CHUNKS_PER_FRAME:
        msg = f"{path} keeps a frame in {per_frame:,} chunks, more than {MAX_CHUNKS_PER_FRAME:,}"
        raise MovieError(msg)


def check_chunks(dataset: Any, path: Path) -> None:
    """Check where a dataset of any shape is stored, and the size and filters of its chunks.

    Raises
    ------
    MovieError
        If it is in other files, or its chunks are too large or packed with a filter that is not
        let through.
    """
    if dataset.is_virtual or dataset.external:
        msg = f"{path} keeps {dataset.name} in other files; only what is in one file is read"
        raise MovieError(msg)
    if dataset.chunks is None:
        return
    if chunk_bytes(dataset) > MAX_CHUNK_BYTES:
        msg = f"{path} has chunks of {chunk_bytes(dataset):,} bytes, more than {MAX_CHUNK_BYTES:,}"
        raise MovieError(msg)
    _check_filters(dataset, path)


def refuse_link(group: Any, name: str, path: Path) -> None:
    """Raise for a link that leads somewhere else, perhaps into another file.

    Parameters
    ----------
    group : h5py.Group
        An open group; of anything else nothing is checked.
    name : str
        Name in the group, without slashes.
    path : Path
        The file, for messages.

    Raises
    ------
    MovieError
        If it is an external or a soft link.
    """
    import h5py

    if not isinstance(group, h5py.Group):
        return
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        msg = f"{path}: {name!r} is an external link to {link.filename}; open that file itself"
        raise MovieError(msg)
    if isinstance(link, h5py.SoftLink):
        msg = f"{path}: {name!r} is a soft link; only real groups are read"
        raise MovieError(msg)


def check_chunk(dataset: Any, coordinates: tuple[int, ...], what: str) -> FrameError | None:
    """Return what is wrong with a compressed chunk, without passing it to HDF5's filters.

    Parameters
    ----------
    dataset : h5py.Dataset
        One that `check_storage` let through.
    coordinates : tuple of int
        First element of the chunk, which is in the file.
    what : str
        Name of its frame, for the message.

    Returns
    -------
    FrameError or None
        None when it unpacks to the size that the dataset states.
    """
    expected = chunk_bytes(dataset)
    codes = [code for code, _ in _filters(dataset)]
    stored = dataset.id.get_chunk_info_by_coord(coordinates)
    if stored.size > most_stored_bytes(dataset):
        return FrameError(
            f"{what} cannot be decoded: a chunk of {expected:,} bytes takes {stored.size:,}"
        )
    used = [code for i, code in enumerate(codes) if not stored.filter_mask >> i & 1]
    if _LZF in used:
        return None  # bounded by its stored size and the buffer that was checked
    _, packed = dataset.id.read_direct_chunk(coordinates)
    if _DEFLATE not in used:
        size = len(packed)
        inside = used
    else:
        at = used.index(_DEFLATE)
        inside = used[:at]
        size = _unpacked_bytes(packed, expected + _CHECKSUM_BYTES)
    expected += _CHECKSUM_BYTES if _FLETCHER32 in inside else 0
    if size != expected:
        return FrameError(
            f"{what} cannot be decoded: a chunk of {expected:,} bytes unpacks to "
            f"{'more' if size > expected else f'{size:,}'}"
        )
    return None


def most_stored_bytes(dataset: Any) -> int:
    """Return how many bytes a chunk may take in the file: packed, some more than unpacked."""
    size = chunk_bytes(dataset)
    return size + 64 + size // 100 + _CHECKSUM_BYTES


def chunk_bytes(dataset: Any) -> int:
    """Return the size of an unpacked chunk."""
    return int(prod(int(side) for side in dataset.chunks) * dataset.dtype.itemsize)


def _unpacked_bytes(packed: bytes, limit: int) -> int:
    """Return how much a deflated chunk unpacks to, at most one byte more than `limit`."""
    unpacker = zlib.decompressobj()
    try:
        size = len(unpacker.decompress(packed, limit + 1))
    except zlib.error:
        return 0
    return size if unpacker.eof or size > limit else 0


def _check_filters(dataset: Any, path: Path) -> None:
    filters = _filters(dataset)
    codes = [code for code, _ in filters]
    for code, values in filters:
        known = code in (_DEFLATE, _SHUFFLE, _FLETCHER32) or (
            code == _LZF and len(values) >= 3 and values[2] == chunk_bytes(dataset)
        )
        if not known:
            name = _NAMES.get(code, f"number {code}")
            msg = (
                f"{path} is packed with the filter {name}, which is not allowed; repack it: "
                "h5repack -f GZIP=4 old.ch5 new.ch5"
            )
            raise MovieError(msg)
    if len(set(codes)) != len(codes) or {_DEFLATE, _LZF} <= set(codes):
        msg = f"{path} is compressed twice; repack it: h5repack -f GZIP=4 old.ch5 new.ch5"
        raise MovieError(msg)


def _filters(dataset: Any) -> list[tuple[int, tuple[int, ...]]]:
    creation = dataset.id.get_create_plist()
    found = (creation.get_filter(i) for i in range(creation.get_nfilters()))
    return [(int(code), tuple(values)) for code, _, values, _ in found]
