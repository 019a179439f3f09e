"""What a user does with an existing output folder: resume, rerun, inspect, verify, collect."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.config import RunOptions, takes_options
from idrstream.folder.recorded import failed_batches, read_recorded_call
from idrstream.folder.status import Status, read_failures, read_status
from idrstream.folder.verify import Verified, verify_folder

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from idrstream.cluster import Executor
    from idrstream.collect import Collected, CollectOptions
    from idrstream.report.write import Report
    from idrstream.schedule.result import RunResult


class FolderVerbs:
    """Methods of a stream object that work on its output folder."""

    final_data_dir: Path

    def _run(self, table: pd.DataFrame, **options: Any) -> RunResult:
        """Run batches of a table; the stream's `run_stream`."""
        raise NotImplementedError

    @takes_options(RunOptions)
    def resume(self, *, executor: Executor | Client | None = None, **options: Any) -> RunResult:
        """Continue where the last run ended: run every batch that is not done.

        The table, batch size, extra metadata and format are those the folder was started with.
        The components must have the same settings as then, or the call is refused.

        Parameters
        ----------
        executor : Executor, optional
            Has the workers, as for `run_stream`.
        **options
            The options of `RunOptions`, as for `run_stream`.

        Returns
        -------
        RunResult
            What was done.

        Raises
        ------
        JournalError
            If no stream has run in the output folder yet.
        UserError
            As `run_stream` does.
        """
        from idrstream.screen import read_table

        recorded = read_recorded_call(self.final_data_dir)
        chosen = {**recorded.options, **options}
        chosen["extract"] = bool(recorded.options["extract"] or options.get("extract"))
        return self._run(read_table(recorded.table), executor=executor, **chosen)

    @takes_options(RunOptions)
    def rerun(
        self, batch_ids: Iterable[int], *, executor: Executor | Client | None = None, **options: Any
    ) -> RunResult:
        """Run batches again that failed or were published without some images.

        Complete batches are skipped unless ``force_recompute=True`` is given. A new
        table replaces the old one only when it has every image that the old one had.

        Parameters
        ----------
        batch_ids : iterable of int
            Numbers of batches.
        executor : Executor, optional
            Has the workers, as for `run_stream`.
        **options
            The options of `RunOptions`, as for `run_stream`.

        Returns
        -------
        RunResult
            What was done.
        """
        return self.resume(batch_nums=tuple(batch_ids), executor=executor, **options)

    @takes_options(RunOptions)
    def rerun_failed(
        self, kind: str | None = None, *, executor: Executor | Client | None = None, **options: Any
    ) -> RunResult:
        """Run every batch again that had a failure.

        Parameters
        ----------
        kind : str, optional
            Only where something failed with this class of error, for example
            ``TransientDownloadError``.
        executor : Executor, optional
            Has the workers, as for `run_stream`.
        **options
            The options of `RunOptions`, as for `run_stream`.

        Returns
        -------
        RunResult
            What was done.
        """
        numbers = failed_batches(self.final_data_dir, kind)
        return self.rerun(numbers, executor=executor, **options)

    def failed(self, kind: str | None = None) -> pd.DataFrame:
        """Return the failures of all runs that are not resolved; see `read_failures`.

        Parameters
        ----------
        kind : str, optional
            Only failures of this class of error.

        Returns
        -------
        pandas.DataFrame
            Columns ``Batch, Plate, Well, Frame, Stage, Kind, Reason, Site, Attempt, Time, Log,
            Log_End``; one row per image or frame left out and per batch that failed.
        """
        return read_failures(self.final_data_dir, kind)

    def status(self) -> Status:
        """Return the progress of the stream; printed, it is a summary."""
        return read_status(self.final_data_dir)

    def verify(self, *, quick: bool = False) -> Verified:
        """Verify the output folder; see `verify_folder`."""
        return verify_folder(self.final_data_dir, quick=quick)

    def collect(
        self,
        out: Path | str | None = None,
        options: CollectOptions | None = None,
        *,
        replace: bool = False,
        **changes: Any,
    ) -> Collected:
        """Collect the batches into one dataset and well profiles; see `collect_folder`."""
        from idrstream.collect import collect_folder

        return collect_folder(self.final_data_dir, out, options, replace=replace, **changes)

    def report(self, out: Path | str | None = None, *, features: bool = True) -> Report:
        """Write the quality report of the output folder; a notebook shows it.

        Parameters
        ----------
        out : path, optional
            The HTML file; by default ``report.html`` in the output folder.
        features : bool
            Whether to include the features, which reads batch tables.

        Returns
        -------
        Report
            The file and its warnings; see `idrstream.report.write.write_report`.
        """
        from idrstream.report.write import write_report

        return write_report(self.final_data_dir, out, features=features)
