"""The frames that a cell of a table requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MAX_FRAMES = 100_000

_FRAME = re.compile(r"\s*(\d{1,9})(?:\.0*)?\s*", flags=re.ASCII)
_FRAME_RANGE = re.compile(r"\s*(\d{1,9})\s*-\s*(\d{1,9})\s*(?::\s*(\d{1,9})\s*)?", flags=re.ASCII)
_ALL = re.compile(r"\s*all\s*(?::\s*(\d{1,9})\s*)?", flags=re.ASCII | re.IGNORECASE)
_DATE = re.compile(
    r"\d{1,2}[-/. ][A-Za-z]{3}\w*([-/. ]\d+)?|[A-Za-z]{3}-\d+|\d{4}-\d\d?-\d\d?.*", flags=re.ASCII
)


def parse_frames(text: object) -> tuple[int, ...]:
    """Return the frame numbers that a Frames cell requests.

    Parameters
    ----------
    text : object
        ``"50"``, ``"1,50,93"``, ``"1-93"``, ``"1-93:10"`` (every tenth), several of them with
        commas between, or a whole number; counted from 1. ``"all"`` or ``"all:10"`` for as many
        as the movie has.

    Returns
    -------
    tuple of int
        The numbers in the order given, repeats left out. Empty for ``"all"``: only the movie
        tells them; see `frame_step`.

    Raises
    ------
    ValueError
        If a part is neither a whole number of at least 1 nor a range of them, or there are more
        than `MAX_FRAMES`.
    """
    if frame_step(text):
        return ()
    numbers: dict[int, None] = {}
    for part in str(text).split(","):
        numbers.update(dict.fromkeys(_frame_part(part, text)))
        if len(numbers) > MAX_FRAMES:
            msg = f"{str(text)[:80]!r} asks for more than {MAX_FRAMES:,} frames"
            raise ValueError(msg)
    return tuple(numbers)


def frame_step(text: object) -> int:
    """Return 1 for ``"all"``, 10 for ``"all:10"``; 0 if a Frames cell names the frames itself."""
    match = _ALL.fullmatch(str(text))
    return 0 if match is None else int(match[1] or 1)


def frames_range(frames: Sequence[int]) -> str:
    """Return ascending frames at an even distance as text, such as ``1-93:3``."""
    if len(frames) < 2:
        return ",".join(map(str, frames))
    step = frames[1] - frames[0]
    return f"{frames[0]}-{frames[-1]}" + (f":{step}" if step > 1 else "")


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
        f'"50", "1,50,93", "1-93:10" or "all"{hint}'
    )
    raise ValueError(msg)
