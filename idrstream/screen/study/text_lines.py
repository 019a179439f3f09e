"""The lines of a study's small text files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from idrstream.errors import TableError
from idrstream.opening import open_regular

MAX_TEXT_BYTES = 64 * 2**20


def text_lines(path: Path, what: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers.

    Raises
    ------
    TableError
        If the file cannot be read, is too large, or is not text in UTF-8.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        msg = f"the {what} {path} cannot be read: {error.strerror}"
        raise TableError(msg) from error
    if len(content) > MAX_TEXT_BYTES:
        msg = f"the {what} {path} is larger than {MAX_TEXT_BYTES:,} bytes"
        raise TableError(msg)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = content.count(b"\n", 0, error.start) + 1
        msg = f"{path}, line {bad}: not text in UTF-8; is this a {what}?"
        raise TableError(msg) from error
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if line.strip():
            yield number, line
