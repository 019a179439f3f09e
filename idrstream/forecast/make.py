"""Make the plan of a stream, without writing into the user's folders."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.config import RunOptions
from idrstream.errors import IdrStreamError, PlanChangedError, UserError
from idrstream.folder.decide import decide, needs_images
from idrstream.folder.journal.reader import open_journal
from idrstream.folder.journal.schema import JOURNAL_NAME
from idrstream.folder.outputs import verify_outputs
from idrstream.folder.plans import Decision, RequestedPlan
from idrstream.folder.provenance import unknown_results
from idrstream.folder.recorded import read_recorded_call
from idrstream.forecast.checks import (
    check_budget,
    check_disk,
    check_lock,
    check_memory,
    check_models,
    check_work_folder,
    check_writable,
    failed,
)
from idrstream.forecast.look import open_images
from idrstream.forecast.plan import Amount, Check, StreamPlan, TimeEstimate
from idrstream.forecast.probe import choose_images, run_probe
from idrstream.forecast.shadow import shadow_components
from idrstream.forecast.sizes import WHOLE, Sizes, ask_sizes, share_downloaded
from idrstream.forecast.work import spread
from idrstream.profile import DeepProfilerProject
from idrstream.records import ImageTask
from idrstream.run.components import Components, StreamPaths
from idrstream.run.plates import PlateEstimates
from idrstream.run.profiling import FRAME_PX, EngineProfiling
from idrstream.run.session import Session
from idrstream.run.table_options import TableOptions, kept_bytes
from idrstream.schedule.options import choose_sizes
from idrstream.text import counted, parse_size

if TYPE_CHECKING:
    import pandas as pd

_NUCLEI = 150  # of a frame, where nothing is known
_LEAST_ERROR = 0.05  # of the tables' size, however alike those are that are known
_BYTES_A_FEATURE = 5.2  # of a table, packed; measured with the model that ships


def make_plan(
    paths: StreamPaths,
    components: Components,
    options: RunOptions,
    table: pd.DataFrame,
    *,
    probe: int = 0,
) -> StreamPlan:
    """Return what a stream would do and need, and whether it can start.

    Parameters
    ----------
    paths, components, options : StreamPaths, Components, RunOptions
        What `IdrStream.run_stream` would hand to a session.
    table : pandas.DataFrame
        The table to process.
    probe : int
        Images to process to measure the time; 0 for none.

    Returns
    -------
    StreamPlan
        Errors that a start would raise are failed checks.
    """
    with tempfile.TemporaryDirectory(prefix="idrstream-plan-") as name:
        return _Maker(paths, components, options, table, Path(name)).make(probe)


def read_begun_quietly(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the table and the options of an output folder.

    Raises
    ------
    JournalError
        If no stream has run in it yet.
    """
    from idrstream.screen import read_table

    with tempfile.TemporaryDirectory(prefix="idrstream-plan-") as name:
        begun = read_recorded_call(_copy_journal(folder, Path(name) / "journal"))
        table = folder / begun.table.relative_to(Path(name) / "journal")
        return read_table(table), dict(begun.options)


def _copy_journal(folder: Path, target: Path) -> Path:
    """Copy a journal to read it: SQLite would write files beside the original."""
    target.mkdir()
    for name in (JOURNAL_NAME, f"{JOURNAL_NAME}-wal"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)
    return target


