"""``idrstream status --watch``: the status of a stream until it ends."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TextIO

from idrstream.folder.status import StreamState, latest_failures, read_status
from idrstream.folder.status_text import one_line, status_lines, wants_colour

_INTERRUPTED = 130


def follow(folder: Path, out: TextIO, interval_s: float, *, as_json: bool = False) -> int:
    """Write the status of a stream repeatedly until it ends.

    A terminal is redrawn in place; elsewhere each change is one plain line. With JSON each poll
    is one object.

    Returns
    -------
    int
        0 if all is done, 1 if something is left, 130 after Ctrl-C, which does not stop the stream.
    """
    in_place = out.isatty() and not as_json
    n_drawn, last = 0, ""
    try:
        while True:
            status = read_status(folder)
            if as_json:
                out.write(json.dumps({"time": time.time(), **status.as_json()}) + "\n")
            elif in_place:
                size = shutil.get_terminal_size()
                width = max(20, size.columns - 1)  # a full line would wrap
                lines = status_lines(
                    status, latest_failures(folder), width=width, colour=wants_colour(out)
                )[: max(3, size.lines - 1)]
                back = f"\x1b[{n_drawn}F" if n_drawn else ""
                out.write(back + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
                n_drawn = len(lines)
            else:
                line = one_line(status)
                content = line.split(" ", 2)[2]  # without the time
                if content != last:
                    out.write(f"{line}\n")
                last = content
            out.flush()
            if status.state.has_ended:
                return 0 if status.state == StreamState.DONE else 1
            time.sleep(interval_s)
    except KeyboardInterrupt:
        if in_place:
            out.write("\n")
        return _INTERRUPTED
