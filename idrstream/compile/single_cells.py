"""Merge features, locations and metadata of a batch into one table, a row per object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.compile.names import (
    CHILDREN,
    GENE,
    LABEL,
    NUMBER,
    OBJECT_OUTLINES,
    OUTLINE_COLUMN,
    X_COLUMN,
    X_UM,
    Y_COLUMN,
    Y_UM,
    check_extra_columns,
    metadata_name,
)
from idrstream.errors import CompileError, ConfigError
from idrstream.profile.model import MODEL
from idrstream.segment.locations import format_outline
from idrstream.tiles.own import global_points

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from idrstream.profile.deepprofiler.project import DeepProfilerProject, ProjectImage
    from idrstream.records import Features, ImageTask, Objects, Tile

_FRAME = "Metadata_Frame_In_Batch"  # joins the index and its objects; not in the table


@dataclass(frozen=True, slots=True)
class ProfiledFrame:
    """A frame of a batch and what was found in it.

    Attributes
    ----------
    image : ProjectImage
        The frame in the index.
    locations : NDArray of float64
        Shape ``(n, 2)``, ``(y, x)`` in pixels.
    features : Features
        A row per object.
    outlines : tuple of NDArray, optional
        For each object shape ``(k, 2)``, int, ``(y, x)``.
    numbers : Mapping[str, NDArray]
        Further columns, with an integer for each object; see `object_numbers`.
    tile : Tile, optional
        Where the frame lies in a larger image: the table has positions in that.
    """

    image: ProjectImage
    locations: NDArray[np.float64]
    features: Features
    outlines: tuple[NDArray[np.int64], ...] | None = None
    numbers: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    tile: Tile | None = None


def object_numbers(objects: Objects) -> dict[str, NDArray[np.int64]]:
    """Return the columns that tie the objects of a frame to their label images and cells.

    ``Metadata_ObjectNumber``, ``Metadata_<kind>_TouchesBorder`` for each kind, and
    ``Metadata_Cells_Children_Nuclei_Count`` where cells were found on their own.
    """
    columns = {NUMBER: objects.table["label"]}
    for kind in objects.kinds:
        columns[f"Metadata_{kind.name}_TouchesBorder"] = kind.table["touches_border"]
    if objects.children is not None:
        columns[CHILDREN] = objects.children
    return {name: values.astype(np.int64) for name, values in columns.items()}


def check_extra_metadata(
    extra_metadata: Iterable[str], tasks: Iterable[ImageTask], channels: Iterable[str] = ("DNA",)
) -> None:
    """Check the names of extra columns before any work.

    Parameters
    ----------
    extra_metadata : iterable of str
        ``object_outlines`` and names of columns of the table to process.
    tasks : iterable of ImageTask
        The images.
    channels : iterable of str
        Names of the channels, columns of every batch table.

    Raises
    ------
    idrstream.errors.ConfigError
        Naming a column that is unknown or would be called as one of idrstream's own.
    """
    columns = list(dict.fromkeys(name for task in tasks for name in task.metadata))
    check_extra_columns(extra_metadata, columns, map(metadata_name, channels))


def compile_batch(
    project: DeepProfilerProject,
    frames: Sequence[ProfiledFrame],
    features: Sequence[str],
    *,
    extra_metadata: Sequence[str] = (),
) -> pd.DataFrame:
    """Return the table of a batch: one row per object, in the order of the frames.

    Columns: ``Object_Outline`` if requested (a JSON list of ``[x, y]`` points),
    ``Location_Center_X`` and ``Location_Center_Y`` (pixels, float64), of large images
    ``Metadata_Label`` (the number in the label image) and the position in micrometres (NaN where
    the size of a pixel is not known), ``Metadata_…`` of
    ``index.csv`` and ``Metadata_Model`` (texts), ``Metadata_…`` of the extra columns, with
    underscores for blanks, those of `object_numbers` (int64) if the frames have them, and the
    features (float32). A batch without objects gives a table
    without rows, with the same columns.

    Parameters
    ----------
    project : DeepProfilerProject
        The batch's record; its ``index.csv`` is written and has a row per frame.
    frames : sequence of ProfiledFrame
        The frames of the index, in its order.
    features : sequence of str
        Names of the features.
    extra_metadata : sequence of str
        ``object_outlines`` and names of columns of the table to process.

    Raises
    ------
    idrstream.errors.CompileError
        If index and frames do not belong together.
    idrstream.errors.ConfigError
        If outlines are requested but were not computed.
    """
    import pandas as pd

    counts = [len(frame.locations) for frame in frames]
    points = np.concatenate([np.empty((0, 2)), *map(_points, frames)])
    columns: dict[str, Any] = {_FRAME: np.repeat(np.arange(len(frames)), counts)}
    if OBJECT_OUTLINES in extra_metadata:
        columns[OUTLINE_COLUMN] = _texts(_outlines(frames))
    columns |= {X_COLUMN: points[:, 1], Y_COLUMN: points[:, 0]}
    columns |= _of_tiles(frames, points)
    own = [name for name in columns if name != _FRAME]
    numbers = list(dict.fromkeys(name for frame in frames for name in frame.numbers))
    columns |= {n: np.concatenate([frame.numbers[n] for frame in frames]) for n in numbers}
    names = list(features)
    values = np.concatenate(
        [np.empty((0, len(names)), np.float32), *(frame.features.values for frame in frames)]
    )
    objects = pd.concat([pd.DataFrame(columns), pd.DataFrame(values, columns=names)], axis=1)
    index = _index(project, frames, extra_metadata)
    table = merge_with_pycytominer(objects, index)
    if len(table) != len(objects):
        msg = f"pycytominer made {len(table)} rows of {len(objects)} objects"
        raise CompileError(msg)
    metadata = [name for name in index if name != _FRAME]
    return table[[*own, *metadata, *numbers, *names]]


def merge_with_pycytominer(objects: pd.DataFrame, index: pd.DataFrame) -> pd.DataFrame:
    """Return the objects with the metadata of their frames, in the order of the index."""
    from pycytominer import annotate

    annotated: pd.DataFrame = annotate(
        objects,
        index,
        join_on=[_FRAME, _FRAME],
        add_metadata_id_to_platemap=False,
        clean_cellprofiler=False,
    )
    return annotated


def _index(
    project: DeepProfilerProject, frames: Sequence[ProfiledFrame], extra_metadata: Sequence[str]
) -> pd.DataFrame:
    """Return the index of the batch and the extra columns, as texts, a row per frame."""
    index = _read_index(project.index_path)
    keys = list(index[["Metadata_Plate", "Metadata_Well", "Metadata_Site"]].itertuples(index=False))
    if [tuple(key) for key in keys] != [frame.image.key for frame in frames]:
        msg = f"the {len(frames)} profiled frames are not those of {project.index_path}"
        raise CompileError(msg)
    index = index.rename(columns=metadata_name)
    tasks = [frame.image.task for frame in frames]
    # The plate's own name, where the project had to use another.
    index["Metadata_Plate"] = _texts(task.plate for task in tasks)
    for channel in project.model.config.image_columns:
        index[metadata_name(channel)] = _texts(
            f"{frame.image.task.plate}/{project.image_path(frame.image, channel).name}"
            for frame in frames
        )
    index["Metadata_Model"] = MODEL
    for name in extra_metadata:
        output = metadata_name(name)
        # Names were checked at the start: those that are there already show this column.
        if name != OBJECT_OUTLINES and (output == GENE or output not in index):
            index[output] = _texts(task.metadata.get(name, "") for task in tasks)
    index.insert(0, _FRAME, np.arange(len(frames)))
    return index


def _read_index(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        msg = f"{path} is not a readable index: {error}"
        raise CompileError(msg) from error


def _outlines(frames: Sequence[ProfiledFrame]) -> list[str]:
    outlines: list[str] = []
    for frame in frames:
        if frame.outlines is None:
            raise ConfigError(
                f"extra_metadata asks for {OBJECT_OUTLINES}, but {frame.image.name} was segmented "
                'without; set "outlines": True for the segmentor'
            )
        origin = (0, 0) if frame.tile is None else frame.tile.region[:2]
        outlines.extend(format_outline(outline + np.array(origin)) for outline in frame.outlines)
    return outlines


def _points(frame: ProfiledFrame) -> NDArray[np.float64]:
    """Return positions in pixels of the image, of a tile in those of the whole one."""
    return frame.locations if frame.tile is None else global_points(frame.locations, frame.tile)


def _of_tiles(frames: Sequence[ProfiledFrame], points: NDArray[np.float64]) -> dict[str, Any]:
    """Return what only tables of large images have: numbers in the label image, micrometres."""
    tiles = [frame.tile for frame in frames if frame.tile is not None]
    if not tiles or len(tiles) < len(frames):
        return {}
    counts = [len(frame.locations) for frame in frames]
    labels = [tile.first_label + np.arange(1, n + 1) for tile, n in zip(tiles, counts, strict=True)]
    pixel_um = np.repeat([tile.pixel_um for tile in tiles], counts)
    return {
        LABEL: np.concatenate(labels).astype(np.int64),
        X_UM: points[:, 1] * pixel_um,
        Y_UM: points[:, 0] * pixel_um,
    }


def _texts(values: Iterable[str]) -> NDArray[np.object_]:
    return np.array(list(values), dtype=object)
