"""A run of a stream, ready to start."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from idrstream.run.cutting import for_tiles, run_in_tiles
from idrstream.run.extracting import fields_table
from idrstream.run.session import Session
from idrstream.stream.executors import as_executor

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from distributed import Client

    from idrstream.cluster.work import Executor
    from idrstream.config import RunOptions
    from idrstream.schedule.result import RunResult
    from idrstream.stream.stream import IdrStream
    from idrstream.watch.control import Controls


def prepared_run(
    stream: IdrStream,
    table: pd.DataFrame,
    options: RunOptions,
    executor: Executor | Client | None = None,
    controls: Controls | None = None,
) -> Callable[..., RunResult]:
    """Return what runs a table: a function of the listeners, and of ``begun``.

    Parameters
    ----------
    stream : IdrStream
        Has the components and the folders.
    table : pandas.DataFrame
        The table to process.
    options : RunOptions
        Options of the run.
    executor : Executor or distributed.Client, optional
        Has the workers; by default this process does the work.
    controls : Controls, optional
        As for `Session`.

    Raises
    ------
    ConfigError
        When a component is missing, or they do not go together.
    """
    if options.extract:
        table = fields_table(table, options)
    components = stream.components(extract=options.extract)
    options, paths = for_tiles(components, options), stream.paths()
    session = Session(paths, components, options, as_executor(executor), controls)
    return partial(run_in_tiles, session, paths, components, options, table)
