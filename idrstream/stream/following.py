"""Follows a table, or a folder, that grows: processes images as they come complete."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from idrstream.config import RunOptions
from idrstream.download.transports.local import path_from_address
from idrstream.errors import ConfigError, ImageError, JournalError, TableError
from idrstream.formats.complete import file_state
from idrstream.schedule.events import Event, StreamFinished
from idrstream.screen import checked_rows, with_plate_format
from idrstream.screen.columns import channel_columns
from idrstream.watch.control import Controls

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from idrstream.cluster import Executor
    from idrstream.download import Downloader
    from idrstream.records import ImageTask
    from idrstream.schedule.events import Listener
    from idrstream.schedule.result import RunResult
    from idrstream.stream.parts import PathLike
    from idrstream.stream.stream import IdrStream

log = logging.getLogger(__name__)

_PLACE = ("Plate", "Well", "Well Number", "Site", "Frames")
_POLL_S = 0.2

Key = tuple[str, ...]


def growing(
    table: PathLike | None,
    files: PathLike | Iterable[PathLike] | None,
    frames: str | int | Sequence[int],
) -> Callable[[], pd.DataFrame]:
    """Return what reads a table that grows, or makes one of the files that there are.

    Parameters
    ----------
    table : path, optional
        A table to process.
    files : path or str, or several, optional
        As `idrstream.archive.table_from_files` takes them, in place of a table.
    frames : str, int or sequence of int
        Frames of the rows that are made of files, as `table_from_idr` takes them.

    Raises
    ------
    ConfigError
        If there is not one of both, or the frames cannot be read.
    """
    from idrstream.archive.files import files_table
    from idrstream.screen import read_table
    from idrstream.screen.study.choices import frames_text

    if (table is None) == (files is None):
        raise ConfigError("follow a table, or files: give one of both")
    if files is None:
        path = Path(cast("PathLike", table))
        return lambda: read_table(path)
    wanted = frames_text(frames, None)
    texts = [files] if isinstance(files, (str, Path)) else list(files)
    return lambda: files_table(texts, frames=wanted).table


def follow(
    stream: IdrStream,
    read: Callable[[], pd.DataFrame],
    options: RunOptions,
    *,
    settle_s: float = 10.0,
    listeners: Sequence[Listener] = (),
    executor: Executor | Client | None = None,
) -> Iterator[RunResult]:
    """Run the rows of a table that grows; see `IdrStream.follow`.

    Parameters
    ----------
    stream : IdrStream
        Has the components and the folders.
    read : callable
        Returns the table as it is now.
    options : RunOptions
        Options of the runs.
    settle_s, listeners, executor
        As for `IdrStream.follow`.

    Yields
    ------
    RunResult
        Of every run.
    """
    from idrstream.stream.prepared import prepared_run
    from idrstream.watch.progress import ProgressBars

    if options.batch_nums != "all" or options.start_batch:
        raise ConfigError("what follows runs every batch: leave batch_nums and start_batch out")
    if not settle_s > 0:
        raise ConfigError(f"settle_s is {settle_s:g}; it must be above 0")
    rows = GrowingRows(stream, options.plate_format, anew=options.force)
    stopped: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, StreamFinished) and event.stopped_by:
            stopped.append(event.stopped_by)

    hearing = [*([ProgressBars()] if options.progress else []), *listeners, listen]
    go_on = len(rows.taken) > 0  # what an earlier call left
    with Controls(stream.final_data_dir) as controls:
        while not (stopped or controls.stop_requested):
            go_on = rows.take(read) or go_on
            if go_on:
                yield prepared_run(stream, rows.taken, options, executor, controls)(hearing)
                controls.attach(None)
                options = replace(
                    options, force=False, force_recompute=False, replan=False, verify=False
                )  # they are for the first run
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
    plate_format : int, optional
        Wells of every plate.
    anew : bool
        Begin without the rows that the output folder had.

    Attributes
    ----------
    taken : pandas.DataFrame
        The rows, as text.
    """

    def __init__(self, stream: IdrStream, plate_format: int | None, *, anew: bool) -> None:
        import pandas as pd

        self._plate_format = plate_format
        self._root = "" if stream.settings is None else stream.settings.download.root
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
        table = with_plate_format(table, self._plate_format).reset_index(drop=True)
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
            address = self._downloader.address(task) or ""
        except ImageError as error:
            self._say(str(error))
            return None
        named = [*files, task.metadata.get("URL", ""), task.metadata.get("Path", "")]
        paths = [Path(self._root, text) for text in named if text and "://" not in text]
        if address.startswith("file://"):
            paths.append(path_from_address(address))
        for path in dict.fromkeys(paths):
            if path.is_file():
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
