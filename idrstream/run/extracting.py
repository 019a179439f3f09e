"""Writes every plane of a stream's images into OME-Zarr plates, in the place of features.

A run is an ordinary one with other last steps: the planes of a frame count as its objects, a table
has a row for every plane.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.compile import WRITERS, publish
from idrstream.compile.plates import (
    COLUMNS,
    EXTRACTED,
    PLATES,
    FieldSpec,
    field_name,
    fields_in,
    write_field,
    write_plate,
)
from idrstream.errors import CompileError, ConfigError, FrameError, StorageError
from idrstream.files import delete_folder, move_folder
from idrstream.opening import inside
from idrstream.preprocess.planes import PlanesFrame, PlanesPreprocessor
from idrstream.profile import FeatureEngine
from idrstream.records import OBJECT_FIELDS, Frame, ImageTask, Objects
from idrstream.schedule.events import BatchPublished, Event
from idrstream.schedule.stages import BatchProfiling, DiskNeed
from idrstream.screen import checked_rows, with_plate_format
from idrstream.screen.columns import CORE_COLUMNS, FRAMES, PLACE_COLUMNS
from idrstream.segment import Segmentor

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.config import RunOptions
    from idrstream.folder.journal.reader import FrameKey
    from idrstream.records import Features, Published
    from idrstream.run.components import Components

_FRAME_BYTES = 4 << 20  # as long as none was read


@dataclass(slots=True)
class _Field:
    """A field in progress: what it is, and the files of its frames."""

    spec: FieldSpec
    frames: dict[int, Path] = field(default_factory=dict)


class Extraction(BatchProfiling):
    """Keeps the planes of a batch, and publishes them as fields of plates.

    Parameters
    ----------
    root : Path
        Folder for a batch in progress.
    folder : Path
        Output folder.
    output_format : str
        Format of the tables.
    tables : Path
        Folder of the tables.
    keep : Mapping[int, set], optional
        Frames of the existing tables of batches: a new table that lacks one is not published.
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        tables: Path,
        output_format: str,
        keep: Mapping[int, Set[FrameKey]] | None = None,
    ) -> None:
        self._root = root
        self._folder = folder
        self._tables = tables
        self._format = output_format
        self._keep = keep or {}
        self._fields: dict[tuple[str, int, int], _Field] = {}

    def open(self) -> None:
        """Delete what a crashed stream left in the folder."""
        self.clear()

    def close(self) -> None:
        """Delete what there is of a batch."""
        self.clear()

    def clear(self) -> None:
        """Delete the planes of the batch."""
        self._fields.clear()
        shutil.rmtree(self._root, ignore_errors=True)

    def interrupt(self) -> None:
        """Do nothing: writing a frame is short."""

    def profile(
        self,
        frames: Sequence[Frame],
        objects: Sequence[Objects],  # noqa: ARG002
    ) -> list[Exception | None]:
        """Keep the planes of some frames on the disk."""
        return [self._add(frame) for frame in frames]

    def _add(self, frame: Frame) -> Exception | None:
        """Keep a frame; return why it cannot be in the batch."""
        if not isinstance(frame, PlanesFrame):
            return FrameError(f"{frame.name} is not with all its planes")
        spec = FieldSpec(
            frame.channels[:: frame.n_planes], frame.n_planes, max(frame.task.frames),
            frame.shape, frame.pixels.dtype.name, frame.spacing_um,
        )  # fmt: skip
        known = self._fields.setdefault(_key(frame.task), _Field(spec))
        number = len(known.frames)
        if known.spec.frame_shape != spec.frame_shape or known.spec.dtype != spec.dtype:
            return FrameError(f"{frame.name} has another size or type than those before")
        if frame.number in known.frames:
            return FrameError(f"{frame.name} was there before")
        path = self._root / "planes" / field_name(frame.task) / f"{frame.number}.npy"
        try:
            if not number:
                path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, frame.pixels.reshape(spec.frame_shape), allow_pickle=False)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}") from error
        known.frames[frame.number] = path
        return None

    def publish(self, number: int, tasks: Sequence[ImageTask]) -> Published:
        """Write the fields of the batch and its table into the output folder.

        Raises
        ------
        CompileError
            If a field reads back otherwise than it was written, or frames would be lost.
        StorageError
            If something cannot be written.
        """
        import pandas as pd

        self._check_kept(number)
        rows: list[tuple[Any, ...]] = []
        staged = self._root / "fields"
        for task in tasks:
            known = self._fields.get(_key(task))
            if known is None:
                continue
            name = field_name(task)
            for frame, c, z, digest in write_field(staged / name, task, known.spec, known.frames):
                where = (task.plate, task.well, task.site, frame)
                rows.append((*where, c, known.spec.channels[c], z, name, digest))
        target = inside(self._folder, f"{EXTRACTED}/batch_{number}")
        if rows:
            move_folder(staged, target)
        else:
            delete_folder(target)
        table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(str)
        path = self._tables / f"batch_{number}.{self._format}"
        return publish(table, path, WRITERS[self._format])

    def expected_need(self, task: ImageTask) -> DiskNeed:
        """Return how much disk space all frames of an image will probably need."""
        return DiskNeed(2 * task.n_frames_expected * _FRAME_BYTES, 0)

    def disk_need(self, frame: Frame, objects: Objects) -> DiskNeed:  # noqa: ARG002
        """Return how much disk space a frame needs at most: as it is, and compressed."""
        return DiskNeed(2 * frame.pixels.nbytes + (1 << 14), 0)

    def _check_kept(self, number: int) -> None:
        have = {(*key, frame) for key, one in self._fields.items() for frame in one.frames}
        lost = sorted(self._keep.get(number, frozenset()) - have)
        if lost:
            plate, well_number, _, frame = lost[0]
            raise CompileError(
                f"{len(lost)} frames that the batch has would be lost (first: plate {plate} well "
                f"number {well_number} frame {frame}); the earlier ones are kept"
            )


