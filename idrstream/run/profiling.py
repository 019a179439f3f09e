"""Profiles a batch: writes its project, calls the engine, compiles and publishes its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.compile import WRITERS, check_complete, compile_batch, publish
from idrstream.errors import CompileError
from idrstream.schedule.stages import BatchProfiling

if TYPE_CHECKING:
    from idrstream.folder.journal.reader import FrameKey
    from idrstream.profile import DeepProfilerProject, Engine
    from idrstream.quality.notes import BatchNotes
    from idrstream.records import Frame, ImageTask, Nuclei, Published

_FILE_BYTES = 4096  # of a file beside its content: headers, its entry in tables
_NUCLEI = 400  # of a frame, as long as none was segmented
_PIXEL_BYTES = 2
_LOCATION_BYTES = 64
_POINT_BYTES = 14
_OUTLINE_POINTS = 80
_FEATURE_BYTES = 4


class ProjectProfiling(BatchProfiling):
    """Profiles a batch in a DeepProfiler project folder and publishes its table.

    Parameters
    ----------
    project : DeepProfilerProject
        The project folder that batches pass through.
    engine : Engine
        Computes the features.
    folder : Path
        Output folder; tables are named ``batch_<number>.<format>``.
    extra_metadata : sequence of str
        Extra columns.
    output_format : str
        ``csv.gz`` or ``parquet``.
    keep : Mapping[int, set], optional
        Frames (plate, well number, site, frame) in the existing tables of batches: a new table
        that lacks one is not published.
    notes : callable, optional
        Returns what records the quality of the frames of a batch; see `BatchNotes`.
    """

    def __init__(
        self,
        project: DeepProfilerProject,
        engine: Engine,
        folder: Path,
        *,
        extra_metadata: Sequence[str] = (),
        output_format: str = "csv.gz",
        keep: Mapping[int, Set[FrameKey]] | None = None,
        notes: Callable[[], BatchNotes] | None = None,
    ) -> None:
        self._project = project
        self._engine = engine
        self._folder = folder
        self._extra_metadata = tuple(extra_metadata)
        self._format = output_format
        self._keep = keep or {}
        self._notes = notes and notes()
        self._outlines = "object_outlines" in self._extra_metadata
        self._tasks: tuple[ImageTask, ...] = ()

    @classmethod
    def slots(
        cls, count: int, project: DeepProfilerProject, engine: Engine, folder: Path, **options: Any
    ) -> tuple[ProjectProfiling, ...]:
        """Return one for each of `count` batches in progress at once.

        The first works in `project`, the others in folders beside it; `options` are those of the
        class.
        """
        return tuple(cls(made, engine, folder, **options) for made in project.siblings(count))

    def open(self) -> None:
        """Prepare the project; delete what a crashed stream left in it."""
        self.close()
        self._project.prepare()

    def close(self) -> None:
        """Delete all but the first project, and there all but config and checkpoint."""
        self._project.clear()
        if self._project.is_first:
            self._project.remove_siblings()

    def add(self, frame: Frame, nuclei: Nuclei) -> None:
        """Write a frame and its nuclei into the project, and record their quality."""
        if self._notes is not None:
            self._notes.add(frame, nuclei)
        if not self._outlines:  # they were only for the picture
            nuclei = replace(nuclei, outlines=None)
        self._project.add(frame, nuclei)

    def profile(self, tasks: Sequence[ImageTask]) -> None:
        """Write ``index.csv`` in the order of `tasks` and compute the features of all nuclei."""
        self._tasks = tuple(tasks)
        self._project.arrange(tasks)
        self._project.write_index()
        self._engine.profile(self._project)

    def publish(self, number: int) -> Published:
        """Compile and check the table of the batch, and move it into the output folder.

        Raises
        ------
        idrstream.errors.CompileError
            If it is incomplete, or lacks frames that the existing table of the batch has.
        """
        images = self._project.images
        table = compile_batch(self._project, extra_metadata=self._extra_metadata)
        nuclei = sum(image.nuclei for image in images)
        check_complete(table, nuclei=nuclei, features=self._project.feature_count)
        have = {(i.task.plate, i.task.well_number, i.task.site, i.frame_number) for i in images}
        lost = sorted(self._keep.get(number, frozenset()) - have)
        if lost:
            plate, well_number, _, frame = lost[0]
            raise CompileError(
                f"{len(lost)} frames that the batch's table has would be lost (first: plate "
                f"{plate} well number {well_number} frame {frame}); the earlier table is kept"
            )
        if self._notes is not None:  # before the table: every published batch has its notes
            self._notes.publish(number, self._tasks)
        path = self._folder / f"batch_{number}.{self._format}"
        return publish(table, path, WRITERS[self._format])

    def clear(self) -> None:
        """Delete images, locations, index and features of the batch."""
        if self._notes is not None:
            self._notes.clear()
        self._project.clear()

    def interrupt(self) -> None:
        """Interrupt the engine; the batch fails, the engine can be used again."""
        self._engine.interrupt()

    def expected_bytes(self, task: ImageTask) -> int:
        """Return how much disk space an image will probably need, features included."""
        config = self._project.config
        pixels = config.width * config.height * _PIXEL_BYTES
        return len(task.frames) * self._bytes(pixels, _NUCLEI, _NUCLEI * _OUTLINE_POINTS)

    def needed_bytes(self, frame: Frame, nuclei: Nuclei) -> int:
        """Return how much disk space a frame needs at most, features included."""
        shapes = nuclei.outlines if self._outlines else None
        points = sum(len(outline) for outline in shapes or ())
        return self._bytes(frame.pixels.nbytes, len(nuclei), points)

    def _bytes(self, pixels: int, nuclei: int, points: int) -> int:
        """Return the size of the image, locations, index line and features of a frame."""
        each = _LOCATION_BYTES + 2 * 8 + self._project.feature_count * _FEATURE_BYTES
        return pixels + nuclei * each + points * _POINT_BYTES + 4 * _FILE_BYTES
