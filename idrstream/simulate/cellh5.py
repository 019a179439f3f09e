"""Write CellH5 as CellCognition 1.5 writes it.

Groups, types, names and chunks mirror files of the Mitocheck study in IDR; see the CellH5
paper, Sommer et al. 2013, https://doi.org/10.1093/bioinformatics/btt175.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

OBJECT = "primary__primary"
REGION = f"region___{OBJECT}"
SECONDS_PER_FRAME = 1800
_GZIP = 4
_SIDES = ("left", "right", "top", "bottom")
_TIMES = ("frame", "timestamp_abs", "timestamp_rel")
_OBJECTS = ("time_idx", "obj_label_id")
# So many features of each object does CellCognition 1.5 keep.
_N_FEATURES = 239
_ROWS = 64


def write_cellh5(
    path: Path,
    frames: NDArray[np.unsignedinteger[Any]],
    masks: NDArray[np.uint16],
    *,
    valid: NDArray[np.bool_],
    screen: str,
    well_number: int,
    position: int = 1,
    channels: Sequence[str] = ("rfp",),
    interleaved: bool = False,
) -> None:
    """Write one movie.

    Parameters
    ----------
    path : Path
        The file; it must not exist.
    frames : NDArray
        Shape ``(t, y, x)`` of one channel and plane, or ``(c, t, z, y, x)``; uint8 or uint16.
    masks : NDArray
        Shape ``(t, y, x)``, uint16: label images, 0 for background.
    valid : NDArray
        Shape ``(t,)``, bool: frames that are not valid are marked so and never written.
    screen : str
        Name of the plate's group.
    well_number : int
        Number of the well, counted from 1; names the experiment's group.
    position : int
        Number of the field in its well, counted from 1; names the position's group.
    channels : sequence of str
        Names of the channels, in their order.
    interleaved : bool
        Grow the tables frame by frame between the pixels, as CellCognition does while it works,
        and with a table of object features as large as its own, of random numbers. For the
        study of how such files are read over a network.

    Raises
    ------
    OSError
        If the file exists or cannot be written.
    """
    import h5py

    # The default library bounds give superblock version 0, as the archive's files have.
    with h5py.File(path, "x") as file:
        _write_definition(file.create_group("definition"), channels)
        place = file.create_group(
            f"sample/0/plate/{screen}/experiment/{well_number:05d}/position/{position}"
        )
        image = place.create_group("image")
        if not interleaved:
            _write_tables(place, masks, valid)
        targets = [
            (_create_image(image, name, stack, valid), stack)
            for name, stack in (("channel", _stack(frames)), ("region", _stack(masks)))
        ]
        # Frame by frame, so that pixels and labels lie interleaved in the file.
        for number in np.flatnonzero(valid):
            for dataset, stack in targets:
                dataset[:, number] = stack[:, number]
            if interleaved:
                _append_tables(place, masks, int(number))


def _stack(frames: NDArray[Any]) -> NDArray[Any]:
    """Return frames as ``(c, t, z, y, x)``."""
    return frames if frames.ndim == 5 else frames[None, :, None]


def _create_image(group: Any, name: str, stack: NDArray[Any], valid: NDArray[np.bool_]) -> Any:
    shape, (height, width) = stack.shape, stack.shape[-2:]
    dataset = group.create_dataset(
        name,
        shape,
        stack.dtype,
        chunks=(1, 1, 1, max(1, height // 4), max(1, width // 4)),
        maxshape=shape,
        compression="gzip",
        compression_opts=_GZIP,
        track_times=False,
    )
    dataset.attrs["valid"] = valid.astype(np.float64)
    return dataset


def _write_definition(group: Any, channels: Sequence[str]) -> None:
    channel = np.array(
        [
            (name.encode(), f"{name} channel".encode(), True, (0.0, 0.0, 0.0), b"#ff0000")
            for name in channels
        ],
        dtype=[
            ("channel_name", "S50"),
            ("description", "S100"),
            ("is_physical", "?"),
            ("voxel_size", "<f8", (3,)),
            ("color", "S7"),
        ],
    )
    region = np.array(
        [(REGION.encode(), 0)], dtype=[("region_name", "S50"), ("channel_idx", "<i4")]
    )
    kinds = [(name, "S512") for name in ("name", "type", "source1", "source2")]
    objects = np.array([(OBJECT.encode(), b"region", REGION.encode(), b"")], dtype=kinds)
    times = np.array([b"frame", b"timestamp_ab", b"timestamp_re"], "S12")
    for name, table in (
        ("image/channel", channel),
        ("image/region", region),
        ("image/time_lapse", times),
        (f"object/{OBJECT}", objects),
        (f"feature/{OBJECT}/bounding_box", np.array([(side,) for side in _SIDES], kinds[:1])),
        (f"feature/{OBJECT}/center", np.array([("x",), ("y",)], kinds[:1])),
    ):
        group.create_dataset(name, data=table, track_times=False)


def _measure(masks: NDArray[np.uint16], numbers: Iterable[int]) -> tuple[list[Any], ...]:
    """Return label, bounding box and centre of each object of some frames."""
    from scipy import ndimage

    objects: list[tuple[int, int]] = []
    boxes: list[tuple[int, ...]] = []
    centres: list[tuple[int, int]] = []
    for number in numbers:
        mask = masks[number]
        for label, where in enumerate(ndimage.find_objects(mask), start=1):
            if where is None:
                continue
            rows, columns = where
            y, x = np.nonzero(mask[where] == label)
            objects.append((int(number), label))
            boxes.append((columns.start, columns.stop - 1, rows.start, rows.stop - 1))
            centres.append((round(columns.start + x.mean()), round(rows.start + y.mean())))
    return objects, boxes, centres


def _append_tables(position: Any, masks: NDArray[np.uint16], number: int) -> None:
    """Add the objects of one frame to tables that grow."""
    objects, boxes, centres = _measure(masks, [number])
    feature = f"feature/{OBJECT}"
    features = np.random.default_rng(number).normal(size=(len(objects), _N_FEATURES))
    for name, rows in (
        ("image/time_lapse", _table([(number, 0, SECONDS_PER_FRAME * number)], _TIMES)),
        (f"object/{OBJECT}", _table(objects, _OBJECTS)),
        (f"{feature}/bounding_box", _table(boxes, _SIDES)),
        (f"{feature}/center", _table(centres, ("x", "y"))),
        (f"{feature}/object_features", features.astype(np.float32)),
    ):
        if name not in position:
            position.create_dataset(
                name,
                data=rows,
                chunks=(_ROWS, *rows.shape[1:]),
                maxshape=(None, *rows.shape[1:]),
                compression="gzip",
                compression_opts=_GZIP,
                track_times=False,
            )
        else:
            table = position[name]
            table.resize(len(table) + len(rows), axis=0)
            table[len(table) - len(rows) :] = rows


def _write_tables(position: Any, masks: NDArray[np.uint16], valid: NDArray[np.bool_]) -> None:
    """Write time points, and for each object its label, centre and bounding box."""
    objects, boxes, centres = _measure(masks, np.flatnonzero(valid))
    times = [(t, 0, SECONDS_PER_FRAME * t) for t in range(len(masks))]
    feature = f"feature/{OBJECT}"
    _write_table(position, "image/time_lapse", times, _TIMES)
    _write_table(position, f"object/{OBJECT}", objects, _OBJECTS)
    _write_table(position, f"{feature}/bounding_box", boxes, _SIDES)
    _write_table(position, f"{feature}/center", centres, ("x", "y"))


def _table(rows: list[Any], columns: tuple[str, ...]) -> NDArray[Any]:
    return np.array(rows, dtype=[(column, "<i4") for column in columns])


def _write_table(
    group: Any, name: str, rows: list[tuple[int, ...]] | list[Any], columns: tuple[str, ...]
) -> None:
    table = _table(rows, columns)
    group.create_dataset(
        name,
        data=table,
        chunks=(max(1, len(table)),),
        maxshape=table.shape if name.endswith("time_lapse") else (None,),
        compression="gzip",
        compression_opts=_GZIP,
        track_times=False,
    )
