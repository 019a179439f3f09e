"""IdrStream: owns the parts and runs batches; the object a notebook holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from idrstream.config import RunOptions, checked, takes_options
from idrstream.errors import StorageError
from idrstream.run.log import StreamLog
from idrstream.stream.extract import ExtractVerbs
from idrstream.stream.parts import PathLike, StreamParts, stream_path
from idrstream.stream.verbs import FolderVerbs
from idrstream.workers.memory import limit_arenas

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from idrstream.cluster import Executor
    from idrstream.config import Settings
    from idrstream.forecast import StreamPlan
    from idrstream.run.components import StreamPaths
    from idrstream.schedule.events import Listener
    from idrstream.schedule.result import RunResult
    from idrstream.step.look import StepLook
    from idrstream.step.show import Step
    from idrstream.watch.background import BackgroundRun

logger = logging.getLogger(__name__)


class IdrStream(StreamParts, FolderVerbs, ExtractVerbs):
    """Streams images of an IDR study to single-cell features, batch by batch.

    Has the interface of the first IDR_stream's ``DeepProfilerRun``. Every ``init_`` method
    also takes a ready-made part instead of the values to build one from.

    Parameters
    ----------
    idr_id : str
        Accession of the study, for example ``idr0013``.
    tmp_dir : path
        Folder for intermediate files. The stream makes ``idrstream_work`` there, works in it and
        removes it at the end.
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
    >>> stream.init_segmentor({"diameter": "plate"})  # doctest: +SKIP
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
        limit_arenas()
        super().__init__(idr_id, tmp_dir, final_data_dir)
        for folder in (self.tmp_dir, self.final_data_dir):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                msg = f"the folder {folder} cannot be made: {error.strerror}"
                raise StorageError(msg) from error
        self._log = StreamLog(stream_path(log, "log") if str(log) else None)
        logger.info("IDR stream initialized")

    @overload
    def run_stream(
        self,
        data_to_process: pd.DataFrame,
        *arguments: Any,
        background: Literal[False] = False,
        listeners: Sequence[Listener] = (),
        executor: Executor | Client | None = None,
        **options: Any,
    ) -> RunResult: ...
    @overload
    def run_stream(
        self,
        data_to_process: pd.DataFrame,
        *arguments: Any,
        background: Literal[True],
        listeners: Sequence[Listener] = (),
        executor: Executor | Client | None = None,
        **options: Any,
    ) -> BackgroundRun: ...
    @takes_options(RunOptions, positional=4)  # type: ignore[misc]  # it takes the positional ones
    def run_stream(
        self,
        data_to_process: pd.DataFrame,
        *,
        background: bool = False,
        listeners: Sequence[Listener] = (),
        executor: Executor | Client | None = None,
        **options: Any,
    ) -> RunResult | BackgroundRun:
        """Extract the features of all images of a table that are not done yet.

        The images and settings are compared with what the output folder already holds: batches
        that are done and verified are skipped, new rows become new batches, and any other
        difference is refused with a message that says what changed. See ``docs/resume.md``.

        Parameters
        ----------
        data_to_process : pandas.DataFrame
            One row per movie: ``Plate``, ``Frames`` (``"50"`` or ``"1,50,93"``, counted from 1),
            ``Well`` or ``Well Number``, and any metadata.
        background : bool
            Return at once with a handle; the stream runs in a thread of this process, without
            progress bars. See ``docs/control.md``.
        listeners : sequence of Listener
            Called with every event of the run.
        executor : Executor or distributed.Client, optional
            Has the workers on this and other machines; by default this process does the work.
            See ``docs/cluster.md``.
        **options
            The options of `RunOptions`, as ``docs/settings.md`` lists them.

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
            When the output folder was started with another plan; says what changed.
        LockedError
            When another stream uses the output folder, `tmp_dir` or the GPU; says who.
        UserError
            When the stream cannot continue without the user: a missing tool, a full disk.
        """
        from idrstream.stream.prepared import prepared_run
        from idrstream.watch.background import BackgroundRun
        from idrstream.watch.progress import ProgressBars

        chosen = checked(RunOptions, options, "run_stream")
        run = prepared_run(self, data_to_process, chosen, executor)
        if background:
            return BackgroundRun(
                self.final_data_dir, lambda begun: run(listeners, begun=begun)
            ).start()
        return run([ProgressBars(), *listeners] if chosen.progress else listeners)

    @takes_options(RunOptions)
    def plan(
        self, data_to_process: pd.DataFrame | None = None, *, probe: int = 0, **options: Any
    ) -> StreamPlan:
        """Return what `run_stream` would do and need, and whether it could start.

        Nothing is written to the stream's folders; see ``docs/plan.md``.

        Parameters
        ----------
        data_to_process : pandas.DataFrame, optional
            The table to process; by default the one that the output folder was started with,
            with its batch size, extra metadata and format.
        probe : int
            Run so many images in a temporary folder to measure the time.
        **options
            The options of `RunOptions`, as for `run_stream`.

        Returns
        -------
        StreamPlan
            Printed, or shown in a notebook, it is a summary; ``is_good`` says whether every
            check passed.

        Raises
        ------
        ConfigError
            If a component is missing or an option wrong.
        JournalError
            If no table is given and no stream has run in the output folder yet.
        """
        from idrstream.forecast.make import make_plan, read_begun_quietly

        if data_to_process is None:
            data_to_process, begun = read_begun_quietly(self.final_data_dir)
            options = {**begun, **options}
        chosen = checked(RunOptions, options, "plan")
        components, paths = self.components(), self.paths()
        with self._log.muted():  # a probe is no part of the stream's history
            return make_plan(paths, components, chosen, data_to_process, probe=max(0, probe))

    @takes_options(RunOptions)
    def follow(
        self,
        table: PathLike | None = None,
        *,
        files: PathLike | Sequence[PathLike] | None = None,
        frames: str | int | Sequence[int] = "1",
        settle_s: float = 10.0,
        listeners: Sequence[Listener] = (),
        executor: Executor | Client | None = None,
        **options: Any,
    ) -> Iterator[RunResult]:
        """Process a table, or a folder, that grows, until the stream is stopped.

        An image is processed when its row and the sizes of its files have not changed for
        `settle_s`, its local files are complete, and no channel lacks a file that others have.
        ``idrstream stop`` of the output folder ends it, also from another process; so does
        leaving the loop. See ``docs/control.md``.

        Parameters
        ----------
        table : path, optional
            The table to process; rows are appended to it.
        files : path or str, or several, optional
            In place of a table: patterns, folders or indices, as `table_from_files` takes them.
        frames : str, int or sequence of int
            With `files`: the frames of every movie, such as ``"all"`` or ``"1-93:3"``.
        settle_s : float
            Seconds.
        listeners : sequence of Listener
            Called with every event of every run.
        executor : Executor or distributed.Client, optional
            Has the workers, as for `run_stream`.
        **options
            The options of `RunOptions`; all batches are run.

        Yields
        ------
        RunResult
            Of every run, that is whenever images came complete.

        Raises
        ------
        ConfigError
            If there is not one of table and files, or only some batches are to be run.
        UserError
            As for `run_stream`.

        Examples
        --------
        >>> for result in stream.follow(files="/microscope/P1", frames="all"):  # doctest: +SKIP
        ...     print(result)
        """
        from idrstream.stream.following import follow, growing

        return follow(
            self, growing(table, files, frames), checked(RunOptions, options, "follow"),
            settle_s=settle_s, listeners=listeners, executor=executor,
        )  # fmt: skip

    def step(
        self,
        step: Step,
        data_to_process: pd.DataFrame,
        *,
        images: int = 20,
        out: PathLike = "look",
        compare: Mapping[str, Sequence[Any]] | None = None,
    ) -> StepLook:
        """Run one step over a few images, from what was kept of the step before, and look at it.

        What each step made is kept in the folder; with changed settings only what follows from
        them is run again. Nothing is written to the stream's folders. See ``docs/step-by-step.md``.

        Parameters
        ----------
        step : {"download", "preprocess", "segment", "profile"}
            The step.
        data_to_process : pandas.DataFrame
            The table to process.
        images : int
            Number of images, drawn at random, the same every time; of each a frame is shown.
        out : path
            Folder for the page, its numbers as CSV, and what is kept.
        compare : mapping, optional
            A setting and its two values, for example ``{"diameter": (20, 30)}``; or one value, to
            compare with the present one. For a stream that was built from settings.

        Returns
        -------
        StepLook
            A notebook displays its page; ``numbers`` is a table.

        Raises
        ------
        ConfigError
            If there is no such step or setting.
        UserError
            If the step cannot be run: something is not installed, a disk is full.
        """
        from idrstream.stream.steps import look_at_stream

        with self._log.muted():  # a look is no part of the stream's history
            return look_at_stream(
                self, step, data_to_process, images, stream_path(out, "out"), compare or {}
            )

    def paths(self) -> StreamPaths:
        """Return where the stream works."""
        from idrstream.config import as_json
        from idrstream.run.components import StreamPaths

        return StreamPaths(
            study=self.idr_id,
            folder=self.final_data_dir,
            tmp_dir=self.tmp_dir,
            log=self.log_path,
            settings=as_json(self.settings) if self.settings is not None else None,
            complete_timeout_s=self.complete_timeout_s,
            plate_wells=self.plate_wells,
        )

    @property
    def log_path(self) -> Path | None:
        """The log file."""
        return self._log.path

    def close(self) -> None:
        """Stop helper processes and close the log; the stream can be used no more."""
        for part in (self.preprocessor, self.engine):
            if part is not None:
                part.close()
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
