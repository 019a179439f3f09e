"""The status in a notebook, updated while a stream runs, without widgets or scripts."""

from __future__ import annotations

import logging
import threading
import time
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
    """Return the status of the stream in a folder as HTML and as text."""
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


def show_status(
    folder: Path, is_running: Callable[[], bool], error_text: Callable[[], str]
) -> threading.Thread | None:
    """Show the status of a stream; in a notebook, return a thread that updates it to the end."""
    from IPython import get_ipython
    from IPython.display import display

    running = is_running()  # first, so that the last update comes after the end
    bundle = mime_bundle(folder, error_text())
    handle: Any = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
    shell = get_ipython()
    if not running or shell is None or not shell.has_trait("kernel"):
        return None

    def update() -> None:
        running = True
        while running:
            time.sleep(_DRAW_S)
            running = is_running()
            try:
                handle.update(mime_bundle(folder, error_text()), raw=True)
            # The notebook may be gone; that must not harm the stream.
            except Exception as error:
                log.debug("the status display is not updated any more: %s", error)
                return

    thread = threading.Thread(target=update, name="idrstream-display", daemon=True)
    thread.start()
    return thread
