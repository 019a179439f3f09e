"""A pattern of file names: readable fields, or a regular expression with named groups.

``plates/{plate}/r{row:02}c{column:02}f{site}p{z}-ch{channel}*.tiff``
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from idrstream.errors import ConfigError
from idrstream.text import did_you_mean

FIELDS = ("plate", "well", "row", "column", "site", "channel", "z", "time")
"""Fields of a pattern; a well is told by ``well`` or by ``row`` and ``column``."""

_ALSO = {
    "field": "site", "fov": "site", "col": "column", "plane": "z", "t": "time", "frame": "time",
    "timepoint": "time", "wave": "channel", "wavelength": "channel", "c": "channel",
}  # fmt: skip
_MEANS = {
    "plate": r"[^/]+?",
    "well": r"[A-Za-z]{1,2}[ _-]*\d{1,4}",
    "row": r"(?:\d{1,3}|[A-Za-z]{1,2})",
    "channel": r"[^/]+?",
}
_ANY_DEPTH = 8
_WHOLE = r"\d{1,9}"
_PART = re.compile(r"\{(?P<name>[A-Za-z_]*)(?::(?P<width>\d{1,2}))?\}|(?P<any>\*+)|(?P<one>\?)")
_SPECIAL = re.compile(r"[{}*?]")
_REGEX_SPECIAL = re.compile(r"[\\()\[\]{}*+?|^$]")
_GROUP = re.compile(r"\(\?P<(\w+)>")


@dataclass(frozen=True, slots=True)
class NamePattern:
    """Where files are, and what their paths say.

    Attributes
    ----------
    root : str
        Address or path of the folder above all of them.
    path : re.Pattern
        Of a file's path below it.
    folders : tuple of re.Pattern
        Of the folders on the way, one for each level.
    fields : frozenset of str
        Which of `FIELDS` it has.
    is_bounded : bool
        Whether no other folders may be on the way.
    """

    root: str
    path: re.Pattern[str]
    folders: tuple[re.Pattern[str], ...]
    fields: frozenset[str]
    is_bounded: bool = False

    @property
    def depth(self) -> int:
        """How many levels of folders may lie below the root."""
        if self.is_bounded:
            return len(self.folders)
        return _ANY_DEPTH


def name_pattern(text: str) -> NamePattern:
    r"""Return the pattern of a text.

    Parameters
    ----------
    text : str
        A path or address with fields: ``{site}`` is any number (``{site:03}`` one of three
        digits), ``{well}`` such as ``A01``, ``{plate}`` and ``{channel}`` any text; ``*`` is
        anything within a name, ``**`` any folders. Or a regular expression with named groups,
        ``/data/(?P<plate>[^/]+)/(?P<well>[A-P]\d\d)_w(?P<channel>\d)\.tif``; its folders up
        to the first special sign are taken as they stand.

    Raises
    ------
    ConfigError
        If it has no well, or a field that is not known.
    """
    root, parts = _root_and_parts(text.strip())
    if "(?P<" in text:
        return _of_expression(text, root, "/".join(parts))
    if not parts or not any("{" in part for part in parts):
        msg = f"{text!r} has no fields such as {{well}}; there are {', '.join(FIELDS)}"
        raise ConfigError(msg)
    seen: set[str] = set()
    whole = "/".join(_expression(part, seen, text) for part in parts).replace("(?:.*)/", "(?:.*/)?")
    bounded = "**" not in parts
    folders = tuple(_compiled(part, text) for part in parts[:-1]) if bounded else ()
    _check_fields(seen, text)
    return NamePattern(root, re.compile(whole, re.ASCII), folders, frozenset(seen), bounded)


def _of_expression(text: str, root: str, expression: str) -> NamePattern:
    renamed = _GROUP.sub(lambda match: f"(?P<{_field(match[1], text)}>", expression)
    try:
        path = re.compile(renamed, re.ASCII)
    except re.error as error:
        msg = f"{text!r} is no regular expression: {error}"
        raise ConfigError(msg) from error
    _check_fields(set(path.groupindex), text)
    return NamePattern(root, path, (), frozenset(path.groupindex))


def _root_and_parts(text: str) -> tuple[str, list[str]]:
    """Return the folder in front of the first field, and the parts of the path below it."""
    special = _REGEX_SPECIAL if "(?P<" in text else _SPECIAL
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "", str(Path(text).expanduser()) if text.startswith("~") else text
    parts = rest.split("/")
    at = next((i for i, part in enumerate(parts) if special.search(part)), len(parts) - 1)
    root = "/".join(parts[:at])
    if separator:
        return f"{scheme}://{root}", parts[at:]
    if rest.startswith("/"):
        return root or "/", parts[at:]
    return str(Path(root or ".").absolute()), parts[at:]


def _expression(part: str, seen: set[str], text: str) -> str:
    """Return the regular expression of one part of a path; a field seen before is the same."""
    if part == "**":
        return "(?:.*)"
    made, end = [], 0
    for match in _PART.finditer(part):
        made.append(re.escape(part[end : match.start()]))
        end = match.end()
        if match["any"]:
            made.append("[^/]*")
        elif match["one"]:
            made.append("[^/]")
        else:
            field = _field(match["name"], text)
            made.append(
                f"(?P={field})"
                if field in seen
                else f"(?P<{field}>{_value(field, match, part[end : end + 1])})"
            )
            seen.add(field)
    rest = part[end:]
    if _SPECIAL.search(rest):
        msg = f"{text!r} has a brace without its partner, or a field that is not written {{name}}"
        raise ConfigError(msg)
    return "".join((*made, re.escape(rest)))


def _value(field: str, match: re.Match[str], then: str) -> str:
    if match["width"]:
        width = int(match["width"])
        return rf"[^/]{{{width}}}" if field in ("plate", "channel", "well") else rf"\d{{{width}}}"
    if field in ("plate", "channel") and then == "*":
        return r"(?:\d+|[^\W_]+)"  # a word: the rest may be anything
    return _MEANS.get(field, _WHOLE)


def _compiled(part: str, text: str) -> re.Pattern[str]:
    return re.compile(_expression(part, set(), text), re.ASCII)


def _field(name: str, text: str) -> str:
    field = _ALSO.get(name.lower(), name.lower())
    if field not in FIELDS:
        near = did_you_mean(name, FIELDS)
        msg = f"{text!r}: there is no field {name!r}; there are {', '.join(FIELDS)}{near}"
        raise ConfigError(msg)
    return field


def _check_fields(fields: set[str], text: str) -> None:
    if "well" not in fields and not {"row", "column"} <= fields:
        msg = f"{text!r} does not say which part is the well: {{well}}, or {{row}} and {{column}}"
        raise ConfigError(msg)
