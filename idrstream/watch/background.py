"""Handles on a stream in a thread of this process or in another process."""

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
from idrstream.watch.display import mime_bundle, show_status

if TYPE_CHECKING:
    from idrstream.schedule.result import RunResult

log = logging.getLogger(__name__)

_POLL_S = 0.3
_STOP_S = 20.0


class StreamHandle:
    """Watch and control the stream of an output folder, whichever process runs it.

    It reads the status from the folder's journal and sends requests through a small file in the
    folder. A notebook shows the status and updates it until the stream ends.

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
        """Return the status of the stream.

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
        """Start no new images; images in progress are finished, and nothing is lost.

        Returns
        -------
        Status
            With the state ``pausing``, or ``paused`` when nothing runs any more.

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
        """Continue after `pause`; raises as `pause`."""
        ask(self.folder, "resume")
        return self.status()

    def stop(self, *, timeout_s: float = 60.0) -> Status:
        """Stop the stream at the next safe point, within seconds, and wait until it has ended.

        Finished batches are kept; `IdrStream.resume` or ``idrstream resume`` continues. Does
        nothing if no stream runs.

        Parameters
        ----------
        timeout_s : float
            How long to wait at most.
        """
        if self.running:
            with suppress(ConfigError):  # it has just ended
                ask(self.folder, "stop")
        return self.wait(timeout_s)

    def wait(self, timeout_s: float | None = None) -> Status:
        """Wait until the stream ends.

        Parameters
        ----------
        timeout_s : float, optional
            How long at most; None for no limit.

        Returns
        -------
        Status
            Its state says whether the stream has ended.
        """
        deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        while self.running and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return self.status()

    def __repr__(self) -> str:
        return mime_bundle(self.folder, self._error_text())["text/plain"]

    def _repr_html_(self) -> str:
        return mime_bundle(self.folder, self._error_text())["text/html"]

    def _ipython_display_(self) -> None:
        """Show the status in a notebook and update it until the stream ends."""
        show_status(self.folder, lambda: self.running, self._error_text)

    def _error_text(self) -> str:
        """Return the error that ended the stream, if this process knows it."""
        return ""


class BackgroundRun(StreamHandle):
    """A stream in a thread of this process; ``run_stream(background=True)`` returns it.

    It ends with the process: a normal exit stops the stream at a safe point. Finished batches
    are always kept, and `IdrStream.resume` continues.

    Parameters
    ----------
    folder : Path
        Output folder.
    run : callable
        Runs the stream; calls its argument when the first work is about to start.
    """

    def __init__(self, folder: Path, run: Callable[[Callable[[], None]], RunResult]) -> None:
        super().__init__(folder)
        self._run = run
        self._started = threading.Event()
        self._outcome: RunResult | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="idrstream-run", daemon=True)

    def start(self) -> BackgroundRun:
        """Start the stream; return when its inputs are checked and its folder is locked.

        Raises
        ------
        UserError
            If table, options or folder are wrong, as `run_stream` does.
        """
        atexit.register(self._at_exit)
        self._thread.start()
        self._started.wait()
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
            The error that ended the stream, as `run_stream` does.
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
            If it still runs then.
        UserError
            The error that ended the stream, as `run_stream` does.
        """
        self.wait(timeout_s)
        if self._outcome is None:
            msg = f"the stream in {self.folder} still runs"
            raise TimeoutError(msg)
        return self._outcome

    def _work(self) -> None:
        try:
            self._outcome = self._run(self._started.set)
        # Raised again in `start`, `wait` and `result`.
        except BaseException as error:
            self._error = error
            log.error("the stream in %s ended: %s", self.folder, error)
        finally:
            self._started.set()
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

    def _error_text(self) -> str:
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
        Shows the status; pauses, resumes and stops a stream that runs in any process.

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
