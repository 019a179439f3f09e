"""The batch's way from nuclei to its published table: project, engine, compile, publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.compile import WRITERS, check_complete, compile_batch, publish
from idrstream.errors import CompileError

if TYPE_CHECKING:
    from idrstream.profile import DeepProfilerProject, Engine
    from idrstream.records import Frame, Nuclei, Published
    from idrstream.run.journal import FrameKey


class ProjectProfiling:
    """Profiles a batch in a DeepProfiler project folder and publishes its table.

    Parameters
    ----------
    project : DeepProfilerProject
        The project folder that batches pass through.
    engine : Engine
        What computes the features.
    folder : Path
        Output folder; tables are named ``batch_<number>.<format>``.
    extra_metadata : sequence of str
        Extra columns.
    output_format : str
        ``csv.gz`` or ``parquet``.
    keep : Mapping[int, set], optional
        Frames (plate, well number, site, frame) that the tables of batches have already: a new
        table without them is not published.
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
    ) -> None:
        self._project = project
        self._engine = engine
        self._folder = folder
        self._extra_metadata = tuple(extra_metadata)
        self._format = output_format
        self._keep = keep or {}

    def add(self, frame: Frame, nuclei: Nuclei) -> None:
        """Write a frame and its nuclei into the project."""
        self._project.add(frame, nuclei)

    def profile(self) -> None:
        """Write ``index.csv`` and compute the features of all nuclei."""
        self._project.write_index()
        self._engine.profile(self._project)

    def publish(self, number: int) -> Published:
        """Compile the table of the batch, prove it complete, and put it into the output folder.

        Raises
        ------
        idrstream.errors.CompileError
            When it is not complete, or lacks frames that the batch's earlier table has.
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
        path = self._folder / f"batch_{number}.{self._format}"
        return publish(table, path, WRITERS[self._format])

    def clear(self) -> None:
        """Delete images, locations, index and features of the batch."""
        self._project.clear()
