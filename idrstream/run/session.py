"""One run of a stream over an output folder: locks, journal, decision, runner."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from idrstream.describe import describe_part
from idrstream.errors import PlanChangedError
from idrstream.files import empty_own_folder, own_folder
from idrstream.folder.decide import decide, needs_images
from idrstream.folder.identity import differences
from idrstream.folder.journal.journal import Journal, RunInfo
from idrstream.folder.journal.reader import FrameKey
from idrstream.folder.journal.schema import JOURNAL_NAME
from idrstream.folder.journal.writer import as_json
from idrstream.folder.locks import Lock, folder_lock, gpu_lock
from idrstream.folder.names import CELLS, CLUSTER, DIAMETERS, ILLUMINATION, QUALITY, TABLES
from idrstream.folder.outputs import (
    clear_parts,
    clear_unfinished,
    delete_plate_models,
    delete_tables,
    keep_table,
    place_tables,
    unknown_tables,
    verify_outputs,
)
from idrstream.folder.plans import Decision, RequestedPlan
from idrstream.folder.provenance import (
    is_outdated,
    unknown_results,
    write_provenance,
)
from idrstream.folder.seal import seal
from idrstream.folder.versions import changed_versions, versions
from idrstream.opening import everybody_may_write, refuse_links
from idrstream.preprocess.selectors import check_selectors
from idrstream.quality.pictures import pictures_bytes
from idrstream.run.components import ENGINE, Components, StreamPaths, identity_of
from idrstream.run.elsewhere import make_coordinator
from idrstream.run.extracting import Extraction, PlateFolder, for_extraction
from idrstream.run.log import log_events
from idrstream.run.segmenting import Segmenting
from idrstream.schedule.disk.budget import tree_bytes
from idrstream.text import as_ranges, parse_size, shorten_list
from idrstream.watch.control import Controls

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from idrstream.cluster.coordinator import Coordinator
    from idrstream.cluster.work import Executor
    from idrstream.config import RunOptions
    from idrstream.profile import FeatureEngine
    from idrstream.records import Movie
    from idrstream.schedule.events import Listener
    from idrstream.schedule.result import RunResult
    from idrstream.schedule.runner import Runner
    from idrstream.schedule.stages import BatchProfiling, Stages
    from idrstream.screen import Plan
    from idrstream.segment import Segmentor

log = logging.getLogger(__name__)

_SHOWN = 20


class Session:
    """Runs a stream over an output folder.

    Parameters
    ----------
    paths : StreamPaths
        Its folders.
    components : Components
        What it is made of.
    options : RunOptions
        Options of this run.
    executor : Executor, optional
        Has the workers; by default this process does the work.
    controls : Controls, optional
        Of the output folder, entered by the caller; by default each run has its own.
    """

    def __init__(
        self,
        paths: StreamPaths,
        components: Components,
        options: RunOptions,
        executor: Executor | None = None,
        controls: Controls | None = None,
    ) -> None:
        self._paths = paths
        self._components = for_extraction(components, options)
        self._options = options
        self._executor = executor
        self._controls = controls

    def run(
        self,
        table: pd.DataFrame,
        listeners: Sequence[Listener] = (),
        *,
        begun: Callable[[], None] | None = None,
    ) -> RunResult:
        """Run what is left of a table.

        Parameters
        ----------
        table : pandas.DataFrame
            The table to process.
        listeners : sequence of Listener
            Called with every event, after journal and log.
        begun : callable, optional
            Called once it is decided what is run, before the model is loaded.

        Returns
        -------
        RunResult
            What was done.

        Raises
        ------
        TableError, ConfigError
            When table or options are wrong.
        LockedError
            When another stream uses a folder or the GPU.
        PlanChangedError
            When the folder was started with another plan; nothing was changed then.
        UserError
            When the stream cannot continue without the user.
        """
        from idrstream.compile import check_extra_metadata
        from idrstream.screen import checked_rows, with_plate_format

        table = with_plate_format(table, self._options.plate_format)
        rows = checked_rows(table, ignore_invalid=self._options.ignore_invalid_inputs)
        tasks = rows.tasks
        table = table.iloc[[task.row for task in tasks]]  # kept: a resumed stream needs no more
        channels = self._components.model.config.image_columns
        check_extra_metadata(self._options.extra_metadata, tasks, channels)
        paths = self._paths
        _refuse_planted_links(paths.folder)
        if not (paths.folder / JOURNAL_NAME).exists():
            self._refuse_strangers()
        with (
            self._held() as controls,
            folder_lock(paths.tmp_dir, "tmp_dir"),
            own_folder(paths.work_dir),
            closing(Journal(paths.folder)) as journal,
        ):
            requested = self.requested(tasks)
            decision = self._decide(journal, requested)
            leftover_bytes = self._clear_leftovers(journal)
            if begun is not None:
                begun()
            with self.ready() if decision.run and self._executor is None else nullcontext():
                keep = journal.published_frames(set(decision.run) - set(decision.dropped))
                self._begin(journal, requested, decision, table)
                tables = place_tables(
                    paths.folder, self._options.output_format, journal.outputs().values()
                )
                runner: Runner | Coordinator
                hearing: list[Listener] = [journal, log_events, controls, *listeners]
                if self._options.extract:
                    hearing.insert(0, PlateFolder(paths.folder))
                if self._executor is None:
                    runner = self.runner(hearing, keep, tables, leftover_bytes)
                else:
                    runner = make_coordinator(
                        self._executor, self._paths, self._components, self._options, hearing,
                        identity=requested.identity, keep=keep, tables=tables,
                    )  # fmt: skip
                controls.attach(runner)
                try:
                    result = runner.run(_plan(requested, decision))
                    return replace(result, rows_repeated=rows.repeated, rows_unusable=rows.unusable)
                finally:
                    shutil.rmtree(paths.work_dir / ENGINE, ignore_errors=True)
                    if decision.run or is_outdated(paths.folder):
                        write_provenance(paths.folder, self._components.downloader, tasks)

    def _held(self) -> AbstractContextManager[Controls]:
        return (
            Controls(self._paths.folder) if self._controls is None else nullcontext(self._controls)
        )

    def requested(self, tasks: tuple[Any, ...]) -> RequestedPlan:
        """Describe by content what is to be done with the images of a table."""
        self._components.check_channels()
        check_selectors(self._components.preprocessor, tasks)
        return RequestedPlan.of(
            tasks, identity_of(self._paths, self._components, self._options), self._options
        )

    def _decide(self, journal: Journal, requested: RequestedPlan) -> Decision:
        folder, recorded = self._paths.folder, journal.plan()
        if recorded is None:
            self._refuse_strangers()
        proof = verify_outputs(folder, journal.outputs(), full=self._options.verify)
        images = journal.images() if needs_images(requested, recorded) else None
        decision = decide(requested, recorded, images=images, broken=proof.broken)
        if decision.refused:
            msg = f"the output folder {folder} cannot be continued: {decision.refused}"
            raise PlanChangedError(msg)
        for number, wrong in proof.broken.items():
            log.warning("Batch %d is not done any more: %s", number, wrong)
        journal.lost(proof.broken)
        for number, mtime_ns in proof.touched.items():
            journal.touched(number, mtime_ns)
        if recorded is not None:
            for names, made_by in (
                ((ILLUMINATION, DIAMETERS), "preprocessor"), ((DIAMETERS,), "segmentor"),
            ):  # fmt: skip
                before, now = recorded.identity.get(made_by), requested.identity[made_by]
                if differences({"": before}, {"": now}):
                    delete_plate_models(folder, names)
        return decision

    def _refuse_strangers(self) -> None:
        """Refuse a folder with files of which nobody knows what they are."""
        folder = self._paths.folder
        strangers = unknown_results(folder)
        if strangers and not self._options.force:
            msg = (
                f"{folder} has files that no journal knows "
                f"({shorten_list(strangers, _SHOWN)}). Choose a new output "
                "folder, or delete them with force=True (--force)"
            )
            raise PlanChangedError(msg)

    def _clear_leftovers(self, journal: Journal) -> int:
        """Delete what a stream that died left in its folders; nobody else is in them now.

        Return the bytes that it left in ``tmp_dir``.
        """
        clear_parts(self._paths.folder)
        clear_unfinished(self._paths.folder, journal)
        work = self._paths.work_dir
        before = tree_bytes(work)
        empty_own_folder(work)
        return before - tree_bytes(work)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Load the models and take the GPUs."""
        with ExitStack() as held:
            components = self._components
            # What is missing or cannot be used shows before the first download.
            components.preprocessor.load()
            components.segmentor.load()
            components.engine.load()
            if not self._options.share_gpu:
                for lock in _gpu_locks(components.segmentor, components.engine):
                    held.enter_context(lock)
            yield

    def _begin(
        self, journal: Journal, requested: RequestedPlan, decision: Decision, table: pd.DataFrame
    ) -> None:
        paths = self._paths
        found = versions()
        if decision.run:
            found |= self._components.engine.versions()
        for change in changed_versions(journal.last_versions(), found):
            log.warning("%s since the last run in %s: results may differ", change, paths.folder)
        name = digest = ""
        if decision.plan_change != "same":
            name, digest = keep_table(paths.folder, table)
        outputs = journal.outputs()
        old = [outputs[number].file for number in decision.dropped if number in outputs]
        if journal.plan() is None:
            old = unknown_tables(paths.folder)
        settings = None if paths.settings is None else json.loads(as_json(paths.settings))
        journal.begin(
            RunInfo(
                pid=os.getpid(),
                host=socket.gethostname(),
                options=asdict(self._options),
                parts={
                    "downloader": describe_part(self._components.downloader), **requested.identity,
                },
                versions=found,
                settings=settings,
                seal=seal(paths.folder, settings),
                log=str(paths.log.absolute()) if paths.log else "",
            ),
            requested,
            decision,
            table_file=name,
            table_sha256=digest,
        )  # fmt: skip
        delete_tables(paths.folder, old)
        _say(decision)

    def runner(
        self,
        listeners: Sequence[Listener],
        keep: Mapping[int, Set[FrameKey]],
        tables: Path,
        leftover_bytes: int = 0,
        failed_plates: Mapping[str, Exception] | None = None,
    ) -> Runner:
        """Return what runs a plan in this process; see `Runner`.

        Parameters
        ----------
        listeners : sequence of Listener
            Called with every event.
        keep : Mapping[int, set]
            Frames that the new table of a batch must have.
        tables : Path
            Folder of the tables.
        leftover_bytes : int
            What a stream that died had left in ``tmp_dir``.
        failed_plates : Mapping[str, Exception], optional
            Plates that have no illumination model, and why.
        """
        from idrstream.schedule.runner import Runner

        return Runner(
            self.stages(keep, tables),
            self._paths.work_dir / "downloads",
            listeners,
            plate_wells=self._paths.plate_wells,
            options=self._options,
            budget_bytes=parse_size(self._options.disk_budget),
            leftover_bytes=leftover_bytes,
            failed_plates=failed_plates,
        )

    def stages(self, keep: Mapping[int, Set[FrameKey]], tables: Path) -> Stages:
        """Return what batches pass through; the parameters are those of `runner`."""
        from idrstream.download import limit_to_needed
        from idrstream.profile import DeepProfilerProject
        from idrstream.quality.notes import BatchNotes
        from idrstream.quality.pictures import PictureStore
        from idrstream.run.plates import PlateEstimates
        from idrstream.run.profiling import EngineProfiling
        from idrstream.run.table_options import TableOptions
        from idrstream.schedule.stages import Stages

        components, options = self._components, self._options
        limit_to_needed(components.downloader, components.preprocessor)
        outlines = "object_outlines" in options.extra_metadata
        pictures = PictureStore(self._paths.folder, pictures_bytes(options.pictures))
        profiling: Sequence[BatchProfiling]
        if options.extract:
            profiling = [
                Extraction(
                    self._paths.work_dir / f"extract_{slot}", self._paths.folder, tables,
                    options.output_format, keep,
                )
                for slot in range(options.batches_in_flight)
            ]  # fmt: skip
        else:
            profiling = EngineProfiling.slots(
                options.batches_in_flight,
                DeepProfilerProject(self._paths.project_dir, components.model),
                components.engine,
                tables,
                TableOptions.of(options, self._paths.folder, components),
                keep=keep,
                notes=partial(BatchNotes, self._paths.folder, pictures),
            )
        return Stages(
            downloader=components.downloader,
            wait_until_complete=self._wait_until_complete,
            preprocessor=components.preprocessor,
            segment=Segmenting(components.segmentor, pictures, outlines=outlines),
            profiling=profiling,
            estimates=PlateEstimates(components.preprocessor, components.segmentor),
        )

    def _wait_until_complete(self, movie: Movie) -> None:
        from idrstream.formats.complete import wait_until_complete

        for file in movie.files:
            wait_until_complete(
                file.path,
                size_bytes=file.size_bytes,
                timeout_s=self._paths.complete_timeout_s,
            )


