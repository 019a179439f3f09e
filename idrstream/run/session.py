"""One run of a stream over an output folder: locks, journal, decision, runner."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from idrstream.describe import describe_part
from idrstream.errors import PlanChangedError
from idrstream.folder.decide import decide, needs_images
from idrstream.folder.identity import differences, result_columns
from idrstream.folder.journal.journal import Journal, RunInfo
from idrstream.folder.journal.reads import FrameKey
from idrstream.folder.journal.schema import JOURNAL_NAME
from idrstream.folder.locks import Lock, folder_lock, gpu_lock
from idrstream.folder.outputs import (
    clear_parts,
    clear_unfinished,
    delete_illumination,
    delete_tables,
    keep_table,
    prove,
    unknown_tables,
)
from idrstream.folder.plans import Decision, Wanted
from idrstream.folder.provenance import is_outdated, write_provenance
from idrstream.folder.versions import changed_versions, versions
from idrstream.run.log import log_events
from idrstream.run.request import Parts, Place, Request, identity_of, pictures_bytes
from idrstream.run.segmenting import Segmenting
from idrstream.schedule.disk.budget import parse_size
from idrstream.text import as_ranges
from idrstream.watch.control import Controls

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.records import Movie
    from idrstream.schedule.events import Listener
    from idrstream.schedule.result import RunResult
    from idrstream.schedule.runner import Runner
    from idrstream.screen import Plan

log = logging.getLogger(__name__)

_SHOWN = 20


class Session:
    """Runs a stream over an output folder.

    Parameters
    ----------
    place : Place
        Where.
    parts : Parts
        With what.
    request : Request
        What is to be done.
    """

    def __init__(self, place: Place, parts: Parts, request: Request) -> None:
        self._place = place
        self._parts = parts
        self._request = request

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
            When the folder was begun with another plan; nothing was changed then.
        UserError
            When the stream cannot go on without the user.
        """
        from idrstream.compile import check_extra_metadata
        from idrstream.screen import tasks_from_table

        parse_size(self._request.disk_budget)  # a wrong one shows before anything else
        pictures_bytes(self._request.pictures)
        tasks = tasks_from_table(table, ignore_invalid=self._request.modes.ignore_invalid_inputs)
        check_extra_metadata(self._request.extra_metadata, tasks)
        place = self._place
        if not (place.folder / JOURNAL_NAME).exists():
            self._refuse_strangers()
        with (
            folder_lock(place.folder, "final_data_dir"),
            folder_lock(place.tmp_dir, "tmp_dir"),
            Controls(place.folder) as controls,
            closing(Journal(place.folder)) as journal,
        ):
            wanted = self.wanted(tasks)
            decision = self._decide(journal, wanted)
            self._clear_leftovers(journal)
            if begun is not None:
                begun()
            with self._ready(decision):
                keep = journal.published_frames(set(decision.run) - set(decision.dropped))
                self._begin(journal, wanted, decision, table)
                runner = self._runner([journal, log_events, controls, *listeners], keep)
                controls.take(runner)
                try:
                    return runner.run(_plan(wanted, decision))
                finally:
                    if decision.run or is_outdated(place.folder):
                        write_provenance(place.folder, self._parts.downloader, tasks)

    def wanted(self, tasks: tuple[Any, ...]) -> Wanted:
        """Describe by content what is to be done with the images of a table."""
        request = self._request
        return Wanted.of(
            tasks,
            identity_of(self._place, self._parts, request),
            result_columns(request.extra_metadata),
            batch_size=request.batch_size,
            start_batch=request.start_batch,
            batch_nums=request.batch_nums,
            modes=request.modes,
        )

    def _decide(self, journal: Journal, wanted: Wanted) -> Decision:
        folder, known = self._place.folder, journal.plan()
        if known is None:
            self._refuse_strangers()
        proof = prove(folder, journal.outputs(), full=False)
        images = journal.images() if needs_images(wanted, known) else None
        decision = decide(wanted, known, images=images, broken=proof.broken)
        if decision.refused:
            msg = f"the output folder {folder} cannot be gone on with: {decision.refused}"
            raise PlanChangedError(msg)
        for number, wrong in proof.broken.items():
            log.warning("Batch %d is not done any more: %s", number, wrong)
        journal.lost(proof.broken)
        for number, mtime_ns in proof.touched.items():
            journal.touched(number, mtime_ns)
        if known is not None and differences(
            {"": known.identity.get("preprocessor")}, {"": wanted.identity["preprocessor"]}
        ):
            delete_illumination(folder)
        return decision

    def _refuse_strangers(self) -> None:
        """Refuse a folder with tables of which nobody knows what they are."""
        strangers = unknown_tables(self._place.folder)
        if strangers and not self._request.modes.force:
            msg = (
                f"{self._place.folder} has tables that no journal knows ({_some(strangers)}). "
                "Choose a new output folder, or delete them with force=True (--force)"
            )
            raise PlanChangedError(msg)

    def _clear_leftovers(self, journal: Journal) -> None:
        """Delete what a stream that died left in the output folder; nobody else is in it now.

        What it left in ``tmp_dir`` is the runner's to delete, which counts it.
        """
        clear_parts(self._place.folder)
        clear_unfinished(self._place.folder, journal)

    @contextmanager
    def _ready(self, decision: Decision) -> Iterator[None]:
        """Load the model and take the GPUs, when there is something to run at all."""
        with ExitStack() as held:
            if decision.run:
                load = getattr(self._parts.segmentor, "load", None)
                if load is not None:
                    load()  # a missing model shows before the first download
                if not self._request.share_gpu:
                    for lock in _gpu_locks(self._parts.segmentor, self._parts.engine):
                        held.enter_context(lock)
            yield

    def _begin(
        self, journal: Journal, wanted: Wanted, decision: Decision, table: pd.DataFrame
    ) -> None:
        place = self._place
        found = versions()
        for change in changed_versions(journal.last_versions(), found):
            log.warning("%s since the last run in %s: results may differ", change, place.folder)
        name = digest = ""
        if decision.how != "same":
            name, digest = keep_table(place.folder, table)
        outputs = journal.outputs()
        old = [outputs[number][0] for number in decision.dropped if number in outputs]
        if journal.plan() is None:
            old = unknown_tables(place.folder)
        journal.begin(
            RunInfo(
                pid=os.getpid(),
                host=socket.gethostname(),
                options=asdict(self._request),
                parts={
                    "downloader": describe_part(self._parts.downloader), **wanted.identity,
                },
                versions=found,
                settings=place.settings,
                log=str(place.log.absolute()) if place.log else "",
            ),
            wanted,
            decision,
            table_file=name,
            table_sha256=digest,
        )  # fmt: skip
        delete_tables(place.folder, old)
        _say(decision)

    def _runner(self, listeners: Sequence[Listener], keep: Mapping[int, Set[FrameKey]]) -> Runner:
        from idrstream.download import limit_to_needed
        from idrstream.quality.notes import BatchNotes
        from idrstream.quality.pictures import PictureStore
        from idrstream.run.profiling import ProjectProfiling
        from idrstream.schedule.runner import Runner
        from idrstream.schedule.stages import Rooms

        parts, request = self._parts, self._request
        limit_to_needed(parts.downloader, parts.preprocessor)
        outlines = "object_outlines" in request.extra_metadata
        pictures = PictureStore(self._place.folder, pictures_bytes(request.pictures))
        segmenting = Segmenting(parts.segmentor, pictures, outlines=outlines)
        rooms = Rooms(
            downloader=parts.downloader,
            wait_until_complete=self._wait_until_complete,
            preprocessor=parts.preprocessor,
            segment=segmenting.one,
            segment_many=segmenting.many if hasattr(parts.segmentor, "segment_many") else None,
            profiling=ProjectProfiling.slots(
                request.lanes.batches_in_flight,
                parts.project,
                parts.engine,
                self._place.folder,
                extra_metadata=request.extra_metadata,
                output_format=request.output_format,
                keep=keep,
                notes=partial(BatchNotes, self._place.folder, pictures),
            ),
        )
        return Runner(
            rooms,
            self._place.tmp_dir / "downloads",
            listeners,
            plate_wells=self._place.plate_wells,
            lanes=request.lanes,
            budget_bytes=parse_size(request.disk_budget),
        )

    def _wait_until_complete(self, movie: Movie) -> None:
        from idrstream.formats.complete import wait_until_complete

        wait_until_complete(
            movie.path,
            size_bytes=movie.size_bytes,
            timeout_s=self._place.complete_timeout_s,
        )


def _plan(wanted: Wanted, decision: Decision) -> Plan:
    from idrstream.screen import Plan

    if decision.in_order:
        return Plan(wanted.tasks, wanted.batch_size, decision.run)
    tasks = tuple(task for content in decision.batches.values() for task in content)
    return Plan(tasks, wanted.batch_size, decision.run, arranged=decision.batches)


def _gpu_locks(*parts: object) -> list[Lock]:
    """Return the locks of the GPUs that parts say they use, each once."""
    names = [name for part in parts if hasattr(part, "gpus") for name in part.gpus()]
    return list({lock.path: lock for lock in map(gpu_lock, names)}.values())


def _say(decision: Decision) -> None:
    if decision.how != "same":
        log.info(
            "The plan is %s: %d batches, %d new, %d dropped",
            decision.how, len(decision.batches), len(decision.added), len(decision.dropped),
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


def _some(items: Iterable[str]) -> str:
    items = list(items)
    more = f", and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
