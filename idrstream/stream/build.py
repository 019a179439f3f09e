"""Builds a stream and its components from settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from idrstream.config import RunOptions, options_in

if TYPE_CHECKING:
    from idrstream.config import Settings, StreamSettings
    from idrstream.schedule.result import RunResult
    from idrstream.stream.stream import IdrStream


def build_stream(kind: type[IdrStream], settings: Settings) -> IdrStream:
    """Build a stream with all its components.

    Parameters
    ----------
    kind : type
        `IdrStream` or a subclass.
    settings : Settings
        Checked settings.

    Returns
    -------
    IdrStream
        Ready to run.

    Raises
    ------
    UserError
        If a component cannot be built.
    """
    where = settings.stream
    stream = kind(where.idr_id, where.tmp_dir, where.final_data_dir, log=where.log or "")
    stream.init_downloader(settings.download)
    stream.init_preprocessor(settings.preprocess)
    stream.init_segmentor(settings.segment)
    stream.copy_DP_files(**asdict(settings.profile))
    stream.settings = settings
    return stream


def run_settings(stream: IdrStream, settings: Settings) -> RunResult:
    """Run the table that the settings name.

    Parameters
    ----------
    stream : IdrStream
        As `build_stream` returns it.
    settings : Settings
        The same settings.

    Returns
    -------
    RunResult
        What was done.
    """
    from idrstream.screen import read_table
    from idrstream.stream.executors import make_executor

    executor = make_executor(settings.cluster, settings.stream.final_data_dir)
    result: RunResult = stream.run_stream(
        read_table(settings.stream.table), executor=executor, **run_options(settings.stream)
    )
    return result


def run_options(settings: StreamSettings) -> dict[str, Any]:
    """Return the keyword arguments of `IdrStream.run_stream` for settings."""
    return {option.name: getattr(settings, option.name) for option in options_in(RunOptions)}
