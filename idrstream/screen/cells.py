"""Single cells of a table: names of plates, whole numbers."""

from __future__ import annotations

import re

MAX_NAME_BYTES = 120

_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SPREADSHEET_ERRORS = frozenset(
    ("#N/A", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!", "########")
)


def unwritable(text: str) -> str:
    """Return why a text cannot stand in a file of text; empty if it can."""
    if "\x00" in text:
        return f"{text[:80]!r} has a zero byte"
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return f"{text[:80]!r} has half a character"
    return ""


def name_problem(name: str) -> str | None:
    """Return why a plate's name cannot be used in file names and program arguments.

    Returns
    -------
    str or None
        The reason; None when it can.
    """
    if not name:
        return "empty"
    if name.upper() in _SPREADSHEET_ERRORS:
        return f"{name!r} is an error of the spreadsheet it came from"
    if _UNSAFE.search(name) or name.startswith(("-", ".", "~")) or name.endswith("."):
        return (
            f"{name[:80]!r} has a slash or control character, starts with a dash or dot, or ends "
            "with a dot; such a name cannot become a file name"
        )
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        return (
            f"{name[:40]!r}... is longer than {MAX_NAME_BYTES} bytes; such a name cannot "
            "become a file name"
        )
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return f"{name!r} has half a character; such a name cannot become a file name"
    return None


def whole_number(text: str) -> int | None:
    """Return a whole number of at least 1; None for an empty cell."""
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,9})(?:\.0*)?", text, flags=re.ASCII)
    if match is None or int(match[1]) < 1:
        msg = f"{text[:80]!r} is not a whole number of at least 1"
        raise ValueError(msg)
    return int(match[1])


def site_number(text: str) -> int:
    """Return the number of a site; 1 for an empty cell."""
    return whole_number(text) or 1
