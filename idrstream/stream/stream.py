"""IdrStream: owns the parts and runs batches; the object a notebook holds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from idrstream.errors import StorageError
from idrstream.run.log import StreamLog
from idrstream.stream.parts import PathLike, StreamParts
from idrstream.stream.verbs import FolderVerbs

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.config import Settings
    from idrstream.forecast import StreamPlan
    from idrstream.schedule.events import Listener
    from idrstream.schedule.options import LaneOptions
    from idrstream.schedule.result import RunResult
    from idrstream.watch.background import BackgroundRun

logger = logging.getLogger(__name__)


class IdrStream(StreamParts, FolderVerbs):
    """Streams images of an IDR study to single-cell features, batch by batch.

    Has the interface of the first IDR_stream's ``DeepProfilerRun``. Every ``init_`` method
    also takes a ready-made part instead of the values to build one from.

    Parameters
    ----------
    idr_id : str
        Accession of the study, for example ``idr0013``.
    tmp_dir : path
        Folder for intermediate files. Only DeepProfiler's config and checkpoint stay there
        between batches. Its subfolders ``downloads`` and ``DP_project`` belong to the stream.
    final_data_dir : path
        Folder for the results: ``batch_<number>.csv.gz``, ``journal.sqlite`` with all that
        happened, ``provenance.json`` to run it again, ``tables/`` with copies of the tables to
        process, and ``illumination/`` with the models of plates when they are corrected by plate.
    log : path
        Log file, appended to; ``""`` for none.

    Raises
    ------
    StorageError
        If a folder or the log cannot be made.

    Examples
    --------
    >>> stream = IdrStream("idr0013", "tmp", "features", log="stream.log")  # doctest: +SKIP
    >>> stream.init_downloader(make_downloader(method="https"))  # doctest: +SKIP
    >>> stream.init_preprocessor(None, True)  # doctest: +SKIP
    >>> stream.init_segmentor({"model_type": "idrstream-nuclei", "diameter": 0})  # doctest: +SKIP
    >>> stream.copy_DP_files()  # doctest: +SKIP
    >>> result = stream.run_stream(data_to_process, batch_size=10)  # doctest: +SKIP
    """

    def __init__(
        self,
        idr_id: str,
        tmp_dir: PathLike,
        final_data_dir: PathLike,
        log: PathLike = "",
    ) -> None:
        super().__init__(idr_id, tmp_dir, final_data_dir)
        for folder in (self.tmp_dir, self.final_data_dir):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                msg = f"the folder {folder} cannot be made: {error.strerror}"
                raise StorageError(msg) from error
        self.complete_timeout_s = 60.0
        self.plate_wells = 12
        self._log = StreamLog(Path(log) if str(log) else None)
        logger.info("IDR stream initialized")

    @overload
    def run_stream(
        self,
        data_to_process: pd.DataFrame,
        batch_size: int = 10,
        start_batch: int = 0,
        batch_nums: str | Iterable[int] = "all",
        extra_metadata: str | Sequence[str] = (),
        *,
        background: Literal[False] = False,
        **options: Any,
    ) -> RunResult: ...
    @overload
    def run_stream(
        self,
        data_to_process: pd.DataFrame,
        batch_size: int = 10,
        start_batch: int = 0,
        batch_nums: str | Iterable[int] = "all",
        extra_metadata: str | Sequence[str] = (),
        *,
        background: Literal[True],
        **options: Any,
    ) -> BackgroundRun: ...
    def run_stream(  # type: ignore[misc]  # the overloads leave the other options to this one
        self,
        data_to_process: pd.DataFrame,
        batch_size: int = 10,
        start_batch: int = 0,
        batch_nums: str | Iterable[int] = "all",
        extra_metadata: str | Sequence[str] = (),
        *,
        background: bool = False,
        output_format: Literal["csv.gz", "parquet"] = "csv.gz",
        progress: bool = True,
        listeners: Sequence[Listener] = (),
        replan: bool = False,
        force: bool = False,
        force_recompute: bool = False,
        ignore_invalid_inputs: bool = False,
        ignore_failed_outputs: bool = False,
        share_gpu: bool = False,
        disk_budget: str | int | None = None,
        lanes: LaneOptions | None = None,
        pictures: str | int | None = "50MB",
    ) -> RunResult | BackgroundRun:
        """Extract the features of all images of a table that are not done yet.

        What the output folder has already is compared with table and settings by content:
        batches that are done and proven are left alone, rows that are new become new batches,
        and anything else is refused with a sentence that says what changed. ``docs/resume.md``
        tells more.

        Parameters
        ----------
        data_to_process : pandas.DataFrame
            One row per movie: ``Plate``, ``Frames`` (``"50"`` or ``"1,50,93"``, from 1),
            ``Well`` or ``Well Number``, and any metadata.
        batch_size : int
            Images per batch.
        start_batch : int
            First batch to run, from 0.
        batch_nums : ``"all"`` or iterable of int
            Batches to run. Those named here that failed or were published without some images
            are run again; those that are complete are left alone.
        extra_metadata : str or sequence of str
            Extra columns, for example ``object_outlines``.
        background : bool
            Return at once with a handle; the stream goes on in a thread of this process, and
            shows no progress bars. ``docs/control.md`` tells more.
        output_format : {"csv.gz", "parquet"}
            Format of ``batch_<number>``.
        progress : bool
            Whether to show progress bars.
        listeners : sequence of Listener
            Objects to be called with every event of the run.
        replan : bool
            Cut the images that are not done anew, with new batch numbers; what is done stays.
        force : bool
            Make this table and these settings the folder's, whatever it was begun with: what
            does not belong to them is deleted and computed again.
        force_recompute : bool
            Compute the batches again although they are done.
        ignore_invalid_inputs : bool
            Leave out rows of the table that cannot be used, and say so in the log.
        ignore_failed_outputs : bool
            Leave batches alone that failed before.
        share_gpu : bool
            Use a GPU that another stream on this machine uses, too.
        disk_budget : str or int, optional
            Hard limit on everything under `tmp_dir`, for example ``"20GB"``; None for none.
        lanes : LaneOptions, optional
            How many downloads, batches and so on at once; chosen for the machine by default.
        pictures : str or int, optional
            What example pictures for the report may take in the output folder; None or 0 for
            none.

        Returns
        -------
        RunResult
            What was published; ``result.failures()`` is a table of what failed and
            ``result.rerun_call`` the call that runs it again. With `background` a
            `BackgroundRun`: ``pause()``, ``resume()``, ``stop()``, ``status()``, ``result()``.

        Raises
        ------
        ConfigError, TableError
            Before anything is downloaded, naming what is wrong.
        PlanChangedError
            When the output folder was begun with another plan; says what changed.
        LockedError
            When another stream uses the output folder, `tmp_dir` or the GPU; says who.
        UserError
            When the stream cannot go on without the user: a missing tool, a full disk.
        """
        from idrstream.run.request import parts_of, place_of, request_of
        from idrstream.run.session import Session
        from idrstream.watch.background import BackgroundRun
        from idrstream.watch.progress import ProgressBars

        request = request_of(
            batch_size=batch_size,
            start_batch=start_batch,
            batch_nums=batch_nums,
            extra_metadata=extra_metadata,
            output_format=output_format,
            share_gpu=share_gpu,
            disk_budget=disk_budget,
            lanes=lanes,
            pictures=pictures,
            replan=replan,
            force=force,
            force_recompute=force_recompute,
            ignore_invalid_inputs=ignore_invalid_inputs,
            ignore_failed_outputs=ignore_failed_outputs,
        )
        session = Session(place_of(self), parts_of(self), request)
        if background:
            return BackgroundRun(
                self.final_data_dir,
                lambda begun: session.run(data_to_process, listeners, begun=begun),
            ).start()
        hearing = [ProgressBars(), *listeners] if progress else listeners
        return session.run(data_to_process, hearing)

    run_dp_stream = run_stream

    def plan(
        self, data_to_process: pd.DataFrame | None = None, *, probe: int = 0, **options: Any
    ) -> StreamPlan:
        """Say what `run_stream` would do, what it needs, and whether it could start.

        Nothing is written to the stream's folders; ``docs/plan.md`` tells more.

        Parameters
        ----------
        data_to_process : pandas.DataFrame, optional
            The table to process; by default the one that the output folder was begun with,
            with its batch size, extra metadata and format.
        probe : int
            Run so many images through the parts, in a temporary folder, to measure the time.
        **options
            Those of `run_stream` that are no listeners: ``batch_size``, ``disk_budget`` ...

        Returns
        -------
        StreamPlan
            Printed, or shown in a notebook, it is a summary; ``is_good`` tells whether every
            check passed.

        Raises
        ------
        ConfigError
            If a part is missing, or an option is none of `run_stream`.
        JournalError
            If no table is given and no stream has run in the output folder yet.
        """
        from idrstream.forecast.make import make_plan, read_begun_quietly
        from idrstream.run.request import parts_of, place_of, request_of

        if data_to_process is None:
            data_to_process, begun = read_begun_quietly(self.final_data_dir)
            options = {**begun, **options}
        request = request_of(**options)
        parts, place = parts_of(self), place_of(self)
        with self._log.muted():  # a probe is no part of the stream's history
            return make_plan(place, parts, request, data_to_process, probe=max(0, probe))

    @property
    def log_path(self) -> Path | None:
        """The log file."""
        return self._log.path

    def close(self) -> None:
        """Stop helper processes and close the log; the stream can be used no more."""
        for part in (self.preprocessor, self.engine):
            close = getattr(part, "close", None)
            if close is not None:
                close()
        self._log.close()

    def _run(self, table: pd.DataFrame, **options: Any) -> RunResult:
        result: RunResult = self.run_stream(table, **options)
        return result

    @classmethod
    def from_settings(cls, settings: Settings) -> IdrStream:
        """Build a stream with all its parts from checked settings.

        Parameters
        ----------
        settings : Settings
            As `load_settings` returns them.

        Returns
        -------
        IdrStream
            Ready to run.

        Raises
        ------
        UserError
            If a part cannot be built from its settings.
        """
        from idrstream.stream.build import build_stream

        return build_stream(cls, settings)


DeepProfilerRun = IdrStream