class PlaneCounter(Segmentor):
    """Takes the planes of a frame as its objects, so that they are counted as these are."""

    def describe(self) -> dict[str, object]:
        """Return what changes a result: nothing."""
        return {"name": "planes"}

    def segment(self, frame: Frame, *, outlines: bool = False) -> Objects:  # noqa: ARG002
        """Return an object without pixels for each plane."""
        return Objects(
            "Planes", np.zeros((1, 1), np.int32), np.zeros(len(frame.pixels), OBJECT_FIELDS)
        )


class NoFeatures(FeatureEngine):
    """Computes nothing."""

    def describe(self) -> dict[str, object]:
        """Return what changes a result: nothing."""
        return {"name": "none"}

    def profile(self, frames: Sequence[Frame], objects: Sequence[Objects]) -> Sequence[Features]:
        """Refuse: planes have no features."""
        raise NotImplementedError


def for_extraction(components: Components, options: RunOptions) -> Components:
    """Return the components of a run that extracts; those of any other as they are.

    Raises
    ------
    ConfigError
        If the preprocessor has no reader, or a stream of tiles is meant.
    """
    preprocessor = components.preprocessor
    if not options.extract or preprocessor.all_channels:
        return components
    reader = preprocessor.reader
    if reader is None:
        msg = "to extract planes the preprocessor needs a reader of files, and tile_px must be 0"
        raise ConfigError(msg)
    return replace(
        components,
        preprocessor=PlanesPreprocessor(reader),
        segmentor=PlaneCounter(),
        engine=NoFeatures(),
    )


def fields_of(table: pd.DataFrame, options: RunOptions) -> tuple[ImageTask, ...]:
    """Return the images of a table, each once, with all frames; see `fields_table`."""
    return checked_rows(fields_table(table, options)).tasks


def fields_table(table: pd.DataFrame, options: RunOptions) -> pd.DataFrame:
    """Return the table with one row for each image, whose frames are all wanted.

    Raises
    ------
    TableError
        If rows cannot be used, or those of one image name different files.
    """
    table = with_plate_format(table.assign(**{FRAMES: "all"}), options.plate_format)
    places = [name for name in table.columns if name.startswith(PLACE_COLUMNS)]
    table = table.drop_duplicates(
        subset=[name for name in (*CORE_COLUMNS, *places) if name in table.columns]
    )
    tasks = checked_rows(table, ignore_invalid=options.ignore_invalid_inputs).tasks
    return table.iloc[[task.row for task in tasks]]


class PlateFolder:
    """Moves the fields of a batch into their plates before the journal records it; a `Listener`.

    Parameters
    ----------
    folder : Path
        Output folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, event: Event) -> None:
        """Move the fields of a batch that was published."""
        if not isinstance(event, BatchPublished):
            return
        staged = inside(self._folder, f"{EXTRACTED}/batch_{event.batch.number}")
        names = fields_in(staged)
        for name in names:
            move_folder(staged / name, inside(self._folder, f"{PLATES}/{name}"))
        for plate in sorted({name.partition("/")[0] for name in names}):
            write_plate(inside(self._folder, f"{PLATES}/{plate}"))
        delete_folder(staged)


def _key(task: ImageTask) -> tuple[str, int, int]:
    return task.plate, task.well_number, task.site
