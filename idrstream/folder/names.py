"""Names of the files in an output folder that are a stream's."""

from __future__ import annotations

import re
from pathlib import Path

from idrstream.compile.masks import MASKS
from idrstream.compile.plates import EXTRACTED, PLATES
from idrstream.compile.pyramid import LABELS
from idrstream.files import final_name, is_partial
from idrstream.folder.live import LIVE_NAME
from idrstream.track.batch import TRACKS

TABLES = "tables"  # copies of the tables to process
ILLUMINATION = "illumination"
DIAMETERS = "diameters"
PLATE_MODELS = (ILLUMINATION, DIAMETERS)  # what is estimated once for each plate
QUALITY = ("qc", "pictures")  # measures of frames, example pictures
PROJECTS = "projects"  # DeepProfiler projects of batches, if they are kept
CLUSTER = "cluster"  # what workers on other machines are told, write and leave
CELLS = "cells"  # the tables of batches as Parquet: nothing else, so that it is one data set

# What a stream writes into these folders beside the tables of batches.
_NOTES = re.compile(
    rf"{TABLES}/[0-9a-f]{{12}}\.csv\.gz|{ILLUMINATION}/(?:[^/]+/)?[^/]+\.npz"
    rf"|{QUALITY[0]}/batch_[0-9]+\.(?:csv|tiles\.npz)"
    rf"|{QUALITY[1]}/[0-9a-f]{{16}}_(?:frame|nuclei)\.webp"
    rf"|{TRACKS}/batch_[0-9]+(?:/(?:(?:tracks|objects)\.csv|film\.(?:webp|mp4)))?"
    rf"|{LABELS}/[^/]+\.zarr(?:/.+)?"
    rf"|{DIAMETERS}/[^/]+\.json"
    rf"|{PLATES}/[^/]+\.ome\.zarr(?:/.+)?|{EXTRACTED}/batch_[0-9]+(?:/.+)?"
    rf"|{MASKS}/batch_[0-9]+\.zarr(?:/.+)?|{PROJECTS}/batch_[0-9]+(?:/(?:inputs|outputs)/.+)?"
)
_OF_CLUSTER = re.compile(
    rf"{CLUSTER}/(?:(?:stream|deaths)\.json|(?:inbox|staging|workers|logs|jobs|dask)/.+)"
)
# Of these only the coordinator writes, which holds the lock: parts of them are nobody's work.
_OF_COORDINATOR = re.compile(rf"{CLUSTER}/(?:stream\.json|deaths\.json|jobs/[^/]+)")
_BESIDE = frozenset({"provenance.json", "report.html", LIVE_NAME})
_TABLE_COPY = re.compile(rf"{TABLES}/[0-9a-f]{{12}}\.csv\.gz")
_BATCH = re.compile(
    rf"(?:(?:{CELLS}/)?batch_([0-9]{{1,18}})\.parquet|batch_([0-9]{{1,18}})\.csv\.gz)"
)


def batch_number(name: str) -> int | None:
    """Return the batch of a table by its name in the output folder; None for other files."""
    match = _BATCH.fullmatch(name)
    return int(match[1] or match[2]) if match else None


def is_note(name: str) -> bool:
    """Return whether a name in an output folder is one of a stream's files beside its tables."""
    return _NOTES.fullmatch(name) is not None


def is_of_cluster(name: str) -> bool:
    """Return whether a name in an output folder is that of a file of or for workers."""
    return _OF_CLUSTER.fullmatch(name) is not None


def is_leftover(name: str) -> bool:
    """Return whether a name in an output folder is that of a partial file of a stream's."""
    path = Path(name)
    whole = path.with_name(final_name(path.name)).as_posix() if is_partial(path.name) else ""
    is_ours = batch_number(whole) is not None or is_note(whole) or whole in _BESIDE
    return is_ours or _OF_COORDINATOR.fullmatch(whole) is not None


def is_table_copy(name: str) -> bool:
    """Return whether a name is that of a copy of a table to process."""
    return _TABLE_COPY.fullmatch(name) is not None
