"""The objects that each tile of a large image saw, kept in one small file beside a batch's table.

Neighbours see the same objects in their overlap. So that their agreement can be measured, the file
has all objects of each tile, also those that other tiles own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import StorageError
from idrstream.files import atomic_file
from idrstream.opening import inside, open_regular

if TYPE_CHECKING:
    from idrstream.records import Frame, ImageTask, Objects, Tile

SEEN_FIELDS = np.dtype(
    [
        ("y", np.float32),
        ("x", np.float32),
        ("area", np.float32),
        ("top", np.int32),
        ("left", np.int32),
        ("bottom", np.int32),
        ("right", np.int32),
        ("owned", np.bool_),
        ("cut_off", np.bool_),
    ]
)
"""An object in pixels of the whole image, whether the tile owns it, and whether the tile cuts it,
its cell or its cytoplasm off; what a neighbour owns is not asked for the last."""

_Key = tuple[str, int, int, int]
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class SeenTile:
    """What a tile saw.

    Attributes
    ----------
    plate, well : str
        Of its image.
    site : int
        Of its image.
    number, count : int
        Number of the tile, and tiles of the image.
    region, core : tuple of int
        Top, left, bottom and right in the image.
    image : tuple of int
        ``(Y, X)`` of the image.
    seen : NDArray
        Its objects; see `SEEN_FIELDS`.
    """

    plate: str
    well: str
    site: int
    number: int
    count: int
    region: tuple[int, int, int, int]
    core: tuple[int, int, int, int]
    image: tuple[int, int]
    seen: NDArray[Any] = field(repr=False)


def seen_in(frame: Frame, objects: Objects) -> SeenTile:
    """Return what a tile saw, of its objects and those of its neighbours."""
    tile, task = frame.tile, frame.task
    assert tile is not None  # noqa: S101, the caller has asked
    others = objects.of_neighbours
    tables = [objects.table, objects.table[:0] if others is None else others]
    table = np.concatenate(tables)
    seen = np.zeros(len(table), SEEN_FIELDS)
    seen["owned"][: len(objects.table)] = True
    for name in ("y", "top", "bottom"):
        seen[name] = table[name] + tile.region.top
    for name in ("x", "left", "right"):
        seen[name] = table[name] + tile.region.left
    seen["area"] = table["area"]
    for of in objects.kinds:
        seen["cut_off"][: len(objects.table)] |= _cut_off(of.table, tile)
    return SeenTile(
        task.plate, task.well, task.site, tile.number, tile.count,
        tile.region, tile.core, tile.image, seen,
    )  # fmt: skip


def _cut_off(table: NDArray[Any], tile: Tile) -> NDArray[np.bool_]:
    """Return which objects reach a border of the tile that is none of the image."""
    height, width = tile.region.shape
    top, left, bottom, right = tile.region
    cut = (table["top"] == 0) & (top > 0)
    cut |= (table["left"] == 0) & (left > 0)
    cut |= (table["bottom"] == height) & (bottom < tile.image[0])
    cut |= (table["right"] == width) & (right < tile.image[1])
    found: NDArray[np.bool_] = cut & (table["area"] > 0)  # a nucleus may have no cell
    return found


def seen_path(folder: Path, number: int) -> Path:
    """Return the path of the file of a batch.

    Raises
    ------
    StorageError
        If it is a link, or its folder.
    """
    return inside(folder, f"qc/batch_{number}.tiles.npz")


def write_seen(folder: Path, number: int, tiles: Sequence[SeenTile]) -> None:
    """Write the file of a batch; delete that of an earlier table if there are no tiles."""
    path = seen_path(folder, number)
    if not tiles:
        path.unlink(missing_ok=True)
        return
    about = [[t.plate, t.well, t.site, t.number, t.count, t.region, t.core, t.image] for t in tiles]
    counts = np.array([len(tile.seen) for tile in tiles], np.int64)
    with atomic_file(path) as file:
        np.savez_compressed(
            file,
            about=np.array(json.dumps(about)),
            counts=counts,
            seen=np.concatenate([tile.seen for tile in tiles]),
        )


def read_seen(folder: Path, number: int) -> Iterator[SeenTile]:
    """Yield what the tiles of a batch saw; nothing if it has no file.

    Raises
    ------
    StorageError
        If the file is damaged.
    """
    path = seen_path(folder, number)
    if not path.is_file():
        return
    try:
        with open_regular(path) as file:
            if file.seek(0, 2) > _MOST_BYTES:
                raise ValueError("it is too large")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                counts, seen = arrays["counts"], arrays["seen"]
        if seen.dtype != SEEN_FIELDS or len(counts) != len(about) or counts.sum() != len(seen):
            raise ValueError("its parts do not fit together")
        for (*names, region, core, image), one in zip(
            about, np.split(seen, np.cumsum(counts)[:-1]), strict=True
        ):
            plate, well, site, number_, count = names
            yield SeenTile(
                str(plate), str(well), int(site), int(number_), int(count),
                tuple(map(int, region)), tuple(map(int, core)), tuple(map(int, image)), one,  # type: ignore[arg-type]
            )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is damaged: {error}") from error


def in_order(seen: dict[_Key, SeenTile], tasks: Sequence[ImageTask]) -> list[SeenTile]:
    """Return the tiles of a batch in the order of its tasks."""
    keys = [(t.plate, t.well_number, t.site, frame) for t in tasks for frame in t.frames]
    return [seen[key] for key in keys if key in seen]
