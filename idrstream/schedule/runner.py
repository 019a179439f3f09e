"""The runner: walks a plan's batches through the rooms."""

from __future__ import annotations

from collections.abc import Sequence
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
from idrstream.schedule.stages import Rooms

if TYPE_CHECKING:
    from idrstream.screen import Plan


class Runner:
    """Runs a plan through the rooms, several batches at a time.

    Download, reading and correction, segmentation, profiling, and compiling run side by side,
    each in its own threads; see ``docs/architecture.md``. The tables are the same whatever the
    numbers of threads and whoever is faster.

    One bad image is skipped and recorded; one bad batch is recorded and the others run. Only
    what the user has to act on (`UserError`) and an interrupt end the stream early: batches
    whose images are all done are still published, and nothing of the others is left behind.

    Parameters
    ----------
    rooms : Rooms
        The parts.
    downloads : Path
        Folder for movies while they are needed. It, its siblings ``downloads_2`` …, and what
        the slots of `rooms` clear belong to the runner. The disk budget is about its parent.
    listeners : sequence of Listener
        Called with every event, in the thread that calls `run`.
    plate_wells : int
        At most so many wells of a plate are looked at for a per-plate illumination model.
    options : RunOptions, optional
        How many of everything.
    budget_bytes : int or None
        Hard limit on everything under the parent of `downloads`; None for no limit.
    disk_wait_s : float
        How long to wait for others to free a full disk before giving up.
    """

    def __init__(
        self,
        rooms: Rooms,
        downloads: Path,
        listeners: Sequence[Listener] = (),
        *,
        plate_wells: int = 12,
        options: RunOptions | None = None,
        budget_bytes: int | None = None,
        disk_wait_s: float = 30.0,
    ) -> None:
        self._rooms = rooms
        self._downloads = downloads
        self._listeners = tuple(listeners)
        self._plate_wells = plate_wells
        self._options = options or RunOptions()
        self._budget_bytes = budget_bytes
        self._disk_wait_s = disk_wait_s
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
            What was published and what failed; after `stop` with batches not reached.

        Raises
        ------
        UserError
            When every further batch would fail the same way: a missing tool, a full disk, a
            disk budget that is too small.
        KeyboardInterrupt, SystemExit
            After Ctrl-C or SIGTERM.
        """
        if self._flow is not None:
            msg = "this runner is running already"
            raise ConfigError(msg)
        self._flow = Flow(
            self._rooms,
            plan,
            self._downloads,
            self._listeners,
            choose_sizes(self._options),
            budget_bytes=self._budget_bytes,
            plate_wells=self._plate_wells,
            disk_wait_s=self._disk_wait_s,
        )
        try:
            return self._flow.run()
        finally:
            self._flow = None

    def stop(self, reason: str = "stopped on request") -> None:
        """Stop at the next safe point; `run` then returns. May be called from any thread."""
        flow = self._flow
        if flow is not None:
            flow.stop(reason)

    def pause(self) -> None:
        """Begin no more images until `resume`; those under way are finished."""
        flow = self._flow
        if flow is not None:
            flow.pause(paused=True)

    def resume(self) -> None:
        """Go on after `pause`."""
        flow = self._flow
        if flow is not None:
            flow.pause(paused=False)

    def at_work(self) -> int:
        """Return how many jobs are under way that will end by themselves."""
        flow = self._flow  # it may end meanwhile
        return 0 if flow is None else flow.at_work()

    def disk(self) -> DiskUse | None:
        """Return what is held under ``tmp_dir``; None when nothing runs."""
        flow = self._flow
        return None if flow is None else flow.disk()

    def lanes(self) -> tuple[LaneReport, ...]:
        """Return how busy the lanes are; empty when nothing runs."""
        flow = self._flow
        return () if flow is None else flow.lanes()
