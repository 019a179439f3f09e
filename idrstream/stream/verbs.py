"""What a user does with an output folder that exists: resume, rerun, look, prove."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.folder.recorded import failed_batches, read_recorded_call
from idrstream.folder.status import Status, read_failures, read_status
from idrstream.folder.verify import Verified, verify_folder

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.collect import Collected, CollectOptions
    from idrstream.report.write import Report
    from idrstream.schedule.result import RunResult


class FolderVerbs:
    """The verbs of a stream object on its output folder; `run_stream` does the work."""

    final_data_dir: Path

    def _run(self, table: pd.DataFrame, **options: Any) -> RunResult:
        """Run batches of a table; the stream's `run_stream`."""
        raise NotImplementedError

    def resume(self, **options: Any) -> RunResult:
        """Go on where the last run ended: run every batch that is not done.

        The table, batch size, extra metadata and format are those the folder was begun with.
        The parts must be equal to those of that time, or the call is refused.

        Parameters
        ----------
        **options
            Other options of `run_stream`: ``progress``, ``listeners``, modes.

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
        return self._run(read_table(recorded.table), **{**recorded.options, **options})

    def rerun(self, batch_ids: Iterable[int], **options: Any) -> RunResult:
        """Run batches again: those of them that failed, or were published without some images.

        Batches that are complete are left alone unless ``force_recompute=True`` is given. A new
        table replaces the old one only when it has every image that the old one had.

        Parameters
        ----------
        batch_ids : iterable of int
            Numbers of batches.
        **options
            As for `resume`.

        Returns
        -------
        RunResult
            What was done.
        """
        return self.resume(batch_nums=tuple(batch_ids), **options)

    def rerun_failed(self, kind: str | None = None, **options: Any) -> RunResult:
        """Run every batch again in which something failed.

        Parameters
        ----------
        kind : str, optional
            Only where something failed with this class of error, for example
            ``TransientDownloadError``.
        **options
            As for `resume`.

        Returns
        -------
        RunResult
            What was done.
        """
        return self.rerun(failed_batches(self.final_data_dir, kind), **options)

    def failed(self, kind: str | None = None) -> pd.DataFrame:
        """Return what failed in any run and is not mended; see `read_failures`.

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
        """Return how far the stream is; printed, it is a summary."""
        return read_status(self.final_data_dir)

    def verify(self, *, quick: bool = False) -> Verified:
        """Prove the output folder anew; see `verify_folder`."""
        return verify_folder(self.final_data_dir, quick=quick)

    def collect(
        self,
        out: Path | str | None = None,
        options: CollectOptions | None = None,
        *,
        replace: bool = False,
    ) -> Collected:
        """Make one dataset and profiles of wells out of the batches; see `collect_folder`."""
        from idrstream.collect import collect_folder

        return collect_folder(self.final_data_dir, out, options, replace=replace)

    def report(self, out: Path | str | None = None, *, features: bool = True) -> Report:
        """Write the quality report of the output folder; a notebook shows it.

        Parameters
        ----------
        out : path, optional
            The HTML file; by default ``report.html`` in the output folder.
        features : bool
            Whether to look at the features, too: that reads batch tables.

        Returns
        -------
        Report
            The file and its warnings; see `idrstream.report.write.write_report`.
        """
        from idrstream.report.write import write_report

        return write_report(self.final_data_dir, out, features=features)
