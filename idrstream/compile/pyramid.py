"""The label image of a large image: an OME-NGFF pyramid, put together tile by tile.

An image has one hierarchy, ``labels/<plate>-<row>-<column>-<site>.zarr``, with a label image of
each kind of objects, uint32, in ``labels/<objects>``. The number of an object is that in the column
``Metadata_Label`` of the table. Each level has half the size of the one before; of four pixels the
first is taken, as labels cannot be averaged (https://ngff.openmicroscopy.org/0.5/#labels-md).

Where the objects of two tiles overlap the larger number is taken, so that the order in which tiles
come does not matter. Never more than one tile and a few chunks are in memory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.compile.masks import MASKS, site_path
from idrstream.errors import StorageError
from idrstream.files import move_folder
from idrstream.opening import inside

if TYPE_CHECKING:
    from idrstream.records import ImageTask, Tile

LABELS = "labels"
"""Folder of the label images in the output folder."""
CHUNK_PX = 1024
_VERSION = "0.5"


def labels_path(folder: Path, task: ImageTask) -> Path:
    """Return where the label image of a large image is in an output folder.

    Raises
    ------
    StorageError
        If it is a link, or its folder.
    """
    return inside(folder, f"{LABELS}/{site_path(task).replace('/', '-')}.zarr")


def write_pyramid(
    folder: Path, task: ImageTask, tiles: Mapping[int, Tile], work: Path
) -> Path | None:
    """Put the label image of a large image together from the masks that its batches kept.

    Parameters
    ----------
    folder : Path
        Output folder.
    task : ImageTask
        The image: any of its rows.
    tiles : Mapping[int, Tile]
        Its tiles by number.
    work : Path
        Where it is made, before it is moved to its place.

    Returns
    -------
    Path or None
        The hierarchy; None if no masks were kept.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    import zarr

    target = labels_path(folder, task)
    stores = sorted((folder / MASKS).glob("batch_*.zarr"))
    sources = [path for store in stores if (path := store / site_path(task) / "labels").is_dir()]
    names = sorted({path.name for source in sources for path in source.iterdir() if path.is_dir()})
    if not names:
        return None
    one = next(iter(tiles.values()))
    try:
        root = zarr.open_group(work / target.name, mode="w")
        labels = root.require_group("labels")
        labels.attrs["ome"] = {"version": _VERSION, "labels": names}
        for name in names:
            group: Any = labels.require_group(name)
            levels = _levels(one.image)
            group.attrs["ome"] = _metadata(name, levels, one.pixel_um)
            arrays = [_array(group, number, size) for number, size in enumerate(levels)]
            for tile, mask in _masks([source / name for source in sources], tiles):
                _add(arrays[0], tile, mask)
            for finer, coarser in itertools.pairwise(arrays):
                _halve(finer, coarser)
    except OSError as error:
        raise StorageError(f"{work} cannot be written: {error}") from error
    move_folder(work / target.name, target)
    return target


def _masks(
    sources: Sequence[Path], tiles: Mapping[int, Tile]
) -> Iterator[tuple[Tile, np.ndarray[Any, Any]]]:
    import zarr

    for source in sources:
        if not source.is_dir():
            continue
        image: Any = zarr.open_group(source, mode="r")
        for number in image.attrs["idrstream"]["frames"]:
            if number in tiles:
                yield tiles[number], image["0"][number - 1]


def _add(array: Any, tile: Tile, mask: np.ndarray[Any, Any]) -> None:
    """Put the objects of a tile into the image, as far as it has any."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return
    here = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    top, left = tile.region.top + int(rows[0]), tile.region.left + int(columns[0])
    part = mask[here]
    numbers = np.where(part > 0, part.astype(np.uint32) + np.uint32(tile.first_label), 0)
    there = np.s_[top : top + part.shape[0], left : left + part.shape[1]]
    array[there] = np.maximum(array[there], numbers.astype(np.uint32))


def _halve(finer: Any, coarser: Any) -> None:
    height, width = coarser.shape
    for top in range(0, height, CHUNK_PX):
        for left in range(0, width, CHUNK_PX):
            bottom, right = min(top + CHUNK_PX, height), min(left + CHUNK_PX, width)
            part = finer[2 * top : 2 * bottom : 2, 2 * left : 2 * right : 2]
            if part.any():
                coarser[top:bottom, left:right] = part


def _levels(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return ``(Y, X)`` of each level: halved until one chunk holds it."""
    levels = [size]
    while max(levels[-1]) > CHUNK_PX:
        height, width = levels[-1]
        levels.append(((height + 1) // 2, (width + 1) // 2))
    return levels


def _array(group: Any, number: int, size: tuple[int, int]) -> Any:
    from zarr.codecs import ZstdCodec

    return group.create_array(
        str(number),
        shape=size,
        chunks=(min(CHUNK_PX, size[0]), min(CHUNK_PX, size[1])),
        dtype="uint32",
        compressors=ZstdCodec(level=3),
        dimension_names=("y", "x"),
    )


def _metadata(name: str, levels: Sequence[tuple[int, int]], pixel_um: float) -> dict[str, Any]:
    known = math.isfinite(pixel_um)
    unit = {"unit": "micrometer"} if known else {}
    side = pixel_um if known else 1.0
    return {
        "version": _VERSION,
        "multiscales": [
            {
                "name": name,
                "type": "nearest",
                "axes": [{"name": axis, "type": "space", **unit} for axis in "yx"],
                "datasets": [
                    {
                        "path": str(number),
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [side * 2**number] * 2}
                        ],
                    }
                    for number in range(len(levels))
                ],
            }
        ],
        "image-label": {"version": _VERSION},
    }
