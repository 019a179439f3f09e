"""``idrstream status --watch``: the status of a stream until it ends."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TextIO

from idrstream.folder.status import Status, StreamState, latest_failures, read_status
from idrstream.folder.status_text import one_line, status_lines, wants_colour

_INTERRUPTED = 130


class Watch:
    """Writes the status of a stream repeatedly.

    A terminal is redrawn in place; elsewhere each change is one plain line. With JSON each poll
    is one object.

    Parameters
    ----------
    folder : Path
        Output folder.
    out : file
        Where to write.
    as_json : bool
        JSON lines.
    """

    def __init__(self, folder: Path, out: TextIO, *, as_json: bool = False) -> None:
        self._folder = folder
        self._out = out
        self._json = as_json
        self._in_place = out.isatty() and not as_json
        self._drawn = 0
        self._last = ""

    def run(self, interval_s: float) -> int:
        """Watch until the stream ends.

        Returns
        -------
        int
            0 if all is done, 1 if something is left, 130 after Ctrl-C, which does not stop the
            stream.
        """
        try:
            while True:
                status = read_status(self._folder)
                self._write(status)
                if status.state.has_ended:
                    return 0 if status.state == StreamState.DONE else 1
                time.sleep(interval_s)
        except KeyboardInterrupt:
            if self._in_place:
                self._out.write("\n")
            return _INTERRUPTED

    def _write(self, status: Status) -> None:
        if self._json:
            self._out.write(json.dumps({"time": time.time(), **status.as_json()}) + "\n")
        elif self._in_place:
            self._redraw(status)
        else:
            line = one_line(status)
            content = line.split(" ", 2)[2]  # without the time
            if content != self._last:
                self._out.write(f"{line}\n")
            self._last = content
        self._out.flush()

    def _redraw(self, status: Status) -> None:
        size = shutil.get_terminal_size()
        lines = status_lines(
            status,
            latest_failures(self._folder),
            width=max(20, size.columns - 1),  # a full line would wrap
            colour=wants_colour(self._out),
        )[: max(3, size.lines - 1)]
        back = f"\x1b[{self._drawn}F" if self._drawn else ""
        self._out.write(back + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        self._drawn = len(lines)
