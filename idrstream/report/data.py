"""The content of an output folder, read for its report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.errors import IdrStreamError, JournalError, StorageError
from idrstream.folder.journal.reader import open_journal
from idrstream.folder.journal.records import RunRecord, WorkerAttempt
from idrstream.folder.outputs import read_kept_tasks
from idrstream.folder.recorded import recorded_channels
from idrstream.folder.status import Status, read_failures, read_status
from idrstream.opening import check_regular, inside
from idrstream.quality.notes import COLUMNS, channel_columns, qc_path
from idrstream.quality.pictures import picture_key
from idrstream.records import ImageTask
from idrstream.screen.wells import well_position

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

MEASURES = ("Nuclei", "Area", "Intensity", "Focus", "Background", "Saturated")
_ILLUMINATION = "illumination"
_MOST_ROWS, _MOST_COLUMNS = 128, 192  # a map is drawn of each plate
_MODEL_PX = 96  # longer side of a model's thumbnail


@dataclass(frozen=True, slots=True)
class FolderData:
    """Content of an output folder.

    Attributes
    ----------
    folder : Path
        The folder.
    status : Status
        Status of the stream.
    runs : tuple of RunRecord
        Its runs in order.
    images : pandas.DataFrame
        ``Batch, Plate, Well, Well_Number, Site, State, Row, Column``: the images of the plan; row
        and column of the well are counted from 0.
    ended : pandas.DataFrame
        ``Run, Ended, Images, Nuclei``: published batches by time.
    failures : pandas.DataFrame
        As `read_failures` returns them.
    frames : pandas.DataFrame
        The quality measures, one row per frame, with ``Batch, Key, Row, Column``.
    unmeasured : int
        Batches that are done and have no quality measures.
    models : Mapping[tuple[str, str], NDArray]
        Downscaled flatfields by plate and channel; the channel is empty if there is but one.
    batches : pandas.DataFrame
        ``Batch, File, Rows``: published tables.
    tasks : tuple of ImageTask
        Images of the folder's copy of the table; none if it cannot be read.
    channels : tuple of str
        Names of the channels, in the order of the frames' stack; empty if there is but one.
    workers : tuple of WorkerAttempt
        Batches that workers elsewhere computed.
    """

    folder: Path
    status: Status
    runs: tuple[RunRecord, ...]
    images: pd.DataFrame
    ended: pd.DataFrame
    failures: pd.DataFrame
    frames: pd.DataFrame
    unmeasured: int
    models: Mapping[tuple[str, str], NDArray[np.float64]]
    batches: pd.DataFrame
    tasks: tuple[ImageTask, ...]
    channels: tuple[str, ...] = ()
    workers: tuple[WorkerAttempt, ...] = ()

    @property
    def extracts(self) -> bool:
        """Whether planes were extracted: nothing is measured."""
        return self.status.objects == "planes"

    @property
    def plates(self) -> tuple[str, ...]:
        """Plates of the plan, in order."""
        return tuple(dict.fromkeys(self.images["Plate"]))

    @property
    def measured_channels(self) -> tuple[str, ...]:
        """Channels with measures of their own, in the order of the frames' stack."""
        return tuple(_channels_of(self.frames))


def read_folder(folder: Path) -> FolderData:
    """Read an output folder, also while its stream runs.

    Raises
    ------
    JournalError
        If it has no journal that can be read.
    """
    import pandas as pd

    status = read_status(folder)
    with open_journal(folder) as journal:
        runs, plans = journal.runs(), journal.plans()
        images = pd.DataFrame(
            [
                (batch, item.plate, item.well, item.well_number, item.site, str(item.state))
                for batch, content in journal.images().items()
                for item in content
            ],
            columns=["Batch", "Plate", "Well", "Well_Number", "Site", "State"],
        )
        workers = tuple(journal.worker_attempts())
        ended = pd.DataFrame(
            journal.published_attempts(), columns=["Run", "Ended", "Images", "Nuclei"]
        )
        batches = pd.DataFrame(
            [(number, table.file, table.rows) for number, table in journal.outputs().items()],
            columns=["Batch", "File", "Rows"],
        )
    table_file = plans[-1].table_file if plans else ""
    _add_positions(images)
    frames, unmeasured = _frames(folder, batches["Batch"].tolist())
    identity = plans[-1].identity if plans else {}
    channels = tuple(dict.fromkeys([*_channels_of(frames), *recorded_channels(identity)]))
    return FolderData(
        folder=folder,
        status=status,
        runs=tuple(runs),
        images=images,
        ended=ended,
        failures=read_failures(folder),
        frames=frames,
        unmeasured=unmeasured,
        models=_models(folder, tuple(dict.fromkeys(images["Plate"])), channels),
        batches=batches,
        tasks=_tasks(inside(folder, table_file)) if table_file else (),
        channels=channels,
        workers=workers,
    )


