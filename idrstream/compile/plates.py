"""Images as OME-Zarr plates (OME-NGFF 0.5, on Zarr 3): ``plates/<plate>.ome.zarr``.

A field is ``<row>/<column>/<site>``, an image with the axes t, c, z, y and x at one scale
(https://ngff.openmicroscopy.org/0.5/#plate-md). A chunk is one plane, or 2048 x 2048 pixels of a
large one, so that a single frame is read alone; a shard has some whole frames, up to 64 MB before
compression, so that a plate is not a million files. Frames that could not be read have no chunks
and are named in ``idrstream.missing_frames``.

A batch's fields are made in a folder of its own, ``extracted/batch_<n>``, and moved into their
plates when its table is there. The table has a row for every plane with the SHA-256 of its pixels.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.compile.masks import site_path
from idrstream.compile.publish import columns_digest
from idrstream.compile.readers import read_batch_table
from idrstream.errors import CompileError, StorageError
from idrstream.files import atomic_file
from idrstream.opening import inside, read_regular
from idrstream.text import parse_json

if TYPE_CHECKING:
    from idrstream.records import ImageTask

PLATES = "plates"
"""Folder of the plates in an output folder."""
EXTRACTED = "extracted"
"""Folder of the fields of batches in an output folder, until they are in their plates."""
COLUMNS = (
    "Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Frame", "Metadata_Channel",
    "Metadata_Channel_Name", "Metadata_Plane", "Metadata_Image", "Metadata_SHA256",
)  # fmt: skip
"""Columns of the table of a batch: a row for every plane."""
COLUMNS_SHA256 = columns_digest(COLUMNS)
SUFFIX = ".ome.zarr"

_VERSION = "0.5"
_CHUNK_PX = 2048
_SHARD_BYTES = 64 << 20
_COLOURS = ("0000FF", "00FF00", "FF0000", "FF00FF", "00FFFF", "FFFF00", "FFFFFF")
_MOST_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """What the image of a field is.

    Attributes
    ----------
    channels : tuple of str
        Names of the channels.
    n_planes, n_frames : int
        z-planes of each channel, and frames.
    shape : tuple of int
        ``(Y, X)`` in pixels.
    dtype : str
        ``uint8`` or ``uint16``.
    spacing_um : tuple of float
        Distance of planes, rows and columns in micrometres; NaN where unknown.
    """

    channels: tuple[str, ...]
    n_planes: int
    n_frames: int
    shape: tuple[int, int]
    dtype: str
    spacing_um: tuple[float, float, float]

    @property
    def frame_shape(self) -> tuple[int, int, int, int]:
        """``(C, Z, Y, X)``."""
        return (len(self.channels), self.n_planes, *self.shape)


def field_name(task: ImageTask) -> str:
    """Return where a field is below `PLATES`, for example ``LT0001_02.ome.zarr/A/4/1``."""
    plate, _, rest = site_path(task).partition("/")
    return f"{plate}{SUFFIX}/{rest}"


def write_field(
    path: Path, task: ImageTask, spec: FieldSpec, frames: Mapping[int, Path]
) -> Iterator[tuple[int, int, int, str]]:
    """Write the image of a field, read it back, and yield the digest of each plane.

    Parameters
    ----------
    path : Path
        The group to make.
    task : ImageTask
        Its image.
    spec : FieldSpec
        What it is.
    frames : Mapping[int, Path]
        For each frame, counted from 1, an ``.npy`` file with its pixels, shape ``(C, Z, Y, X)``.

    Yields
    ------
    tuple
        Frame, counted from 1, channel and plane, counted from 0, and SHA-256 of the pixels.

    Raises
    ------
    StorageError
        If it cannot be written.
    CompileError
        If it reads back otherwise than it was written.
    """
    import zarr

    digests: list[tuple[int, int, int, str]] = []
    low, high = [math.inf] * len(spec.channels), [-math.inf] * len(spec.channels)
    try:
        image: Any = zarr.open_group(path, mode="w")
        array = _create(image, spec)
        step = array.shards[0]
        for first in range(0, spec.n_frames, step):
            numbers = [n for n in range(first + 1, first + step + 1) if n in frames]
            if not numbers:
                continue
            last = min(first + step, spec.n_frames)
            block = np.zeros((last - first, *spec.frame_shape), spec.dtype)
            for number in numbers:
                block[number - 1 - first] = np.load(frames[number], allow_pickle=False)
            array[first:last] = block
            if not np.array_equal(array[first:last], block):
                raise CompileError(f"{path} reads back otherwise than it was written")
            for number in numbers:
                for c, z in np.ndindex(*spec.frame_shape[:2]):
                    plane = block[number - 1 - first, c, z]
                    low[c], high[c] = min(low[c], plane.min()), max(high[c], plane.max())
                    digests.append((number, c, z, plane_sha256(plane)))
        image.attrs["ome"] = _image_metadata(task, spec, low, high)
        missing = sorted(set(range(1, spec.n_frames + 1)) - frames.keys())
        image.attrs["idrstream"] = {
            "plate": task.plate, "well": task.well, "site": task.site, "missing_frames": missing,
        }  # fmt: skip
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
    yield from digests


def plane_sha256(plane: NDArray[Any]) -> str:
    """Return the SHA-256 of the pixels of a plane, row by row, little-endian."""
    little = plane.astype(plane.dtype.newbyteorder("<"), copy=False)
    return hashlib.sha256(np.ascontiguousarray(little).tobytes()).hexdigest()


def field_array(folder: Path, name: str) -> Any:
    """Return the array of a field of an output folder, axes t, c, z, y, x.

    Raises
    ------
    OSError, StorageError, ValueError, KeyError
        If it cannot be read.
    """
    import zarr

    return zarr.open_group(inside(folder, f"{PLATES}/{name}"), mode="r")["0"]


def wrong_fields(folder: Path, table: Path, *, full: bool) -> str:
    """Return what is wrong with the fields that a table names; empty if nothing is.

    Every plane is read and compared with its digest if `full`; otherwise fields must be there.
    """
    rows = read_batch_table(table)
    for name, planes in rows.groupby("Metadata_Image", sort=True):
        at = f"{PLATES}/{name}"
        if not inside(folder, f"{at}/0/zarr.json").is_file():
            return f"{at} is missing"
        if full and not _is_as_stated(folder, str(name), planes):
            return f"{at} was changed after it was published"
    return ""


def _is_as_stated(folder: Path, name: str, planes: Any) -> bool:
    try:
        array = field_array(folder, name)
        keys = planes[["Metadata_Frame", "Metadata_Channel", "Metadata_Plane", "Metadata_SHA256"]]
        return all(
            plane_sha256(array[int(frame) - 1, int(channel), int(plane)]) == digest
            for frame, channel, plane, digest in keys.itertuples(index=False)
        )
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, StorageError):
        return False


def write_plate(plate: Path) -> None:
    """Write the metadata of a plate and its wells: what fields there are.

    They depend on the fields alone, not on the order in which they came.

    Raises
    ------
    StorageError
        If they cannot be written.
    """
    fields: dict[tuple[str, str], list[str]] = {}
    for found in sorted(plate.glob("*/*/*/zarr.json")):
        row, column, site = found.relative_to(plate).parts[:3]
        if site.startswith("."):  # not yet in its place
            continue
        fields.setdefault((row, column), []).append(site)
    rows = sorted({row for row, _ in fields}, key=lambda row: (len(row), row))
    columns = sorted({column for _, column in fields}, key=_in_order)
    wells = [
        {"path": f"{r}/{c}", "rowIndex": rows.index(r), "columnIndex": columns.index(c)}
        for r, c in sorted(fields, key=lambda at: (rows.index(at[0]), columns.index(at[1])))
    ]
    about = {
        "name": plate.name.removesuffix(SUFFIX),
        "field_count": max(map(len, fields.values()), default=0),
        "rows": [{"name": row} for row in rows],
        "columns": [{"name": column} for column in columns],
        "wells": wells,
        "version": _VERSION,
    }
    for (row, column), sites in fields.items():
        images = [{"path": site} for site in sorted(sites, key=_in_order)]
        _group(plate / row / column, {"version": _VERSION, "well": {"images": images}})
    for row in rows:
        _group(plate / row, None)
    _group(plate, {"version": _VERSION, "plate": about})


def _in_order(name: str) -> tuple[int, str]:
    return (int(name) if name.isdecimal() else 0), name


def _group(path: Path, about: Mapping[str, Any] | None) -> None:
    """Write the metadata of a group, if they are not there."""
    content = {"attributes": {} if about is None else {"ome": about}}
    whole = {**content, "zarr_format": 3, "node_type": "group"}
    file = path / "zarr.json"
    try:
        if file.is_file() and parse_json(read_regular(file, _MOST_BYTES)) == whole:
            return
        with atomic_file(file) as out:
            out.write(json.dumps(whole, indent=2).encode())
    except (OSError, ValueError) as error:
        raise StorageError(f"{file} cannot be written: {error}") from error


def _create(image: Any, spec: FieldSpec) -> Any:
    from zarr.codecs import BloscCodec

    chunk = tuple(min(_CHUNK_PX, side) for side in spec.shape)
    frame_bytes = math.prod(spec.frame_shape) * np.dtype(spec.dtype).itemsize
    frames = max(1, min(spec.n_frames, _SHARD_BYTES // frame_bytes))
    whole = tuple(-(-side // part) * part for side, part in zip(spec.shape, chunk, strict=True))
    return image.create_array(
        "0",
        shape=(spec.n_frames, *spec.frame_shape),
        chunks=(1, 1, 1, *chunk),
        shards=(frames, *spec.frame_shape[:2], *whole),
        dtype=spec.dtype,
        compressors=BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle"),
        dimension_names=("t", "c", "z", "y", "x"),
        overwrite=True,
    )


def _image_metadata(
    task: ImageTask, spec: FieldSpec, low: Sequence[float], high: Sequence[float]
) -> dict[str, Any]:
    space = [
        {"name": name, "type": "space", **({"unit": "micrometer"} if math.isfinite(um) else {})}
        for name, um in zip("zyx", spec.spacing_um, strict=True)
    ]
    scale = [1.0, 1.0, *(um if math.isfinite(um) else 1.0 for um in spec.spacing_um)]
    largest = int(np.iinfo(spec.dtype).max)
    return {
        "version": _VERSION,
        "multiscales": [
            {
                "name": f"{task.plate} {task.well} {task.site}",
                "axes": [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}, *space],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [{"type": "scale", "scale": scale}],
                    }
                ],
            }
        ],
        "omero": {
            "channels": [
                {
                    "label": name,
                    "color": "FFFFFF" if len(spec.channels) == 1 else _COLOURS[c % len(_COLOURS)],
                    "active": True,
                    "window": {
                        "min": 0,
                        "max": largest,
                        "start": int(low[c]) if math.isfinite(low[c]) else 0,
                        "end": int(high[c]) if math.isfinite(high[c]) else largest,
                    },
                }
                for c, name in enumerate(spec.channels)
            ]
        },
    }


def fields_in(staged: Path) -> Iterable[str]:
    """Return the names of the fields in the folder of a batch; see `field_name`."""
    return sorted(
        path.parent.relative_to(staged).as_posix() for path in staged.glob("*/*/*/*/zarr.json")
    )
