"""Methods of a stream object that write planes into plates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idrstream.config import RunOptions, checked, takes_options

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from idrstream.cluster import Executor
    from idrstream.run.components import Components, StreamPaths
    from idrstream.run.extracted import Extracted, Original
    from idrstream.schedule.result import RunResult


class ExtractVerbs:
    """What a stream object does with planes instead of features."""

    def _run(self, table: pd.DataFrame, **options: Any) -> RunResult:
        """Run batches of a table; the stream's `run_stream`."""
        raise NotImplementedError

    def components(self, *, extract: bool = False) -> Components:
        """Return the components of the stream."""
        raise NotImplementedError

    def paths(self) -> StreamPaths:
        """Return where the stream works."""
        raise NotImplementedError

    @takes_options(RunOptions)
    def extract(
        self,
        data_to_process: pd.DataFrame,
        *,
        executor: Executor | Client | None = None,
        **options: Any,
    ) -> RunResult:
        """Write every plane of the images of a table into one OME-Zarr for each plate.

        The plates are in ``plates/`` of the output folder. Only downloader and preprocessor must
        be set; of the latter the reader alone is used. See ``docs/extract.md``.

        Parameters
        ----------
        data_to_process : pandas.DataFrame
            As for `run_stream`; ``Frames`` is not needed, as all of them are extracted.
        executor : Executor, optional
            Has the workers, as for `run_stream`.
        **options
            The options of `RunOptions`, as for `run_stream`.

        Returns
        -------
        RunResult
            What was done; planes are counted in the place of nuclei.
        """
        return self._run(data_to_process, executor=executor, **{**options, "extract": True})

    @takes_options(RunOptions)
    def extracted(self, data_to_process: pd.DataFrame, **options: Any) -> Extracted:
        """Return how much of a table is in the plates of the output folder."""
        from idrstream.run.extracted import count_extracted
        from idrstream.run.extracting import fields_of

        chosen = checked(RunOptions, options, "extracted")
        return count_extracted(self.paths().folder, fields_of(data_to_process, chosen))

    @takes_options(RunOptions)
    def delete_originals(self, data_to_process: pd.DataFrame, **options: Any) -> list[Original]:
        """Delete the local files that a table names, if every plane of them is extracted.

        Each plane is read again and compared before. Only pixels are in the plates: what else a
        file has, such as label images or a log of the microscope, goes with it. See
        `idrstream.run.extracted.delete_originals` for what is kept.

        Returns
        -------
        list of Original
            Every local file that the table names, and why it was kept if it was.

        Raises
        ------
        LockedError
            If a stream is running in the output folder.
        """
        from idrstream.run.extracted import delete_originals
        from idrstream.run.extracting import fields_of, for_extraction

        chosen = checked(RunOptions, {**options, "extract": True}, "delete_originals")
        components = for_extraction(self.components(extract=True), chosen)
        return delete_originals(self.paths(), components, fields_of(data_to_process, chosen))