class _Maker:
    def __init__(
        self,
        paths: StreamPaths,
        components: Components,
        options: RunOptions,
        table: pd.DataFrame,
        temporary: Path,
    ) -> None:
        self._paths = paths
        self._components = components
        self._options = options
        self._table = table
        self._temporary = temporary
        self._checks: list[Check] = []
        self._done: list[tuple[int, int]] = []  # images and bytes of each table that is done

    def make(self, probe: int) -> StreamPlan:
        paths, checks = self._paths, self._checks
        for folder, role in ((paths.folder, "final_data_dir"), (paths.tmp_dir, "tmp_dir")):
            checks += [check_writable(folder, role), check_lock(folder, role)]
        checks.append(check_work_folder(paths.work_dir))
        decision = self._decision()
        if decision is None:
            return StreamPlan(folder=str(paths.folder), checks=tuple(checks))
        models, load_s = check_models(
            shadow_components(self._components, self._temporary / "models")
        )
        checks.append(models)
        left = [task for number in decision.run for task in decision.batches[number]]
        sizes = ask_sizes(
            self._components.downloader, left, at_once=self._options.downloads_at_once
        )
        checks.append(sizes.check())
        fits = self._fits(decision, left)
        if sizes.check().state != "failed" and models.state == "ok":
            looking = shadow_components(self._components, self._temporary / "looking")
            looked, opened = open_images(
                looking, left, self._table, self._temporary / "look", one_size=bool(fits)
            )
            checks += looked
            if opened:
                at_once = choose_sizes(self._options).frames_in_memory
                wanted = sum(task.n_frames_expected for task in left)
                checks.append(check_memory([one.shape for one in opened], min(at_once, wanted)))
        measured = self._probe(left, probe, fits, load_s, decision) if left and probe else None
        table_bytes, time = measured or (None, None)
        download = self._download(sizes, len(left) + sum(fits.values()))
        peak, output = (
            self._peak(decision, sizes),
            self._output(left, len(decision.run), table_bytes),
        )
        checks += check_disk(paths.tmp_dir, paths.folder, peak, output)
        done = [len(decision.batches[number]) for number in decision.done]
        return StreamPlan(
            folder=str(paths.folder),
            images=sum(map(len, decision.batches.values())),
            batches=len(decision.batches),
            images_done=sum(done),
            batches_done=len(done),
            images_left=len(left),
            batches_left=len(decision.run),
            download=download,
            peak_disk=peak,
            output=output,
            time=time,
            checks=tuple(checks),
        )

    def _decision(self) -> Decision | None:
        """Return what a start would do; None, and a failed check, if it would be refused."""
        from idrstream.compile import check_extra_metadata
        from idrstream.run.cutting import for_tiles, with_tiles
        from idrstream.screen import tasks_from_table

        what = "table and options"
        try:
            options = for_tiles(self._components, self._options)
            self._table = with_tiles(
                self._components,
                self._table,
                self._paths.folder,
                ignore_invalid=options.ignore_invalid_inputs,
            )
            tasks = tasks_from_table(
                self._table,
                ignore_invalid=options.ignore_invalid_inputs,
                plate_format=options.plate_format,
            )
            channels = self._components.model.config.image_columns
            check_extra_metadata(options.extra_metadata, tasks, channels)
            wanted = Session(self._paths, self._components, options).requested(tasks)
            self._checks.append(Check(what, "ok", counted(len(tasks), "image")))
            what = "output folder"
            decision = self._compare(wanted)
        except IdrStreamError as error:
            self._checks.append(failed(what, error))
            return None
        if decision.refused:
            msg = f"{self._paths.folder} cannot be continued: {decision.refused}"
            self._checks.append(failed(what, PlanChangedError(msg)))
            return None
        how = {"first": "new", "same": "continues", "grown": "continues with new batches"}
        self._checks.append(Check(what, "ok", how.get(decision.plan_change, decision.plan_change)))
        return decision

    def _compare(self, wanted: RequestedPlan) -> Decision:
        folder = self._paths.folder
        strangers = unknown_results(folder) if folder.is_dir() else []
        if not (folder / JOURNAL_NAME).is_file():
            return self._first(wanted, strangers)
        copy = _copy_journal(folder, self._temporary / "journal")
        with open_journal(copy) as journal:
            known = journal.plan()
            if known is None:
                return self._first(wanted, strangers)
            outputs = journal.outputs()
            proof = verify_outputs(folder, outputs, full=False)
            images = journal.images() if needs_images(wanted, known) else None
        for number, wrong in proof.broken.items():
            self._checks.append(
                Check(f"batch {number}", "unknown", wrong, "it will be computed again")
            )
        self._done = [
            (known.batches[number].images, output.size_bytes)
            for number, output in outputs.items()
            if number not in proof.broken
        ]
        return decide(wanted, known, images=images, broken=proof.broken)

    def _first(self, wanted: RequestedPlan, strangers: Sequence[str]) -> Decision:
        if strangers and not self._options.force:
            return Decision(
                refused=f"it has {len(strangers)} files that no journal knows; choose a new "
                "output folder, or delete them with force=True (--force)"
            )
        return decide(wanted, None)

    def _fits(self, decision: Decision, left: Sequence[ImageTask]) -> dict[str, int]:
        """Return the number of wells to fit for each plate without an illumination model."""
        components = self._components
        estimates = PlateEstimates(components.preprocessor, components.segmentor)
        wells = Counter(task.plate for tasks in decision.batches.values() for task in tasks)
        try:
            return {
                plate: min(wells[plate], self._paths.plate_wells)
                for plate in dict.fromkeys(task.plate for task in left)
                if estimates.needs_plate_model(plate)
            }
        except UserError as error:
            self._checks.append(failed("illumination", error))
            return {}

    def _probe(
        self,
        left: Sequence[ImageTask],
        count: int,
        fits: dict[str, int],
        load_s: float,
        decision: Decision,
    ) -> tuple[int, TimeEstimate] | None:
        chosen = choose_images(left, count, by_plate=bool(fits))
        try:
            found = run_probe(
                self._paths, self._components, self._options, self._table, chosen, self._temporary
            )
        except IdrStreamError as error:
            self._checks.append(failed("probe", error))
            return None
        batches = [len(decision.batches[number]) for number in decision.run]
        ran = f"{counted(len(chosen), 'image')} ran through all stages: {found.nuclei:,} nuclei"
        remedy = "" if found.nuclei else "look at what is segmented: idrstream step segment"
        self._checks.append(Check("probe", "ok" if found.nuclei else "unknown", ran, remedy))
        return found.table_bytes, found.estimate(batches, list(fits.values()), load_s=load_s)

    def _download(self, sizes: Sizes, count: int) -> Amount | None:
        if not sizes.known:
            return sizes.total(count)
        components = shadow_components(self._components, self._temporary / "sizes")
        try:
            share = share_downloaded(components, sizes, self._temporary / "sizes")
        except UserError as error:
            self._checks.append(failed("movies by frames", error))
            share = WHOLE
        return sizes.total(count, share)

    def _peak(self, decision: Decision, sizes: Sizes) -> Amount | None:
        """Return the peak under ``tmp_dir``: movies and batches."""
        if not decision.run:
            return Amount(0, 0, 0, "nothing to do")
        if not sizes.known:
            return None
        lanes, components = self._options, self._components
        project = DeepProfilerProject(self._paths.project_dir, components.model)
        kept = TableOptions.of(self._options, self._paths.folder, components)
        profiling = EngineProfiling(project, components.engine, self._paths.folder, kept)
        batches = [decision.batches[number] for number in decision.run]
        counts = [[task.n_frames_expected for task in tasks] for tasks in batches]
        need = profiling.usual_need()
        work = sorted((sum(of_batch) * need.kept_bytes for of_batch in counts), reverse=True)
        movies = min(lanes.prefetch, sum(map(len, counts)))
        at_once = min(choose_sizes(lanes).frames_in_memory, sum(map(sum, counts)))
        best = movies * sizes.largest + sum(work[: lanes.batches_in_flight])
        best += at_once * need.profiling_bytes
        limit = parse_size(self._options.disk_budget)
        check = check_budget(
            self._options.disk_budget, sizes.largest + work[0] + need.profiling_bytes
        )
        if check is not None:
            self._checks.append(check)
        if limit is not None and limit < best:
            return Amount(limit, limit, limit, "the disk budget")
        in_flight = counted(lanes.batches_in_flight, "batch", "batches")
        basis = f"at most: {counted(movies, 'movie')} and {in_flight} at once"
        return Amount(best, best, best, basis)

    def _output(self, left: Sequence[ImageTask], n_batches: int, probed: int | None) -> Amount:
        frames = sum(task.n_frames_expected for task in left) / max(1, len(left))
        guess = frames * _NUCLEI * len(self._components.model.columns) * _BYTES_A_FEATURE
        each, basis = [guess], f"if a frame has {_NUCLEI} nuclei"
        if probed:
            each, basis = [float(probed)], "as in the probe"
        elif self._done:
            images = sum(count for count, _ in self._done)
            each = [size / max(1, count) for count, size in self._done]
            basis = f"as {counted(images, 'image')} already done"
        components = self._components
        model, options = (
            components.model,
            TableOptions.of(self._options, self._paths.folder, components),
        )
        pixels = math.prod(model.config.size or FRAME_PX)
        kept = frames * kept_bytes(options, model, _NUCLEI, pixels)
        if kept:
            basis += ", and what is kept of each frame"
        total = (sum(each) / len(each) + kept) * len(left)
        if options.project:
            total += n_batches * model.checkpoint_path.stat().st_size
        off = total * min(1.0, max(_LEAST_ERROR, spread(each)))
        return Amount(round(total), round(total - off), round(total + off), basis)
