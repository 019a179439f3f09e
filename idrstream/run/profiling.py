"""Profiles a batch: calls the engine, keeps its record, compiles and publishes its table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.compile import (
    WRITERS,
    ProfiledFrame,
    check_complete,
    compile_batch,
    object_numbers,
    publish,
)
from idrstream.compile.masks import MaskFolder, masks_path
from idrstream.errors import CompileError
from idrstream.files import delete_folder, move_folder
from idrstream.folder.outputs import project_path
from idrstream.profile import DeepProfilerProject, check_features
from idrstream.profile.deepprofiler.features_file import write_features
from idrstream.records import OBJECT_FIELDS, OBJECT_KINDS, Frame, ImageTask, Objects
from idrstream.run.table_options import FILE_BYTES, TableOptions, kept_bytes
from idrstream.schedule.stages import BatchProfiling, DiskNeed
from idrstream.track.batch import BatchTracks, tracks_path
from idrstream.workers.steps import step

if TYPE_CHECKING:
    from idrstream.folder.journal.reader import FrameKey
    from idrstream.profile import FeatureEngine
    from idrstream.quality.notes import BatchNotes
    from idrstream.records import Features, KeptFolder, Published

_OBJECTS = 400  # of a frame, as long as none was segmented
FRAME_PX = (1024, 1344)
"""Size of a frame, as long as none was read."""
_LOCATION_BYTES = 64
_POINT_BYTES = 14
_OUTLINE_POINTS = 80
_KINDS = tuple(f"{kind}_" for kind in OBJECT_KINDS)


class EngineProfiling(BatchProfiling):
    """Profiles frames by an engine and publishes the table of their batch.

    Index and locations of the batch are written in DeepProfiler's layout while it is in progress.

    Parameters
    ----------
    project : DeepProfilerProject
        Folder of index and locations.
    engine : FeatureEngine
        Computes the features.
    folder : Path
        Output folder; tables are named ``batch_<number>.<format>``.
    options : TableOptions, optional
        What the tables have.
    keep : Mapping[int, set], optional
        Frames (plate, well number, site, frame) in the existing tables of batches: a new table
        that lacks one is not published.
    notes : callable, optional
        Returns what records the quality of the frames of a batch; see `BatchNotes`.
    """

    def __init__(
        self,
        project: DeepProfilerProject,
        engine: FeatureEngine,
        folder: Path,
        options: TableOptions | None = None,
        *,
        keep: Mapping[int, Set[FrameKey]] | None = None,
        notes: Callable[[], BatchNotes] | None = None,
    ) -> None:
        self._project = project
        self._engine = engine
        self._folder = folder
        self._options = options or TableOptions()
        self._keep = keep or {}
        self._notes = notes and notes()
        self._outlines = "object_outlines" in self._options.extra_metadata
        self._profiled: dict[tuple[str, str, str], ProfiledFrame] = {}
        self._masks = MaskFolder(project.root.with_name(f"{project.root.name}_masks"))
        self._tracks = (
            BatchTracks(self._options.tracker, self._options.films)
            if self._options.tracker is not None
            else None
        )
        self._columns: tuple[str, ...] = ()  # of the batch
        self._size: tuple[int, int] | None = None  # of the frames, for the project's config

    @classmethod
    def slots(
        cls, count: int, project: DeepProfilerProject, *arguments: Any, **options: Any
    ) -> tuple[EngineProfiling, ...]:
        """Return one for each of `count` batches in progress at once.

        The first works in the folder of `project`, the others in folders beside it; the other
        arguments are those of the class.
        """
        roots = [project.root.with_name(f"{project.root.name}_{n}") for n in range(2, count + 1)]
        others = (DeepProfilerProject(root, project.model) for root in roots)
        return tuple(cls(one, *arguments, **options) for one in (project, *others))

    def open(self) -> None:
        """Delete what a crashed stream left in the folder."""
        self.close()

    def close(self) -> None:
        """Delete what there is of a batch."""
        self.clear()

    def profile(
        self, frames: Sequence[Frame], objects: Sequence[Objects]
    ) -> list[Exception | None]:
        """Compute the features of some frames and add them to the batch."""
        problems = [self._add(frame, of) for frame, of in zip(frames, objects, strict=True)]
        good = [number for number, problem in enumerate(problems) if problem is None]
        chosen, of_chosen = [frames[n] for n in good], [objects[n] for n in good]
        with step("features"):
            features = self._engine.profile(chosen, of_chosen) if good else ()
        check_features(features, chosen, of_chosen, self._columns)
        for frame, of, found in zip(chosen, of_chosen, features, strict=True):
            self._columns = found.columns
            self._keep_features(frame, of, found)
        return problems

    def publish(self, number: int, tasks: Sequence[ImageTask]) -> Published:
        """Compile and check the table of the batch, and move it into the output folder.

        Raises
        ------
        idrstream.errors.CompileError
            If it is incomplete, or lacks frames that the existing table of the batch has.
        """
        self._project.arrange(tasks)
        images = self._project.images
        profiled = self._tracked([self._profiled[image.key] for image in images], tasks)
        self._project.write_index()
        names = self._columns or self._columns_of_none()
        table = compile_batch(
            self._project, profiled, names, extra_metadata=self._options.extra_metadata
        )
        known = [~np.isnan(frame.features.values).all(axis=0) for frame in profiled]
        defined = np.any([np.zeros(len(names), bool), *known], axis=0)
        check_complete(
            table,
            objects=sum(image.objects for image in images),
            features=names,
            defined=[name for name, there in zip(names, defined, strict=True) if there],
        )
        have = {(i.task.plate, i.task.well_number, i.task.site, i.frame_number) for i in images}
        lost = sorted(self._keep.get(number, frozenset()) - have)
        if lost:
            plate, well_number, _, frame = lost[0]
            raise CompileError(
                f"{len(lost)} frames that the batch's table has would be lost (first: plate "
                f"{plate} well number {well_number} frame {frame}); the earlier table is kept"
            )
        if self._notes is not None:  # before the table: every published batch has its notes
            self._notes.publish(number, tasks)
        path = self._folder / f"batch_{number}.{self._options.output_format}"
        with step("write"):
            published = publish(table, path, WRITERS[self._options.output_format])
        # After the table: where a crash leaves the earlier masks, it is the table that differs
        # from the journal, which every start sees.
        published = replace(published, masks=self._publish_kept(number, profiled))
        tracks = tracks_path(self._folder_of_kept(), number)
        if self._tracks is None:
            delete_folder(tracks)
            return published
        return replace(published, tracks=self._tracks.publish(tracks, number))

    def clear(self) -> None:
        """Delete index, locations and features of the batch."""
        if self._notes is not None:
            self._notes.clear()
        self._profiled.clear()
        self._columns = ()
        if self._tracks is not None:
            self._tracks.clear()
        self._masks.clear()
        self._project.clear()

    def interrupt(self) -> None:
        """Interrupt the engine; the batch fails, the engine can be used again."""
        self._engine.interrupt()

    def expected_need(self, task: ImageTask) -> DiskNeed:
        """Return how much disk space all frames of an image will probably need."""
        n_frames, need = task.n_frames_expected, self.usual_need()
        return DiskNeed(n_frames * need.kept_bytes, n_frames * need.profiling_bytes)

    def usual_need(self) -> DiskNeed:
        """Return how much disk space a frame will probably need, as long as none was read."""
        points = _OBJECTS * _OUTLINE_POINTS if self._outlines else 0
        model = self._project.model
        frame = self._usual_frame()
        objects = self._usual_objects((1, 1), _OBJECTS)
        kept = kept_bytes(self._options, model, _OBJECTS, math.prod(frame.shape))
        kept += self._record_bytes(_OBJECTS, points)
        return DiskNeed(kept, self._engine.disk_bytes(frame, objects))

    def disk_need(self, frame: Frame, objects: Objects) -> DiskNeed:
        """Return how much disk space a frame needs at most."""
        shapes = objects.outlines if self._outlines else None
        points = sum(len(outline) for outline in shapes or ())
        pixels, model = math.prod(frame.shape), self._project.model
        tables = [kind.table for kind in objects.kinds]
        rows = sum(int((table["bottom"] - table["top"]).sum()) for table in tables)
        kept = kept_bytes(
            self._options, model, len(objects), pixels, frame.pixels.itemsize, rows=rows
        )
        return DiskNeed(
            self._record_bytes(len(objects), points) + kept,
            self._engine.disk_bytes(frame, objects),
        )

    def _add(self, frame: Frame, objects: Objects) -> Exception | None:
        """Write the record of a frame; return why it cannot be in the batch."""
        try:
            image = self._project.add(
                frame, objects, pixels=self._options.project, outlines=self._outlines
            )
        # Of this frame only; the deciding thread handles it.
        except Exception as error:
            return error
        try:
            if self._notes is not None:
                self._notes.add(frame, objects)
            if self._options.masks:
                self._masks.add(frame, objects)
        except Exception as error:
            self._project.discard(image)
            if self._notes is not None:
                self._notes.discard(frame)
            return error
        return None

    def _tracked(
        self, profiled: list[ProfiledFrame], tasks: Sequence[ImageTask]
    ) -> list[ProfiledFrame]:
        """Return the frames with the columns of their tracks, if objects are tracked."""
        if self._tracks is None:
            return profiled
        found = self._tracks.columns(tasks)
        keys = [
            (i.task.plate, i.task.well_number, i.task.site, i.frame_number)
            for i in (frame.image for frame in profiled)
        ]
        return [
            replace(frame, numbers={**frame.numbers, **found[key]})
            for frame, key in zip(profiled, keys, strict=True)
        ]

    def _folder_of_kept(self) -> Path:
        return self._options.kept or self._folder

    def _publish_kept(self, number: int, profiled: Sequence[ProfiledFrame]) -> KeptFolder | None:
        """Move what is kept of the batch into the output folder; return what the masks are.

        What an earlier table of the batch had there is replaced or deleted.
        """
        options = self._options
        if options.kept is None:
            return None
        project, masks = project_path(options.kept, number), masks_path(options.kept, number)
        if options.project and profiled:
            for frame in profiled:
                if len(frame.locations):
                    write_features(
                        self._project.features_path(frame.image),
                        frame.features.values,
                        frame.locations,
                        self._project.index_row(frame.image),
                    )
            move_folder(self._project.root, project)
            # There, as the disk budget has no place for it.
            self._project.write_model(self._size, root=project)
        else:
            delete_folder(project)
        return self._masks.publish(masks)

    def _columns_of_none(self) -> tuple[str, ...]:
        """Return the names of the features, for a batch without any frame."""
        frame = self._usual_frame()
        return self._engine.profile([frame], [self._usual_objects(frame.shape, 0)])[0].columns

    def _usual_frame(self) -> Frame:
        """Return a frame as most will be, as long as none was read; it takes no memory."""
        config = self._project.model.config
        channels = self._options.channels or config.image_columns
        pixels = np.broadcast_to(np.uint16(0), (len(channels), *(config.size or FRAME_PX)))
        return Frame(pixels, 1, ImageTask("", "A1", 1, (1,)), channels=channels)

    def _usual_objects(self, shape: tuple[int, int], count: int) -> Objects:
        """Return so many objects of each kind, without a pixel."""
        first, *others = (
            Objects(kind, np.zeros(shape, np.int32), np.zeros(count, OBJECT_FIELDS))
            for kind in self._options.kinds
        )
        return replace(first, related=tuple(others))

    def _keep_features(self, frame: Frame, objects: Objects, features: Features) -> None:
        self._size = frame.shape
        image = self._project.image_of(frame)
        outlines = objects.outlines if self._outlines else None
        several = objects.related or any(map(_has_kind, features.columns))
        numbers = object_numbers(objects) if several else {}
        if self._tracks is not None:
            self._tracks.add(frame, objects)
        self._profiled[image.key] = ProfiledFrame(
            image, objects.locations, features, outlines, numbers, frame.tile
        )

    def _record_bytes(self, objects: int, points: int) -> int:
        """Return the size of the locations and index line of a frame."""
        return objects * _LOCATION_BYTES + points * _POINT_BYTES + 2 * FILE_BYTES


def _has_kind(column: str) -> bool:
    """Return whether the name of a feature begins with a kind of objects."""
    return column.startswith(_KINDS)
