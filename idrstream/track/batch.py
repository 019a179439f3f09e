"""The tracks of a batch: columns of its table, and two tables beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.compile.masks import kept_folder
from idrstream.errors import StorageError
from idrstream.files import delete_folder, move_folder
from idrstream.opening import inside
from idrstream.track.measure import intensities, mitotic_likeness, track_table
from idrstream.track.protocol import Detections, PackedLabels, Tracker

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from idrstream.records import Frame, ImageTask, KeptFolder, Objects

TRACKS = "tracks"
"""Folder of the tables of tracks in the output folder."""
COLUMNS = ("Metadata_Track", "Metadata_Parent", "Metadata_Generation")
"""Columns of the table of a batch."""

_Movie = tuple[str, int, int]


@dataclass(slots=True)
class _FrameObjects:
    """The objects of a frame, as much of them as a track needs."""

    detections: Detections
    intensity: NDArray[np.float64]


@dataclass(slots=True)
class BatchTracks:
    """Collects the objects of a batch frame by frame, in any order, and tracks each movie.

    Parameters
    ----------
    tracker : Tracker
        Follows the objects of a movie.
    """

    tracker: Tracker
    _frames: dict[_Movie, dict[int, _FrameObjects]] = field(default_factory=dict)
    _tables: list[pd.DataFrame] = field(default_factory=list)

    def add(self, frame: Frame, objects: Objects) -> None:
        """Add the objects of a frame."""
        found = Detections(frame.number, objects.table, PackedLabels.of(objects.labels))
        of_movie = self._frames.setdefault(_movie(frame.task), {})
        of_movie[frame.number] = _FrameObjects(found, intensities(frame, objects))

    def columns(
        self, tasks: Sequence[ImageTask]
    ) -> dict[tuple[str, int, int, int], dict[str, NDArray[np.int64]]]:
        """Track every movie; return `COLUMNS` by plate, well number, site and frame.

        `tasks` give the order of the tables that `publish` writes.
        """
        self._tables.clear()
        found: dict[tuple[str, int, int, int], dict[str, NDArray[np.int64]]] = {}
        for movie, task in {_movie(task): task for task in tasks}.items():
            of_movie = self._frames.get(movie, {})
            frames = [of_movie[number] for number in sorted(of_movie)]
            tracks = self.tracker.track([one.detections for one in frames])
            values = (tracks.track, tracks.parent, tracks.generation)
            for one in frames:
                here = tracks.frame == one.detections.number
                found[*movie, one.detections.number] = {
                    name: of[here].astype(np.int64)
                    for name, of in zip(COLUMNS, values, strict=True)
                }
            if len(tracks):
                self._tables.append(_objects_table(task, frames, values))
        return found

    def publish(self, target: Path) -> KeptFolder:
        """Write ``tracks.csv`` and ``objects.csv`` of the tracked movies as a folder.

        Raises
        ------
        StorageError
            If they cannot be written.
        """
        import pandas as pd

        tables = self._tables or [_objects_table(None, (), ())]
        tracks = [_with_movie(track_table(table), table) for table in tables]
        part = target.with_name(f".{target.name}.tracks.part")
        try:
            delete_folder(part)
            part.mkdir(parents=True)
            for name, parts in (("tracks", tracks), ("objects", tables)):
                pd.concat(parts).to_csv(
                    part / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n"
                )
        except OSError as error:
            raise StorageError(f"{target} cannot be written: {error}") from error
        kept = kept_folder(part)
        move_folder(part, target)
        return kept

    def clear(self) -> None:
        """Forget the batch."""
        self._frames.clear()
        self._tables.clear()


def tracks_path(folder: Path, number: int) -> Path:
    """Return the folder of the tracks of a batch in an output folder.

    Raises
    ------
    StorageError
        If it is a link, or lies in one.
    """
    return inside(folder, f"{TRACKS}/batch_{number}")


_OF_MOVIE = ("Plate", "Well", "Well_Number", "Site")


def _objects_table(
    task: ImageTask | None,
    frames: Sequence[_FrameObjects],
    values: Sequence[NDArray[np.int32]],
) -> pd.DataFrame:
    import pandas as pd

    tables = [one.detections.table for one in frames]

    def column(name: str) -> NDArray[np.float64]:
        return np.concatenate([np.zeros(0), *(table[name] for table in tables)])

    area = column("area")
    intensity = np.concatenate([np.zeros(0), *(one.intensity for one in frames)])
    counts = [len(table) for table in tables]
    numbers = [one.detections.number for one in frames]
    movie: tuple[Any, ...] = ("", "", 0, 0)
    if task is not None:
        movie = (task.plate, task.well, task.well_number, task.site)
    track, parent, generation = values or (np.zeros(0, np.int32),) * 3
    return pd.DataFrame(
        {
            **dict(zip(_OF_MOVIE, movie, strict=True)),
            "Frame": np.repeat(np.array(numbers, np.int64), counts),
            "Label": column("label").astype(np.int64),
            "Track": track, "Parent": parent, "Generation": generation,
            "Y": column("y"), "X": column("x"), "Area": area, "Intensity": intensity,
            "Mitotic": mitotic_likeness(area, intensity),
        },
        index=range(len(area)),
    )  # fmt: skip


def _with_movie(tracks: pd.DataFrame, objects: pd.DataFrame) -> pd.DataFrame:
    for at, name in enumerate(_OF_MOVIE):
        tracks.insert(at, name, objects[name].iloc[0] if len(objects) else None)
    return tracks


def _movie(task: ImageTask) -> _Movie:
    return task.plate, task.well_number, task.site
