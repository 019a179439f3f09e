"""IdrStream: owns the parts and runs batches; the object a notebook holds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from idrstream.errors import ConfigError, StorageError
from idrstream.run.log import StreamLog
from idrstream.run.verbs import FolderVerbs

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.config import Settings
    from idrstream.download import Downloader
    from idrstream.forecast import StreamPlan
    from idrstream.preprocess import MovieReader
    from idrstream.profile import DeepProfilerProject, Engine, EngineName
    from idrstream.run import LaneOptions, Listener, Preprocessing, RunResult
    from idrstream.run.background import BackgroundRun
    from idrstream.segment import Segmentor

log = logging.getLogger(__name__)

PathLike = str | Path
IlluminationContext = Literal["frames", "movie", "plate"]

# Full names of the studies whose folders the archive names differently from their accession.
_STUDIES = {"idr0013": "idr0013-neumann-mitocheck"}


class IdrStream(FolderVerbs):
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
    >>> stream.init_downloader(LocalDownloader("/mnt/idr", "plates.tsv"))  # doctest: +SKIP
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
        self.idr_id = idr_id
        self.tmp_dir = Path(tmp_dir)
        self.final_data_dir = Path(final_data_dir)
        for folder in (self.tmp_dir, self.final_data_dir):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                msg = f"the folder {folder} cannot be made: {error.strerror}"
                raise StorageError(msg) from error
        self.downloader: Downloader | None = None
        self.preprocessor: Preprocessing | None = None
        self.segmentor: Segmentor | None = None
        self.project: DeepProfilerProject | None = None
        self.engine: Engine | None = None
        self.complete_timeout_s = 60.0
        self.plate_wells = 12
        self.settings: Settings | None = None
        self._log = StreamLog(Path(log) if str(log) else None)
        _info("IDR stream initialized")

    @property
    def DP_project_path(self) -> Path:  # noqa: N802, the first IDR_stream's name
        """Folder of the DeepProfiler project."""
        return self.tmp_dir / "DP_project"

    def init_downloader(
        self,
        aspera_path: PathLike | Downloader,
        aspera_key_path: PathLike | None = None,
        screens_path: PathLike | None = None,
        idr_index_name: str | None = None,
    ) -> None:
        """Set where movies come from.

        Parameters
        ----------
        aspera_path : path or Downloader
            The ``ascp`` program, or any object with ``download(task, folder)`` or the first
            IDR_stream's ``download_image(plate, well_num, save_dir)``; then nothing else is
            needed.
        aspera_key_path : path
            Private key of the archive.
        screens_path : path, optional
            idr0013's ``plates.tsv``; not needed when every row of the table has its ``Path``.
        idr_index_name : str, optional
            Folder of the study in the archive, for example ``idr0013-neumann-mitocheck``.

        Raises
        ------
        ConfigError
            If a path is missing.
        MissingToolError
            If the program is not there.
        """
        from idrstream.download import AsperaDownloader, as_downloader

        if not isinstance(aspera_path, (str, Path)):
            self.downloader = as_downloader(aspera_path)
        else:
            if aspera_key_path is None:
                msg = "init_downloader needs aspera_key_path beside aspera_path"
                raise ConfigError(msg)
            study = idr_index_name or _STUDIES.get(self.idr_id, self.idr_id)
            self.downloader = AsperaDownloader(
                Path(aspera_path), Path(aspera_key_path), screens_path, study
            )
        self._set("Downloader", self.downloader)

    def init_preprocessor(
        self,
        fiji_path: PathLike | Preprocessing | None = None,
        perform_illumination_correction: bool = True,
        *,
        reader: MovieReader | None = None,
        illumination_context: IlluminationContext = "frames",
    ) -> None:
        """Set how movies are read and corrected.

        Parameters
        ----------
        fiji_path : path, Preprocessing or None
            A Fiji.app or Maven coordinate for ImageJ, a ready-made preprocessor, or None for
            the built-in CellH5 reader.
        perform_illumination_correction : bool
            Whether to correct the illumination with BaSiC.
        reader : MovieReader, optional
            A reader to use instead, for example `BioFormatsReader`.
        illumination_context : {"frames", "movie", "plate"}
            What BaSiC is fitted on: the frame and two neighbours (the whole movie when several
            frames are wanted), always the whole movie, or frames of many wells of the plate.
        """
        from idrstream.preprocess import make_preprocessor

        if fiji_path is not None and not isinstance(fiji_path, (str, Path)):
            self.preprocessor = fiji_path
        else:
            self.preprocessor = make_preprocessor(
                reader if reader is not None else fiji_path,
                illumination_context if perform_illumination_correction else "off",
                models_folder=self.final_data_dir / "illumination",
            )
        self._set("Preprocessor", self.preprocessor)

    def init_segmentor(self, model_specs: Mapping[str, Any] | Segmentor) -> None:
        """Set how nuclei are found.

        Parameters
        ----------
        model_specs : mapping or Segmentor
            The keys ``model_type`` (a Cellpose name, a model file or ``idrstream-nuclei``),
            ``channels``, ``diameter`` (pixels; 0 or None: estimated), ``flow_threshold``,
            ``cellprob_threshold``, ``remove_edge_masks``; or an object with ``segment(frame)``.

        Raises
        ------
        ConfigError
            Naming an unknown key or wrong value.
        """
        from idrstream.segment import CellPoseSegmentor

        if isinstance(model_specs, Mapping):
            self.segmentor = CellPoseSegmentor(model_specs)
        else:
            self.segmentor = model_specs
        self._set("Segmentor", self.segmentor)

    def copy_DP_files(  # noqa: N802, the first IDR_stream's name
        self,
        config_path: PathLike | None = None,
        checkpoint_path: PathLike | None = None,
        *,
        engine: Engine | EngineName = "torch",
    ) -> None:
        """Set DeepProfiler's configuration and checkpoint, checked, in the project folder.

        Parameters
        ----------
        config_path, checkpoint_path : path, optional
            The files; by default those that ship with idrstream.
        engine : {"torch", "deepprofiler", "command"} or Engine
            What computes the features: PyTorch, or DeepProfiler itself, kept ready or run anew
            for every batch; or an object that does.

        Raises
        ------
        ConfigError
            Naming the key of the configuration that is missing or wrong.
        """
        from idrstream import models
        from idrstream.profile import DeepProfilerProject, make_engine

        config = Path(config_path) if config_path else models.profiler_config_path()
        checkpoint = Path(checkpoint_path) if checkpoint_path else models.profiler_checkpoint_path()
        project = DeepProfilerProject(self.DP_project_path, config, checkpoint)
        project.prepare()
        self.project = project
        self.engine = make_engine(engine) if isinstance(engine, str) else engine
        self.settings = None
        _info("Copied Deep Profiler config and checkpoint files")

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
        from idrstream.run.background import BackgroundRun
        from idrstream.run.progress import ProgressBars
        from idrstream.run.request import parts_of, place_of, request_of
        from idrstream.run.session import Session

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

    def _set(self, what: str, part: object) -> None:
        from idrstream.run.identity import describe_part

        self.settings = None  # of another part; build_stream sets them when all is done
        _info("%s initialized: %s", what, describe_part(part))

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
        from idrstream.build import build_stream

        return build_stream(cls, settings)


DeepProfilerRun = IdrStream


def _info(message: str, *values: object) -> None:
    log.info(message, *values)
