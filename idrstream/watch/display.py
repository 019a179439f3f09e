"""The status in a notebook, updated while a stream runs, without widgets or scripts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from idrstream.errors import IdrStreamError
from idrstream.folder.status import latest_failures, read_status
from idrstream.folder.status_text import status_lines
from idrstream.watch.status_html import status_html

log = logging.getLogger(__name__)

_DRAW_S = 2.0


def mime_bundle(folder: Path, error_text: str = "") -> dict[str, str]:
    """Return the status of the stream in a folder as HTML and as text.

    Parameters
    ----------
    folder : Path
        Output folder.
    error_text : str
        The error that ended it, if known.
    """
    try:
        status, failures = read_status(folder), latest_failures(folder)
    except IdrStreamError as error:
        text = f"{folder}: {error}"
        html = f"<p>{escape(text)}</p>"
    else:
        text = "\n".join(status_lines(status, failures, width=200))
        html = status_html(status, failures)
    if error_text:
        text += f"\nended by {error_text}"
        html += f'<p role="alert"><strong>Ended by</strong> {escape(error_text)}</p>'
    return {"text/html": html, "text/plain": text}


class NotebookDisplay:
    """Shows the status of a stream and updates it from a thread until the stream ends.

    Outside a notebook the text is shown once.

    Parameters
    ----------
    folder : Path
        Output folder.
    alive : callable
        Returns whether the stream runs.
    error_text : callable
        Returns the error that ended the stream, if known.
    """

    def __init__(
        self, folder: Path, alive: Callable[[], bool], error_text: Callable[[], str]
    ) -> None:
        self._folder = folder
        self._alive = alive
        self._error_text = error_text
        self._handle: Any = None

    def show(self) -> threading.Thread | None:
        """Show the status; return the thread that updates it."""
        from IPython import get_ipython
        from IPython.display import display

        alive = self._alive()  # first, so that the last update comes after the end
        self._handle = display(  # type: ignore[no-untyped-call]
            self._bundle(), raw=True, display_id=True
        )
        shell = get_ipython()
        if not alive or shell is None or not shell.has_trait("kernel"):
            return None
        thread = threading.Thread(target=self._redraw, name="idrstream-display", daemon=True)
        thread.start()
        return thread

    def _redraw(self) -> None:
        ended = threading.Event()
        alive = True
        while alive:
            ended.wait(_DRAW_S)
            alive = self._alive()
            try:
                self._handle.update(self._bundle(), raw=True)
            # The notebook may be gone; that must not harm the stream.
            except Exception as error:
                log.debug("the status display is not updated any more: %s", error)
                return

    def _bundle(self) -> dict[str, str]:
        return mime_bundle(self._folder, self._error_text())
