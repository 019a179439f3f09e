"""The deep check: decode everything in a movie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.errors import MovieError
from idrstream.formats.cellh5.hdf5_guard import check_chunk, check_chunks
from idrstream.formats.complete import HDF5_SUFFIXES
from idrstream.formats.tiff.complete import decode_tiff
from idrstream.formats.tiff.structure import TiffError, is_tiff

if TYPE_CHECKING:
    import h5py


def decode_all(path: Path, name: str | None = None) -> None:
    """Decode every stored pixel and value of an HDF5 file, or every page of a TIFF.

    A compressed chunk that was altered in transit fails its Adler-32 (RFC 1950). Bytes without
    a checksum (uncompressed data, texts, names, attributes, gaps) can only be verified by a
    digest that the source states. Files of other formats are not checked.

    Parameters
    ----------
    path : Path
        The file.
    name : str, optional
        Its final name, whose suffix gives the format; by default the name of `path`.

    Raises
    ------
    MovieError
        Naming the first dataset that cannot be decoded.
    """
    if is_tiff(path):
        try:
            decode_tiff(path)
        except (TiffError, OSError) as error:
            msg = f"{name or path.name} is damaged: {error}"
            raise MovieError(msg) from error
    if Path(name or path.name).suffix.lower() not in HDF5_SUFFIXES:
        return
    import h5py

    at = ""
    try:
        with h5py.File(path, "r") as file:
            datasets: list[str] = []

            def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
                if isinstance(item, h5py.Dataset):
                    datasets.append(name)

            file.visititems(collect)
            for at in datasets:
                _decode(file[at], path)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        where = f" at {at}" if at else ""
        msg = f"{name or path.name} is damaged{where}: {error}"
        raise MovieError(msg) from error


def _decode(dataset: h5py.Dataset, path: Path) -> None:
    if dataset.dtype.hasobject:  # texts and references: a few bytes may stand for gigabytes
        return
    check_chunks(dataset, path)
    if dataset.chunks is None:
        if dataset.id.get_storage_size():
            if dataset.nbytes > path.stat().st_size:
                msg = f"it states {dataset.nbytes:,} bytes"
                raise ValueError(msg)
            dataset[()]
        return
    for index in range(dataset.id.get_num_chunks()):
        offset = dataset.id.get_chunk_info(index).chunk_offset
        problem = check_chunk(dataset, offset, dataset.name)
        if problem is not None:
            raise ValueError(problem)
        dataset[
            tuple(
                slice(start, min(start + step, end))
                for start, step, end in zip(offset, dataset.chunks, dataset.shape, strict=True)
            )
        ]
