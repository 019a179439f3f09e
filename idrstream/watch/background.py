"""A stream that goes on after the call: in a thread of this process, or in another process."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.errors import ConfigError, IdrStreamError, JournalError
from idrstream.folder.journal.schema import JOURNAL_NAME
from idrstream.folder.locks import holder
from idrstream.folder.status import Status, read_status
from idrstream.watch.control import ask
from idrstream.watch.display import NotebookDisplay, mime_bundle

if TYPE_CHECKING:
    from idrstream.schedule.result import RunResult

log = logging.getLogger(__name__)

_LOOK_S = 0.3
_STOP_S = 20.0


class StreamHandle:
    """Watch and control the stream of an output folder, whichever process runs it.

    What it says comes from the folder's journal; what it asks for goes through a small file in
    the folder. Shown in a notebook, it is a picture that is redrawn until the stream ends.

    Parameters
    ----------
    folder : Path
        Output folder of a stream.

    Examples
    --------
    >>> handle = idrstream.attach("features")  # doctest: +SKIP
    >>> handle.pause()  # doctest: +SKIP
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def status(self) -> Status:
        """Return how far the stream is.

        Raises
        ------
        JournalError
            If the folder has no journal yet.
        """
        return read_status(self.folder)

    @property
    def running(self) -> bool:
        """Whether the stream runs, paused or not."""
        return holder(self.folder) is not None

    def pause(self) -> Status:
        """Begin no new images; those under way are finished, and nothing is lost.

        Returns
        -------
        Status
            How far the stream is; ``state`` is ``paused``.

        Raises
        ------
        ConfigError
            If no stream runs in the folder.
        LockedError
            If one does, but does not answer.
        """
        ask(self.folder, "pause")
        return self.status()

    def resume(self) -> Status:
        """Go on after `pause`; as `pause`."""
        ask(self.folder, "resume")
        return self.status()

    def stop(self, *, timeout_s: float = 60.0) -> Status:
        """End the stream at the next safe point, within seconds, and wait for that.

        Finished batches are kept; `IdrStream.resume` or ``idrstream resume`` goes on. Nothing
        happens when no stream runs.

        Parameters
        ----------
        timeout_s : float
            How long to wait at most.

        Returns
        -------
        Status
            How far it came.
        """
        if self.running:
            with suppress(ConfigError):  # it ended by itself meanwhile
                ask(self.folder, "stop")
        return self.wait(timeout_s)

    def wait(self, timeout_s: float | None = None) -> Status:
        """Wait until the stream ends.

        Parameters
        ----------
        timeout_s : float, optional
            How long at most; None for as long as it takes.

        Returns
        -------
        Status
            How far it is then; ``state`` tells whether it ended.
        """
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while self.running and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        return self.status()

    def __repr__(self) -> str:
        return mime_bundle(self.folder, self._trouble())["text/plain"]

    def _repr_html_(self) -> str:
        return mime_bundle(self.folder, self._trouble())["text/html"]

    def _ipython_display_(self) -> None:
        """Show a picture in a notebook and keep redrawing it until the stream ends."""
        NotebookDisplay(self.folder, self._alive, self._trouble).show()

    def _alive(self) -> bool:
        return self.running

    def _trouble(self) -> str:
        """Return what the journal does not know of why the stream ended."""
        return ""


class BackgroundRun(StreamHandle):
    """A stream in a thread of this process; ``run_stream(background=True)`` returns it.

    It ends with the process: when that exits in order, the stream is stopped at a safe point.
    However it ends, what is done is kept and `IdrStream.resume` goes on.

    Parameters
    ----------
    folder : Path
        Output folder.
    run : callable
        Runs the stream, and calls what it is given when the first work is about to begin.
    """

    def __init__(self, folder: Path, run: Callable[[Callable[[], None]], RunResult]) -> None:
        super().__init__(folder)
        self._run = run
        self._begun = threading.Event()
        self._outcome: RunResult | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="idrstream-run", daemon=True)

    def start(self) -> BackgroundRun:
        """Begin, and return when the stream has its folder and knows what to do.

        Raises
        ------
        UserError
            What is wrong with table, options or folder, as `run_stream` does.
        """
        atexit.register(self._at_exit)
        self._thread.start()
        self._begun.wait()
        if self._error is not None:
            raise self._error
        return self

    @property
    def running(self) -> bool:
        """Whether the stream runs, paused or not."""
        return self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> Status:
        """Wait until the stream ends; see `StreamHandle.wait`.

        Raises
        ------
        UserError
            What ended the stream, as `run_stream` does.
        """
        self._thread.join(timeout_s)
        if self._error is not None:
            raise self._error
        return self.status()

    def result(self, timeout_s: float | None = None) -> RunResult:
        """Wait until the stream ends and return what a blocking call returns.

        Parameters
        ----------
        timeout_s : float, optional
            How long to wait at most.

        Raises
        ------
        TimeoutError
            If it still runs.
        UserError
            What ended the stream, as `run_stream` does.
        """
        self.wait(timeout_s)
        if self._outcome is None:
            msg = f"the stream in {self.folder} still runs"
            raise TimeoutError(msg)
        return self._outcome

    def _work(self) -> None:
        try:
            self._outcome = self._run(self._begun.set)
        # The border of a thread: it is raised where somebody waits for it.
        except BaseException as error:
            self._error = error
            log.error("the stream in %s ended: %s", self.folder, error)
        finally:
            self._begun.set()
            atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        """Stop at a safe point when the process ends."""
        if not self._thread.is_alive():
            return
        try:
            ask(self.folder, "stop")
        except IdrStreamError as error:
            log.debug("%s", error)
        self._thread.join(_STOP_S)

    def _trouble(self) -> str:
        error = self._error
        return "" if error is None else f"{type(error).__name__}: {error}"


def attach(folder: str | Path) -> StreamHandle:
    """Return a handle on the stream of an output folder, running or finished.

    Parameters
    ----------
    folder : path
        Output folder (``final_data_dir``).

    Returns
    -------
    StreamHandle
        Shows how far the stream is; pauses, resumes and stops it while it runs, in whichever
        process.

    Raises
    ------
    JournalError
        If it is not the output folder of a stream.

    Examples
    --------
    >>> import idrstream
    >>> idrstream.attach("features").status()  # doctest: +SKIP
    """
    path = Path(folder).expanduser()
    if not (path / JOURNAL_NAME).is_file() and holder(path) is None:
        msg = f"{path} has no {JOURNAL_NAME}: it is not the output folder of a stream"
        raise JournalError(msg)
    return StreamHandle(path)
