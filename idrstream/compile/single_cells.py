"""Merge features, locations and metadata of a batch into one table, a row per nucleus."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.compile.names import (
    GENE,
    MODEL,
    OBJECT_OUTLINES,
    OUTLINE_COLUMN,
    X_COLUMN,
    Y_COLUMN,
    check_extra_columns,
    metadata_name,
)
from idrstream.errors import CompileError, ConfigError
from idrstream.segment.locations import Locations, read_locations

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.profile.deepprofiler.project import DeepProfilerProject, ProjectImage
    from idrstream.records import ImageTask

_KEY = ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
# DeepProfiler reads locations with pandas' fast parser, which is off in the last digits.
_SAME_PX = 1e-6


Merge = Callable[[Path, Path], "pd.DataFrame"]
"""Joins the features files of an index: ``merge(index_path, features_folder)``."""


def merge_with_pycytominer(index_path: Path, features_folder: Path) -> pd.DataFrame:
    """Return locations, metadata and features of all nuclei, in the order of the index.

    The only place that uses pycytominer's DeepProfiler classes, which are deprecated upstream.

    Raises
    ------
    idrstream.errors.CompileError
        When pycytominer cannot read the files.
    """
    from pycytominer.cyto_utils.DeepProfiler_processing import (
        DeepProfilerData,
        SingleCellDeepProfiler,
    )

    try:
        with warnings.catch_warnings():
            # About frames without nuclei, which have no file, and about the deprecation.
            warnings.simplefilter("ignore")
            data = DeepProfilerData(str(index_path), str(features_folder), filename_delimiter="/")
            table: pd.DataFrame = SingleCellDeepProfiler(data).get_single_cells(output=True)
    except (OSError, ValueError, LookupError, EOFError, AttributeError) as error:
        raise CompileError(
            f"pycytominer cannot merge the features in {features_folder}: {error}"
        ) from error
    return table


def check_extra_metadata(
    extra_metadata: Iterable[str], tasks: Iterable[ImageTask], channel: str = "DNA"
) -> None:
    """Check the names of extra columns before any work.

    Parameters
    ----------
    extra_metadata : iterable of str
        ``object_outlines`` and names of columns of the table to process.
    tasks : iterable of ImageTask
        The images.
    channel : str
        Name of the channel, a column of every batch table.

    Raises
    ------
    idrstream.errors.ConfigError
        Naming a column that is unknown or would be called as one of idrstream's own.
    """
    columns = list(dict.fromkeys(name for task in tasks for name in task.metadata))
    check_extra_columns(extra_metadata, columns, (metadata_name(channel),))


def compile_batch(
    project: DeepProfilerProject,
    *,
    extra_metadata: Sequence[str] = (),
    merge: Merge = merge_with_pycytominer,
) -> pd.DataFrame:
    """Return the table of a batch: one row per nucleus, in the order of the index.

    Columns: ``Object_Outline`` if requested (a JSON list of ``[x, y]`` points),
    ``Location_Center_X`` and ``Location_Center_Y`` (pixels, float64), ``Metadata_…`` of
    ``index.csv`` and ``Metadata_Model`` (texts), ``Metadata_…`` of the extra columns, with
    underscores for blanks, and the features ``efficientnet_0 …`` (float32). A batch without
    nuclei gives a table without rows, with the same columns.

    Parameters
    ----------
    project : DeepProfilerProject
        The batch, profiled.
    extra_metadata : sequence of str
        ``object_outlines`` and names of columns of the table to process.
    merge : callable, default: merge_with_pycytominer
        Reads the features files.

    Raises
    ------
    idrstream.errors.CompileError
        If the features do not belong to the nuclei that were found; names the image.
    idrstream.errors.ConfigError
        If outlines are requested but were not computed.
    """
    import pandas as pd

    images = [image for image in project.images if image.nuclei]
    locations = [_locations(project, image) for image in images]
    points = np.concatenate([np.empty((0, 2)), *(item.points for item in locations)])
    columns: dict[str, Any] = {}
    if OBJECT_OUTLINES in extra_metadata:
        columns[OUTLINE_COLUMN] = _texts(_outlines(images, locations))
    columns |= {X_COLUMN: points[:, 1], Y_COLUMN: points[:, 0]}
    columns |= _metadata(project, images, extra_metadata)
    features = _features(project, images, points, merge)
    names = [f"{MODEL}_{number}" for number in range(features.shape[1])]
    return pd.concat([pd.DataFrame(columns), pd.DataFrame(features, columns=names)], axis=1)


def _locations(project: DeepProfilerProject, image: ProjectImage) -> Locations:
    found = read_locations(project.locations_path(image))
    if len(found) != image.nuclei:
        raise CompileError(
            f"{image.name} has {image.nuclei} nuclei, but its locations file has {len(found)}"
        )
    return found


def _outlines(images: Sequence[ProjectImage], locations: Sequence[Locations]) -> list[str]:
    outlines: list[str] = []
    for image, found in zip(images, locations, strict=True):
        if found.outline_texts is None:
            raise ConfigError(
                f"extra_metadata asks for {OBJECT_OUTLINES}, but {image.name} was segmented "
                'without; set "outlines": True for the segmentor'
            )
        outlines.extend(found.outline_texts)
    return outlines


def _metadata(
    project: DeepProfilerProject, images: Sequence[ProjectImage], extra_metadata: Sequence[str]
) -> dict[str, NDArray[np.object_]]:
    counts = [image.nuclei for image in images]
    # The plate's own name, where the project had to use another.
    rows = [
        {
            **project.index_row(image),
            "Metadata_Plate": image.task.plate,
            project.config.image_column: f"{image.task.plate}/{image.file_name}",
        }
        for image in images
    ]
    columns = {
        metadata_name(name): np.repeat(_texts(row[name] for row in rows), counts)
        for name in project.config.index_columns
    }
    columns["Metadata_Model"] = np.repeat(_texts(MODEL for _ in rows), counts)
    for name in extra_metadata:
        output = metadata_name(name)
        # Names were checked at the start: those that are there already show this column.
        if name != OBJECT_OUTLINES and (output == GENE or output not in columns):
            values = _texts(image.task.metadata.get(name, "") for image in images)
            columns[output] = np.repeat(values, counts)
    return columns


def _texts(values: Iterable[str]) -> NDArray[np.object_]:
    return np.array(list(values), dtype=object)


def _features(
    project: DeepProfilerProject,
    images: Sequence[ProjectImage],
    points: NDArray[np.float64],
    merge: Merge,
) -> NDArray[np.float32]:
    """Return the features of all nuclei, after checking that each row has its location."""
    if not images:
        return np.empty((0, project.feature_count), dtype=np.float32)
    merged = merge(project.index_path, project.features_folder)
    _check_rows(merged, images)
    seen = merged[[Y_COLUMN, X_COLUMN]].to_numpy(dtype=np.float64)
    apart = np.flatnonzero(np.abs(seen - points).max(axis=1) > _SAME_PX)
    if apart.size:
        owners = np.repeat(np.arange(len(images)), [image.nuclei for image in images])
        raise CompileError(
            f"nuclei of {images[owners[apart[0]]].name} were profiled at other locations than "
            "they were found at"
        )
    names = [name for name in merged if str(name).startswith(f"{MODEL}_")]
    if len(names) != project.feature_count:
        raise CompileError(
            f"there are {len(names)} feature columns instead of {project.feature_count}"
        )
    features: NDArray[np.float32] = merged[names].to_numpy(dtype=np.float32)
    return features


def _check_rows(merged: pd.DataFrame, images: Sequence[ProjectImage]) -> None:
    """Check that there are as many rows for each image as nuclei, image after image."""
    keys = list(merged[_KEY].itertuples(index=False, name=None))
    start = 0
    for image in images:
        stop = start + image.nuclei
        if keys[start:stop] != [image.key] * image.nuclei:
            raise CompileError(
                f"{image.name} has {image.nuclei} nuclei, but {keys.count(image.key)} in the "
                "table of features, or in another order"
            )
        start = stop
    if len(keys) != start:
        raise CompileError(
            f"there are features of {len(keys)} nuclei for {start} that were found; the first "
            f"left over is of plate {keys[start][0]} well {keys[start][1]}"
        )
