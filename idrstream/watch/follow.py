"""``idrstream status --watch``: the picture of a stream until it ends."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TextIO

from idrstream.folder.status import Status, read_status
from idrstream.watch.picture import one_line, picture, recent_failures, wants_colour

_INTERRUPTED = 130
_ENDED = ("done", "stopped", "died")


class Watch:
    """Looks at a stream again and again and writes how far it is.

    On a terminal the picture is redrawn in place; elsewhere it is one plain line for each look
    that shows something new, or one JSON object for each look.

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
            0 when all is done, 1 when something is left, 130 after Ctrl-C, which ends only the
            watching.
        """
        try:
            while True:
                status = read_status(self._folder)
                self._write(status)
                if status.state in _ENDED:
                    return 0 if status.state == "done" else 1
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
            news = line.split(" ", 2)[2]  # without the time
            if news != self._last:
                self._out.write(f"{line}\n")
            self._last = news
        self._out.flush()

    def _redraw(self, status: Status) -> None:
        size = shutil.get_terminal_size()
        lines = picture(
            status,
            recent_failures(self._folder),
            width=max(20, size.columns - 1),  # a full line would wrap
            colour=wants_colour(self._out),
        )[: max(3, size.lines - 1)]
        back = f"\x1b[{self._drawn}F" if self._drawn else ""
        self._out.write(back + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        self._drawn = len(lines)