def _frames(folder: Path, numbers: list[int]) -> tuple[pd.DataFrame, int]:
    """Return the measures of the frames of done batches, and how many batches have none."""
    import pandas as pd

    tables, missing = [], 0
    for number in numbers:
        try:
            path = qc_path(folder, number)
            check_regular(path)
            found = pd.read_csv(
                path,
                dtype={"Plate": str, "Well": str, "Shading": str, "Source": str},
                keep_default_na=False,
                na_values={name: [""] for name in MEASURES},
            )
        except (OSError, ValueError, StorageError):
            missing += 1
            continue
        for name in channel_columns(_channels_of(found)):
            found[name] = pd.to_numeric(found[name], errors="coerce")
        if len(found):  # a batch of movies that the source does not have measured none
            tables.append(found.assign(Batch=number))
    if not tables:
        frames = pd.DataFrame({name: pd.Series(dtype=object) for name in (*COLUMNS, "Batch")})
        frames = frames.astype(dict.fromkeys(MEASURES, float))
    else:
        frames = pd.concat(tables, ignore_index=True)
    frames["Key"] = [
        picture_key(*frame_key)
        for frame_key in zip(
            frames["Plate"], frames["Well_Number"], frames["Site"], frames["Frame"], strict=True
        )
    ]
    _add_positions(frames)
    return frames, missing


def _channels_of(frames: pd.DataFrame) -> list[str]:
    """Return the channels of which all measures are there."""
    names = [str(name).partition("_")[2] for name in frames.columns]
    return [
        name
        for name in dict.fromkeys(names)
        if name and set(channel_columns([name])) <= set(frames.columns)
    ]


def _add_positions(table: pd.DataFrame) -> None:
    """Add row and column of each well, from its name or from its number on a 384-well plate."""
    positions = []
    for name, number in zip(table["Well"], table["Well_Number"], strict=True):
        try:
            positions.append(well_position(name))
        except ValueError:
            positions.append(divmod(int(number) - 1, 24))
        if not (0 <= positions[-1][0] < _MOST_ROWS and positions[-1][1] < _MOST_COLUMNS):
            msg = f"the folder has the well {name[:80]!r}, number {number}, which is on no plate"
            raise JournalError(msg)
    table["Row"] = [row for row, _ in positions]
    table["Column"] = [column for _, column in positions]


def _models(
    folder: Path, plates: tuple[str, ...], channels: tuple[str, ...]
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Return the models of plates, of several channels in their order."""
    from idrstream.preprocess.plate_model import IlluminationModel

    models = {}
    for plate in plates:
        for channel in ("", *channels):
            with suppress(IdrStreamError):  # the stream itself reports it
                below = f"{channel}/" if channel else ""
                path = inside(folder, f"{_ILLUMINATION}/{below}{plate}.npz")
                if path.is_file():
                    models[plate, channel] = _smaller(IlluminationModel.load(path).flatfield)
    return models


def _smaller(field: NDArray[Any]) -> NDArray[np.float64]:
    step = max(1, -(-max(field.shape) // _MODEL_PX))
    height, width = (length // step * step for length in field.shape)
    blocks = field[:height, :width].reshape(height // step, step, width // step, step)
    smaller: NDArray[np.float64] = blocks.mean(axis=(1, 3), dtype=np.float64)
    return smaller


def _tasks(path: Path) -> tuple[ImageTask, ...]:
    try:
        return read_kept_tasks(path)
    except IdrStreamError as error:
        log.warning("The report knows no controls: %s", error)
        return ()
