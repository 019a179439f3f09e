"""Follows a table, or a folder, that grows: processes images as they come complete."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.config import RunOptions, checked
from idrstream.errors import ConfigError, ImageError, JournalError, TableError
from idrstream.formats.complete import file_state
from idrstream.schedule.events import Event, StreamFinished
from idrstream.screen import checked_rows, with_plate_format
from idrstream.screen.columns import channel_columns
from idrstream.stream.build import run_options
from idrstream.watch.control import Controls

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.config import Settings
    from idrstream.download import Downloader
    from idrstream.records import ImageTask
    from idrstream.schedule.result import RunResult
    from idrstream.stream.stream import IdrStream

log = logging.getLogger(__name__)

_PLACE = ("Plate", "Well", "Well Number", "Site", "Frames")
_ONCE = ("force", "force_recompute", "replan", "verify")
_POLL_S = 0.2

Key = tuple[str, ...]


def follow(
    stream: IdrStream,
    settings: Settings,
    read: Callable[[], pd.DataFrame],
    *,
    settle_s: float,
) -> Iterator[RunResult]:
    """Run the rows of a table that grows, as they come complete, until the stream is stopped.

    Parameters
    ----------
    stream : IdrStream
        Made from `settings`.
    settings : Settings
        Options of the runs.
    read : callable
        Returns the table as it is now.
    settle_s : float
        A row and its files must not change for so many seconds.

    Yields
    ------
    RunResult
        Of every run. After ``idrstream stop`` no other follows.

    Raises
    ------
    ConfigError
        If only some batches are to be run.
    UserError
        As for `IdrStream.run_stream`.
    """
    from idrstream.stream.executors import make_executor
    from idrstream.stream.prepared import prepared_run
    from idrstream.watch.progress import ProgressBars

    options = run_options(settings.stream)
    if options["batch_nums"] != "all" or options["start_batch"]:
        raise ConfigError("--follow runs every batch: leave batch_nums and start_batch out")
    rows = GrowingRows(stream, settings, anew=options["force"])
    executor = make_executor(settings.cluster, settings.stream.final_data_dir)
    stopped: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, StreamFinished) and event.stopped_by:
            stopped.append(event.stopped_by)

    hearing = [ProgressBars(), listen] if settings.stream.progress else [listen]
    go_on = len(rows.taken) > 0  # what an earlier call left
    with Controls(stream.final_data_dir) as controls:
        while not (stopped or controls.stop_requested):
            go_on = rows.take(read) or go_on
            if go_on:
                chosen = checked(RunOptions, options, "follow")
                yield prepared_run(stream, rows.taken, chosen, executor, controls)(hearing)
                controls.attach(None)
                options |= dict.fromkeys(_ONCE, False)
                go_on = False
            end = time.monotonic() + settle_s
            while time.monotonic() < end and not (stopped or controls.stop_requested):
                time.sleep(_POLL_S)


class GrowingRows:
    """The rows of a growing table that are complete, in the order in which they became so.

    Parameters
    ----------
    stream : IdrStream
        Its downloader knows the sizes of files; its output folder which rows there were.
    settings : Settings
        Say where local files are.
    anew : bool
        Begin without the rows that the output folder had.

    Attributes
    ----------
    taken : pandas.DataFrame
        The rows, as text.
    """

    def __init__(self, stream: IdrStream, settings: Settings, *, anew: bool) -> None:
        import pandas as pd

        self._settings = settings
        self._downloader: Downloader = stream.components().downloader
        self._before: dict[Key, object] = {}
        self._told: set[object] = set()
        self.taken = pd.DataFrame() if anew else _recorded(stream.final_data_dir)

    def take(self, read: Callable[[], pd.DataFrame]) -> bool:
        """Look at the table; take rows that are complete and as they were at the last look.

        Return whether there are new ones.
        """
        import pandas as pd

        try:
            table = read()
        except TableError as error:  # empty as yet, or being written
            self._say(str(error))
            return False
        table = with_plate_format(table, self._settings.stream.plate_format).reset_index(drop=True)
        have = set(_keys(self.taken))
        keys = _keys(table)
        new = [at for at, key in enumerate(keys) if key not in have]
        states = self._states(table.iloc[new])
        now = {keys[at]: state for at, state in zip(new, states, strict=True)}
        ready = [
            at
            for at, state in zip(new, states, strict=True)
            if state is not None and self._before.get(keys[at]) == state
        ]
        self._before = {key: state for key, state in now.items() if state is not None}
        if not ready:
            return False
        self.taken = pd.concat([self.taken, table.iloc[ready]], ignore_index=True).fillna("")
        return True

    def _states(self, table: pd.DataFrame) -> list[object | None]:
        """Return for each row what must not change; None if it is not complete."""
        try:
            tasks = {task.row: task for task in checked_rows(table).tasks} if len(table) else {}
        except TableError as error:
            self._say(str(error))  # if it stays so, the stream will refuse it
            tasks = {}
        columns = list(channel_columns(table.columns).values())
        states: list[object | None] = []
        for at, cells in enumerate(table.to_dict("records")):
            files = [cells[name] for name in columns]
            if any(files) and not all(files):
                self._say(
                    f"{' '.join(map(str, _keys(table.iloc[[at]])[0]))} lacks a channel's file"
                )
                states.append(None)
                continue
            task = tasks.get(at)
            found = self._files(task, files) if task is not None else ()
            states.append(None if found is None else (tuple(cells.values()), found))
        return states

    def _files(self, task: ImageTask, files: list[str]) -> tuple[object, ...] | None:
        """Return the state of the files of an image; None if one is not complete."""
        try:
            found: list[object] = [self._downloader.size(task)]
        except ImageError as error:
            self._say(str(error))
            return None
        named = [*files, task.metadata.get("URL", ""), task.metadata.get("Path", "")]
        for text in filter(None, named):
            if "://" not in text and (path := Path(self._settings.download.root, text)).is_file():
                state = file_state(path)
                if state.state == "waiting":
                    return None
                found.append(state.signature)
        return tuple(found)

    def _say(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            log.warning("waiting: %s", text)


def _keys(table: pd.DataFrame) -> list[Key]:
    columns = [name for name in _PLACE if name in table.columns]
    return [tuple(row) for row in table[columns].astype(str).to_numpy()]


def _recorded(folder: Path) -> pd.DataFrame:
    """Return the rows that an output folder was given before; none if it is new."""
    import pandas as pd

    from idrstream.forecast.make import read_begun_quietly

    try:
        return read_begun_quietly(folder)[0]
    except JournalError:
        return pd.DataFrame()