def _refuse_planted_links(folder: Path) -> None:
    """Refuse links below an output folder, and warn when everybody may put something there."""
    refuse_links(folder, TABLES, CELLS, CLUSTER, ILLUMINATION, DIAMETERS, *QUALITY)
    channels = [path.name for path in (folder / ILLUMINATION).glob("*") if path.suffix != ".npz"]
    refuse_links(folder, *(f"{ILLUMINATION}/{name}" for name in channels))
    if everybody_may_write(folder):
        log.warning(
            "Everybody on this machine may write to %s: whoever does can change results or stop "
            "the stream. Forbid it with chmod o-w",
            folder,
        )


def _plan(requested: RequestedPlan, decision: Decision) -> Plan:
    from idrstream.screen import Plan

    if decision.in_order:
        return Plan(requested.tasks, requested.batch_size, decision.run)
    tasks = tuple(task for content in decision.batches.values() for task in content)
    return Plan(tasks, requested.batch_size, decision.run, arranged=decision.batches)


def _gpu_locks(*parts: Segmentor | FeatureEngine) -> list[Lock]:
    """Return the locks of the GPUs that parts say they use, each once."""
    names = [name for part in parts for name in part.gpus()]
    return list({lock.path: lock for lock in map(gpu_lock, names)}.values())


def _say(decision: Decision) -> None:
    if decision.plan_change != "same":
        log.info(
            "The plan is %s: %d batches, %d new, %d dropped",
            decision.plan_change, len(decision.batches), len(decision.added), len(decision.dropped),
        )  # fmt: skip
    if decision.done:
        log.info(
            "%d batches are done and left alone (%s); force_recompute computes them again",
            len(decision.done), as_ranges(decision.done),
        )  # fmt: skip
    if decision.left:
        log.info(
            "%d batches failed before and are left alone (%s)",
            len(decision.left), as_ranges(decision.left),
        )  # fmt: skip
