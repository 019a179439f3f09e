"""The batch's way from nuclei to its published table: project, engine, compile, publish."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.compile import WRITERS, compile_batch, publish

if TYPE_CHECKING:
    from idrstream.profile import DeepProfilerProject, Engine
    from idrstream.records import Frame, Nuclei, Published


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
    """

    def __init__(
        self,
        project: DeepProfilerProject,
        engine: Engine,
        folder: Path,
        *,
        extra_metadata: Sequence[str] = (),
        output_format: str = "csv.gz",
    ) -> None:
        self._project = project
        self._engine = engine
        self._folder = folder
        self._extra_metadata = tuple(extra_metadata)
        self._format = output_format

    def add(self, frame: Frame, nuclei: Nuclei) -> None:
        """Write a frame and its nuclei into the project."""
        self._project.add(frame, nuclei)

    def profile(self) -> None:
        """Write ``index.csv`` and compute the features of all nuclei."""
        self._project.write_index()
        self._engine.profile(self._project)

    def publish(self, number: int) -> Published:
        """Compile the table of the batch and put it into the output folder."""
        table = compile_batch(self._project, extra_metadata=self._extra_metadata)
        path = self._folder / f"batch_{number}.{self._format}"
        return publish(table, path, WRITERS[self._format])

    def clear(self) -> None:
        """Delete images, locations, index and features of the batch."""
        self._project.clear()
