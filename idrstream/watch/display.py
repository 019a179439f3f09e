"""A picture in a notebook that is redrawn while a stream runs, without widgets or scripts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from idrstream.errors import IdrStreamError
from idrstream.folder.status import read_status
from idrstream.watch.picture import recent_failures
from idrstream.watch.picture_html import picture_html, picture_text

log = logging.getLogger(__name__)

_DRAW_S = 2.0


def mime_bundle(folder: Path, trouble: str = "") -> dict[str, str]:
    """Return the picture of the stream in a folder as HTML and as text.

    Parameters
    ----------
    folder : Path
        Output folder.
    trouble : str
        What is to be said besides.
    """
    try:
        status, failures = read_status(folder), recent_failures(folder)
    except IdrStreamError as error:
        text = f"{folder}: {error}"
        html = f"<p>{escape(text)}</p>"
    else:
        text, html = picture_text(status, failures), picture_html(status, failures)
    if trouble:
        text += f"\nended by {trouble}"
        html += f'<p role="alert"><strong>Ended by</strong> {escape(trouble)}</p>'
    return {"text/html": html, "text/plain": text}


class NotebookDisplay:
    """Shows the picture of a stream, and redraws it from a thread until the stream ends.

    Where there is no notebook the text is shown once.

    Parameters
    ----------
    folder : Path
        Output folder.
    alive : callable
        Tells whether the stream runs.
    trouble : callable
        Returns what is to be said besides.
    """

    def __init__(self, folder: Path, alive: Callable[[], bool], trouble: Callable[[], str]) -> None:
        self._folder = folder
        self._alive = alive
        self._trouble = trouble
        self._handle: Any = None

    def show(self) -> threading.Thread | None:
        """Show it; return the thread that redraws it."""
        from IPython import get_ipython
        from IPython.display import display

        alive = self._alive()  # asked first, so that the last picture is drawn after the end
        self._handle = display(  # type: ignore[no-untyped-call]
            self._bundle(), raw=True, display_id=True
        )
        shell = get_ipython()
        if not alive or shell is None or not hasattr(shell, "kernel"):
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
            # The notebook may be gone; the stream does not care.
            except Exception as error:
                log.debug("the picture is not redrawn any more: %s", error)
                return

    def _bundle(self) -> dict[str, str]:
        return mime_bundle(self._folder, self._trouble())
