"""The frames that a cell of a table requests."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_FRAMES = 100_000

_FRAME = re.compile(r"\s*(\d{1,9})(?:\.0*)?\s*", flags=re.ASCII)
_FRAME_RANGE = re.compile(r"\s*(\d{1,9})\s*-\s*(\d{1,9})\s*(?::\s*(\d{1,9})\s*)?", flags=re.ASCII)
_DATE = re.compile(
    r"\d{1,2}[-/. ][A-Za-z]{3}\w*([-/. ]\d+)?|[A-Za-z]{3}-\d+|\d{4}-\d\d?-\d\d?.*", flags=re.ASCII
)


def parse_frames(text: object) -> tuple[int, ...]:
    """Return the frame numbers that a Frames cell requests.

    Parameters
    ----------
    text : object
        ``"50"``, ``"1,50,93"``, ``"1-93"``, ``"1-93:10"`` (every tenth), several of them with
        commas between, or a whole number; counted from 1.

    Returns
    -------
    tuple of int
        The numbers in the order given, repeats left out.

    Raises
    ------
    ValueError
        If a part is neither a whole number of at least 1 nor a range of them, or there are more
        than `MAX_FRAMES`.
    """
    numbers: dict[int, None] = {}
    for part in str(text).split(","):
        numbers.update(dict.fromkeys(_frame_part(part, text)))
        if len(numbers) > MAX_FRAMES:
            msg = f"{str(text)[:80]!r} asks for more than {MAX_FRAMES:,} frames"
            raise ValueError(msg)
    return tuple(numbers)


def _frame_part(part: str, text: object) -> Iterable[int]:
    # A column of numbers with a gap is read as floats: 50 becomes "50.0".
    match = _FRAME.fullmatch(part)
    if match is not None and int(match[1]) >= 1:
        return (int(match[1]),)
    match = _FRAME_RANGE.fullmatch(part)
    if match is not None:
        first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
        if 1 <= first <= last and step >= 1:
            return range(first, min(last, first + step * (MAX_FRAMES + 1)) + 1, step)
    hint = ""
    if _DATE.fullmatch(str(text).strip()):
        hint = "; it looks like a date: has a spreadsheet changed it?"
    msg = (
        f"{str(text)[:80]!r} is not a list of frame numbers from 1 on, such as "
        f'"50", "1,50,93" or "1-93:10"{hint}'
    )
    raise ValueError(msg)
