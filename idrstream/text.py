"""Sizes, durations, paths, lists and ranges of numbers as text; JSON from others."""

from __future__ import annotations

import difflib
import json
import math
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from idrstream.errors import ConfigError

_UNITS = {
    "": 1,
    "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4,
    "ki": 1024, "mi": 1024**2, "gi": 1024**3, "ti": 1024**4,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([kmgt]?i?)b?\s*", re.IGNORECASE | re.ASCII)
_MAX_RANGES = 40
_WORTH_A_RANGE = 3  # numbers in a row


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean …?`` with the nearest known name; empty if none is near."""
    names = {name.casefold().replace("-", "_"): name for name in known}
    near = difflib.get_close_matches(word.casefold().replace("-", "_"), names, 1)
    return f"; did you mean {names[near[0]]}?" if near else ""


def parse_size(text: str | int | None, option: str = "disk_budget") -> int | None:
    """Return a size in bytes.

    Parameters
    ----------
    text : str, int or None
        ``"20GB"``, ``"1.5 TB"`` (powers of 1000), ``"512MiB"`` (powers of 1024), or a number of
        bytes; None or an empty text mean no limit.
    option : str
        Name of the option, for the message.

    Raises
    ------
    ConfigError
        If it is not a size, or not positive.

    Examples
    --------
    >>> parse_size("1.5 GB")
    1500000000
    """
    if text is None or (isinstance(text, str) and not text.strip()):
        return None
    found = _SIZE.fullmatch(str(text))
    size = int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if size <= 0 or isinstance(text, bool):
        msg = f"{option} is {text!r}; give a size such as 20GB, 1.5TB or 512MiB"
        raise ConfigError(msg)
    return size


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text holds that somebody else may have written.

    Raises
    ------
    ValueError
        If it is not JSON, is nested too deeply, or has a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        msg = "it is nested too deeply"
        raise ValueError(msg) from error


def format_size(size_bytes: float) -> str:
    """Return a size as text, for example ``73.2 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(size_bytes) < 1000:
            return f"{size_bytes:.0f} bytes" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def format_duration(seconds: float) -> str:
    """Return a duration as text, for example ``2 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def format_durations(low_s: float, high_s: float) -> str:
    """Return a range of durations as text, for example ``13 s to 15 s``; rounded outwards."""
    return f"{format_duration(_whole(low_s, math.floor))} to " + format_duration(
        _whole(high_s, math.ceil)
    )


def _whole(seconds: float, rounding: Callable[[float], int]) -> int:
    """Return a duration in whole units of what `format_duration` shows of it."""
    unit = 1 if seconds < 90 else 60 if seconds < 86_400 else 3600
    return rounding(seconds / unit) * unit


def counted(number: int, one: str, many: str = "") -> str:
    """Return how many there are, for example ``1 well has`` or ``2 wells have``.

    Parameters
    ----------
    number : int
        How many.
    one : str
        What stands after 1.
    many : str
        What stands after other numbers; empty if that is ``one`` with an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def short_path(path: Path | str) -> str:
    """Return a path as somebody in the working folder types it: relative if it is below."""
    with suppress(OSError, ValueError):  # the working folder is gone; the path is elsewhere
        return str(Path(path).relative_to(Path.cwd()))
    return str(path)


def shorten_list(items: Iterable[object], most: int, separator: str = ", ") -> str:
    """Return items as text, only the first of many: ``a, b, and 7 more``."""
    texts = [str(item) for item in items]
    rest = len(texts) - most
    return separator.join([*texts[:most], *([f"and {rest} more"] if rest > 0 else [])])


def spans(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and last number of each unbroken row of numbers, ascending."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def as_ranges(numbers: Iterable[int], separator: str = ", ", most: int = _MAX_RANGES) -> str:
    """Return numbers as text for a person or a command line, for example ``3-17, 20``.

    Parameters
    ----------
    numbers : iterable of int
        Batch numbers.
    separator : str
        Stands between ranges.
    most : int
        Ranges to show; the others are counted.
    """
    found = spans(numbers)
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in found[:most]]
    left = sum(b - a + 1 for a, b in found[most:])
    return separator.join(texts) + (f"{separator}and {left} more" if left else "")


def as_python(numbers: Iterable[int]) -> str:
    """Return numbers as a Python list, for example ``[*range(3, 18), 20]``."""
    texts = [
        f"*range({a}, {b + 1})"
        if b - a + 1 >= _WORTH_A_RANGE
        else ", ".join(str(number) for number in range(a, b + 1))
        for a, b in spans(numbers)
    ]
    return f"[{', '.join(texts)}]"


def format_moment(seconds: float) -> str:
    """Return a time, in seconds since 1970, as text in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
