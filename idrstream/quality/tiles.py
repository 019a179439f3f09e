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

_EARLIER_FIELDS = np.dtype(SEEN_FIELDS.descr[:-1])
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
    mine = _placed(objects.table, tile)
    mine["owned"] = True
    for of in objects.kinds:
        mine["cut_off"] |= _beyond(_placed(of.table, tile), tile.region, tile.image)
    seen = mine if others is None else np.concatenate([mine, _placed(others, tile)])
    return SeenTile(
        task.plate, task.well, task.site, tile.number, tile.count,
        tile.region, tile.core, tile.image, seen,
    )  # fmt: skip


def _placed(table: NDArray[Any], tile: Tile) -> NDArray[Any]:
    """Return objects of a tile in pixels of the whole image."""
    seen = np.zeros(len(table), SEEN_FIELDS)
    for name in ("y", "top", "bottom"):
        seen[name] = table[name] + tile.region.top
    for name in ("x", "left", "right"):
        seen[name] = table[name] + tile.region.left
    seen["area"] = table["area"]
    return seen


def _beyond(
    seen: NDArray[Any], region: tuple[int, int, int, int], image: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return which objects reach a border of a tile that is none of the image."""
    top, left, bottom, right = region
    cut = (seen["top"] == top) & (top > 0)
    cut |= (seen["left"] == left) & (left > 0)
    cut |= (seen["bottom"] == bottom) & (bottom < image[0])
    cut |= (seen["right"] == right) & (right < image[1])
    found: NDArray[np.bool_] = cut & (seen["area"] > 0)  # a nucleus may have no cell
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
        earlier = seen.dtype == _EARLIER_FIELDS
        if earlier:
            seen = _with_all_fields(seen)
        if seen.dtype != SEEN_FIELDS or len(counts) != len(about) or counts.sum() != len(seen):
            raise ValueError("its parts do not fit together")
        for (*names, region, core, image), one in zip(
            about, np.split(seen, np.cumsum(counts)[:-1]), strict=True
        ):
            plate, well, site, number_, count = names
            if earlier:
                one["cut_off"] = one["owned"] & _beyond(one, tuple(region), tuple(image))
            yield SeenTile(
                str(plate), str(well), int(site), int(number_), int(count),
                tuple(map(int, region)), tuple(map(int, core)), tuple(map(int, image)), one,  # type: ignore[arg-type]
            )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is damaged: {error}") from error


def _with_all_fields(seen: NDArray[Any]) -> NDArray[Any]:
    """Return what an earlier version kept with the field that it lacks."""
    found = np.zeros(len(seen), SEEN_FIELDS)
    for name in _EARLIER_FIELDS.fields or ():
        found[name] = seen[name]
    return found


def in_order(seen: dict[_Key, SeenTile], tasks: Sequence[ImageTask]) -> list[SeenTile]:
    """Return the tiles of a batch in the order of its tasks."""
    keys = [(t.plate, t.well_number, t.site, frame) for t in tasks for frame in t.frames]
    return [seen[key] for key in keys if key in seen]
