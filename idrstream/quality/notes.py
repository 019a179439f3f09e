"""The quality measures of a batch, kept in one small file beside its table."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.errors import StorageError
from idrstream.files import atomic_file
from idrstream.opening import inside, open_regular
from idrstream.quality.measures import FrameMeasures, measure
from idrstream.quality.pictures import Picture, PictureStore, draw, picture_key
from idrstream.quality.tiles import SeenTile, in_order, seen_in, seen_path, write_seen
from idrstream.redact import redact

if TYPE_CHECKING:
    from idrstream.records import Frame, ImageTask, Objects

log = logging.getLogger(__name__)

QC = "qc"
COLUMNS = (
    "Plate", "Well", "Well_Number", "Site", "Frame", "Nuclei", "Area", "Intensity", "Focus",
    "Background", "Saturated", "Shading", "Source",
)  # fmt: skip
CHANNEL_MEASURES = ("Intensity", "Background", "Saturated")
"""Measures of each channel where there are several: ``Intensity_ER``."""

_Key = tuple[str, int, int, int]


class BatchNotes:
    """Measures the frames of one batch at a time and writes ``qc/batch_<n>.csv``."""

    def __init__(self, folder: Path, pictures: PictureStore) -> None:
        self._folder = folder
        self._pictures = pictures
        self._measures: dict[_Key, FrameMeasures] = {}
        self._matches: dict[_Key, Mapping[str, int]] = {}
        self._drawn: dict[str, Picture] = {}
        self._seen: dict[_Key, SeenTile] = {}

    def add(self, frame: Frame, nuclei: Objects) -> None:
        """Measure a frame; draw it if its picture would be kept."""
        frame_key = _frame_key(frame.task, frame.number)
        self._measures[frame_key] = measure(frame, nuclei)
        if frame.tile is not None:
            self._seen[frame_key] = seen_in(frame, nuclei)
        if nuclei.match_counts:
            self._matches[frame_key] = nuclei.match_counts
        key = picture_key(*frame_key)
        if self._pictures.wants(key):
            self._drawn[key] = draw(frame, nuclei, key)

    def discard(self, frame: Frame) -> None:
        """Forget a frame that is left out of the batch after all."""
        key = _frame_key(frame.task, frame.number)
        self._measures.pop(key, None)
        self._matches.pop(key, None)
        self._drawn.pop(picture_key(*key), None)
        self._seen.pop(key, None)

    def publish(self, number: int, tasks: Sequence[ImageTask]) -> None:
        """Write the file of the batch and its pictures into the output folder.

        Rows are in the order of `tasks`; frames that were not added have no row. Where cells were
        matched with nuclei, the counts of `Objects.match_counts` come after them, and last,
        where there are several, the measures of each channel.

        Raises
        ------
        StorageError
            If they cannot be written.
        """
        path = qc_path(self._folder, number)
        counts = list(dict.fromkeys(name for match in self._matches.values() for name in match))
        if counts:
            sums = [f"{n} {sum(m.get(n, 0) for m in self._matches.values())}" for n in counts]
            log.info("Batch %d: cells matched with nuclei: %s", number, ", ".join(sums))
        try:
            with (
                atomic_file(path) as packed,
                io.TextIOWrapper(packed, encoding="utf-8", newline="") as file,
            ):
                writer = csv.writer(file, lineterminator="\n")
                channels = list(
                    dict.fromkeys(n for m in self._measures.values() for n in m.channels)
                )
                writer.writerow([*COLUMNS, *counts, *channel_columns(channels)])
                for task in tasks:
                    for frame in task.frames:
                        key = _frame_key(task, frame)
                        if key in self._measures:
                            match = self._matches.get(key, {})
                            row = _row(task, frame, self._measures[key])
                            row += [match.get(name, 0) for name in counts]
                            writer.writerow(row + _of_channels(self._measures[key], channels))
            self._pictures.keep(self._drawn.values())
            write_seen(self._folder, number, in_order(self._seen, tasks))
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error}") from error

    def clear(self) -> None:
        """Forget the batch."""
        self._measures.clear()
        self._seen.clear()
        self._matches.clear()
        self._drawn.clear()


def qc_path(folder: Path, number: int) -> Path:
    """Return the path of the measures of a batch.

    Raises
    ------
    StorageError
        If it is a link, or its folder.
    """
    return inside(folder, f"{QC}/batch_{number}.csv")


def forget(folder: Path, numbers: Set[int]) -> None:
    """Delete the measures and pictures of batches that are not done."""
    store = PictureStore(folder, 0)
    for path in sorted(inside(folder, QC).glob("batch_*.csv")):
        number = path.stem.removeprefix("batch_")
        if not number.isdigit() or int(number) not in numbers:
            continue
        store.forget(picture_keys(path))
        seen_path(folder, int(number)).unlink(missing_ok=True)
        path.unlink()


def picture_keys(path: Path) -> list[str]:
    """Return the names of the pictures of a batch; none if its measures cannot be read."""
    try:
        with open_regular(path) as packed, io.TextIOWrapper(packed, "utf-8", newline="") as file:
            return [
                picture_key(
                    row["Plate"], int(row["Well_Number"]), int(row["Site"]), int(row["Frame"])
                )
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        log.warning("%s is damaged, its pictures stay: %s", path, error)
        return []


def _frame_key(task: ImageTask, frame: int) -> _Key:
    return task.plate, task.well_number, task.site, frame


def _row(task: ImageTask, frame: int, measures: FrameMeasures) -> list[object]:
    return [
        task.plate, task.well, task.well_number, task.site, frame, measures.nuclei,
        _number(measures.area, 1), _number(measures.intensity, 2), _number(measures.focus, 4),
        _number(measures.background, 2), _number(measures.saturated, 6),
        " ".join(str(round(share * 1000)) for share in measures.shading),
        redact(measures.source),
    ]  # fmt: skip


def channel_columns(names: Sequence[str]) -> list[str]:
    """Return the columns with the measures of channels: ``Intensity_ER`` of ER."""
    return [f"{measure}_{name}" for name in names for measure in CHANNEL_MEASURES]


def _of_channels(measures: FrameMeasures, names: Sequence[str]) -> list[object]:
    row: list[object] = []
    for name in names:
        one = measures.channels.get(name)
        values = (one.intensity, one.background, one.saturated) if one else (math.nan,) * 3
        row += [_number(v, digits) for v, digits in zip(values, (2, 2, 6), strict=True)]
    return row


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"
