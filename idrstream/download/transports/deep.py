"""The deep check: decode everything in a movie."""

from __future__ import annotations

from pathlib import Path

from idrstream.errors import MovieError
from idrstream.formats.complete import HDF5_SUFFIXES


def decode_all(path: Path, name: str | None = None) -> None:
    """Decode every stored pixel and value of an HDF5 file.

    A compressed chunk that was changed on its way fails its Adler-32 (RFC 1950). Bytes that
    no checksum covers (uncompressed data, names, attributes, gaps) can only be proven by a
    digest that the source states. Files of other formats are left alone.

    Parameters
    ----------
    path : Path
        The file.
    name : str, optional
        Its final name, which says the format; by default the one of `path`.

    Raises
    ------
    MovieError
        Naming the first dataset that cannot be decoded.
    """
    if Path(name or path.name).suffix.lower() not in HDF5_SUFFIXES:
        return
    import h5py

    at = ""
    try:
        with h5py.File(path, "r") as file:
            datasets: list[str] = []

            def collect(name: str, item: object) -> None:
                dict(item.attrs)  # type: ignore[attr-defined]
                if isinstance(item, h5py.Dataset):
                    datasets.append(name)

            file.visititems(collect)
            for at in datasets:
                _decode(file[at])
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        where = f" at {at}" if at else ""
        msg = f"{name or path.name} is damaged{where}: {error}"
        raise MovieError(msg) from error


def _decode(dataset: object) -> None:
    import h5py

    assert isinstance(dataset, h5py.Dataset)  # noqa: S101
    if dataset.chunks is None:
        dataset[()]
        return
    number = dataset.id.get_num_chunks()
    for index in range(number):
        offset = dataset.id.get_chunk_info(index).chunk_offset
        places = tuple(
            slice(start, min(start + step, end))
            for start, step, end in zip(offset, dataset.chunks, dataset.shape, strict=True)
        )
        dataset[places]
