"""The tracks of a batch: columns of its table, and two tables beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.compile.masks import kept_folder
from idrstream.errors import StorageError
from idrstream.files import delete_folder, move_folder
from idrstream.opening import inside
from idrstream.quality.pictures import picture_key
from idrstream.track.measure import mitotic_likeness, track_table
from idrstream.track.pictures import draw_tracks, films
from idrstream.track.protocol import Detections, PackedLabels, Tracker

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from PIL.Image import Image

    from idrstream.records import Frame, ImageTask, KeptFolder, Objects

TRACKS = "tracks"
"""Folder of the tables of tracks in the output folder."""
COLUMNS = ("Metadata_Track", "Metadata_Parent", "Metadata_Generation")
"""Columns of the table of a batch."""

FILM, FILM_MP4 = "film.webp", "film.mp4"
FILMS = 12
"""Batches of which a film is made."""
_FILM_PX = 384  # longer side
_FILM_FRAMES = 128  # of a longer movie every second, or fourth: pictures wait in memory

_Movie = tuple[str, int, int]


@dataclass(slots=True)
class BatchTracks:
    """Collects the objects of a batch frame by frame, in any order, and tracks each movie.

    Parameters
    ----------
    tracker : Tracker
        Follows the objects of a movie.
    films : int
        A film is made of one movie of each batch with a number below this.
    """

    tracker: Tracker
    films: int = 0
    _frames: dict[_Movie, dict[int, Detections]] = field(default_factory=dict)
    _tables: list[pd.DataFrame] = field(default_factory=list)
    _filmed: _Film | None = None

    def add(self, frame: Frame, objects: Objects) -> None:
        """Add the objects of a frame."""
        of_movie = self._frames.setdefault(_movie(frame.task), {})
        of_movie[frame.number] = Detections.of(frame, objects)
        if self.films:
            self._expose(frame, objects)

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
            tracks = self.tracker.track(frames)
            values = (tracks.track, tracks.parent, tracks.generation)
            for one in frames:
                here = tracks.frame == one.number
                found[*movie, one.number] = {
                    name: of[here].astype(np.int64)
                    for name, of in zip(COLUMNS, values, strict=True)
                }
            if len(tracks):
                self._tables.append(_objects_table(task, frames, values))
        return found

    def publish(self, target: Path, number: int) -> KeptFolder:
        """Write ``tracks.csv``, ``objects.csv`` and perhaps a film as a folder.

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
            if self._filmed is not None and self._filmed.pictures and number < self.films:
                webp, mp4 = films(self._filmed.developed(tables), part)
                (part / FILM).write_bytes(webp)
                if mp4 is not None:
                    (part / FILM_MP4).write_bytes(mp4)
        except OSError as error:
            raise StorageError(f"{target} cannot be written: {error}") from error
        kept = kept_folder(part)
        move_folder(part, target)
        return kept

    def clear(self) -> None:
        """Forget the batch."""
        self._frames.clear()
        self._tables.clear()
        self._filmed = None

    def _expose(self, frame: Frame, objects: Objects) -> None:
        """Keep a small picture of a frame of the movie that is first by its digest.

        Whichever order frames come in: that movie's are kept from its first on.
        """
        task = frame.task
        key = picture_key(task.plate, task.well_number, task.site, 0)
        if self._filmed is None or key < self._filmed.key:
            self._filmed = _Film(key, _movie(task))
        if key == self._filmed.key:
            self._filmed.add(frame, objects)


@dataclass(slots=True)
class _Film:
    """Small pictures of the frames of a movie, of a long one evenly over its length."""

    key: str
    movie: _Movie
    shrink: int = 1
    every: int = 1
    pictures: dict[int, tuple[int, NDArray[Any], PackedLabels]] = field(default_factory=dict)

    def add(self, frame: Frame, objects: Objects) -> None:
        """Add the picture of a frame; which ones are left does not depend on their order."""
        at = _position(frame)
        if at % self.every:
            return
        step = self.shrink = max(1, -(-max(frame.shape) // _FILM_PX))
        height, width = (size // step * step for size in frame.shape)
        blocks = frame.plane()[:height, :width].reshape(height // step, step, width // step, step)
        small = blocks.mean(axis=(1, 3)).astype(frame.pixels.dtype)
        labels = objects.labels[:height:step, :width:step]
        self.pictures[at] = frame.number, small, PackedLabels.of(labels)
        while len(self.pictures) > _FILM_FRAMES:
            self.every *= 2
            for one in [one for one in self.pictures if one % self.every]:
                del self.pictures[one]

    def developed(self, tables: Sequence[pd.DataFrame]) -> Iterator[Image]:
        """Yield the pictures of the film, with the tracks of its movie."""
        found = [
            table for table in tables
            if len(table) and tuple(table[["Plate", "Well_Number", "Site"]].iloc[0]) == self.movie
        ]  # fmt: skip
        objects = found[0] if found else _objects_table(None, (), ())
        pictures = sorted(self.pictures.values(), key=itemgetter(0))
        everything = np.concatenate([one.ravel()[::7] for _, one, _ in pictures])
        low, high = (float(level) for level in np.percentile(everything, (1, 99.8)))
        for number, small, labels in pictures:
            yield draw_tracks(
                small, labels.array(), objects, number, shrink=self.shrink, levels=(low, high)
            )


def _position(frame: Frame) -> int:
    """Return which of the wanted frames of its movie a frame is, from 0."""
    task = frame.task
    if task.every:
        return (frame.number - 1) // task.every
    return sorted(task.frames).index(frame.number)


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
    frames: Sequence[Detections],
    values: Sequence[NDArray[np.int32]],
) -> pd.DataFrame:
    import pandas as pd

    tables = [one.table for one in frames]

    def column(name: str) -> NDArray[np.float64]:
        return np.concatenate([np.zeros(0), *(table[name] for table in tables)])

    area = column("area")
    intensity = np.concatenate(
        [np.zeros(0), *(f.intensity for f in frames if f.intensity is not None)]
    )
    counts = [len(table) for table in tables]
    numbers = [one.number for one in frames]
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
