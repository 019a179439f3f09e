"""The runner: passes the batches of a plan through the stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.config import RunOptions
from idrstream.errors import ConfigError
from idrstream.schedule.disk.budget import DiskUse
from idrstream.schedule.events import Listener
from idrstream.schedule.flow import Flow
from idrstream.schedule.lanes import LaneReport
from idrstream.schedule.options import choose_sizes
from idrstream.schedule.result import RunResult
from idrstream.schedule.stages import Stages

if TYPE_CHECKING:
    from idrstream.screen import Plan


class Runner:
    """Runs a plan through the stages, several batches at a time.

    Download, reading and correction, segmentation, profiling, and compiling run side by side,
    each in its own threads; see ``docs/architecture.md``. The tables do not depend on the number
    of threads or on which job is faster.

    A bad image is skipped and recorded; a bad batch is recorded and the others run. Only an error
    that the user has to fix (`UserError`) and an interrupt end the stream early: batches whose
    images are all finished are still published, and nothing of the others is left behind.

    Parameters
    ----------
    stages : Stages
        The stages.
    downloads : Path
        Folder for movies while they are needed. It, its siblings ``downloads_2`` …, and what
        ``stages.profiling`` clears belong to the runner. The disk budget limits its parent.
    listeners : sequence of Listener
        Called with every event, in the thread that calls `run`.
    plate_wells : int
        A per-plate illumination model is fitted on at most this many wells.
    options : RunOptions, optional
        Sizes of the lanes.
    budget_bytes : int or None
        Hard limit on everything under the parent of `downloads`; None for no limit.
    disk_wait_s : float
        How long to wait on a full disk if the stream itself can free nothing.
    leftover_bytes : int
        What a crashed stream had left and was removed already, for the result.
    failed_plates : Mapping[str, Exception], optional
        Plates whose illumination model is not fitted again, and why they have none.
    """

    def __init__(
        self,
        stages: Stages,
        downloads: Path,
        listeners: Sequence[Listener] = (),
        *,
        plate_wells: int = 12,
        options: RunOptions | None = None,
        budget_bytes: int | None = None,
        disk_wait_s: float = 30.0,
        leftover_bytes: int = 0,
        failed_plates: Mapping[str, Exception] | None = None,
    ) -> None:
        self._options = options or RunOptions()
        self._make_flow = partial(
            Flow,
            stages,
            downloads=downloads,
            listeners=tuple(listeners),
            budget_bytes=budget_bytes,
            plate_wells=plate_wells,
            disk_wait_s=disk_wait_s,
            leftover_bytes=leftover_bytes,
            failed_plates=failed_plates or {},
        )
        self._flow: Flow | None = None

    def run(self, plan: Plan) -> RunResult:
        """Run all batches of a plan.

        Ctrl-C, a stopped notebook cell and SIGTERM stop at the next safe point, within seconds;
        a second one at once.

        Parameters
        ----------
        plan : Plan
            What to do.

        Returns
        -------
        RunResult
            What was published, what failed, and what was not reached.

        Raises
        ------
        UserError
            If every further batch would fail the same way: a missing tool, a full disk, a disk
            budget that is too small.
        KeyboardInterrupt, SystemExit
            After Ctrl-C or SIGTERM.
        """
        if self._flow is not None:
            msg = "this runner is running already"
            raise ConfigError(msg)
        self._flow = self._make_flow(plan=plan, sizes=choose_sizes(self._options))
        try:
            return self._flow.run()
        finally:
            self._flow = None

    def stop(self, reason: str = "stopped on request") -> None:
        """Stop at the next safe point; `run` then returns. May be called from any thread."""
        if flow := self._flow:  # it may end meanwhile
            flow.stop(reason)

    def pause(self) -> None:
        """Start no more images until `resume`; those in progress are finished."""
        if flow := self._flow:
            flow.set_paused(paused=True)

    def resume(self) -> None:
        """Continue after `pause`."""
        if flow := self._flow:
            flow.set_paused(paused=False)

    def is_resting(self) -> bool:
        """Whether it is paused and nothing runs any more; until then tables may still appear."""
        return flow.is_resting() if (flow := self._flow) else False

    def disk(self) -> DiskUse | None:
        """Return what is held under ``tmp_dir``; None if nothing runs."""
        return flow.disk() if (flow := self._flow) else None

    def lanes(self) -> tuple[LaneReport, ...]:
        """Return how busy the lanes are; empty if nothing runs."""
        return flow.lanes() if (flow := self._flow) else ()

    def workers(self) -> tuple[()]:
        """Return nothing: this process does the work."""
        return ()

    def waiting(self) -> str:
        """Return nothing: no work waits for a worker."""
        return ""
