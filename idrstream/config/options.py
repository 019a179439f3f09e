"""What an option is: its type, help text and scope, read off its section."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from enum import Enum
from typing import Any, get_type_hints

from pydantic import ValidationInfo
from typing_extensions import Doc

from idrstream.config.paths import PathText
from idrstream.text import parse_size

ENVIRONMENT_PREFIX = "IDRSTREAM_"
"""What the name of an option has before it in the environment."""

_DIGITS = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
_DISTANCE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?) ?(px|um|µm|μm)")
_MOST_BATCHES = 1_000_000

STRICT = {"extra": "forbid", "str_strip_whitespace": True}
"""Configuration of every section: unknown options are errors."""


class Scope(Enum):
    """Who else uses an option that was given for one run.

    ``SETTING``: a resumed and a reproduced stream take it over. ``RESULT``: the same, and a change
    of it changes results: an output folder is continued only with the same value. ``PLAN``: it
    belongs to the plan of the output folder, where a resumed stream finds it. ``LOCAL``: it
    belongs to this machine or terminal; a resumed stream takes it over, a reproduced one does not.
    ``CALL``: it counts for one call only.
    """

    SETTING = "setting"
    RESULT = "result"
    PLAN = "plan"
    LOCAL = "local"
    CALL = "call"


class Power(Enum):
    """What an option lets its value do on this machine.

    A journal or provenance may come from somebody else: such an option is taken from it only when
    this user wrote it here, or accepts it.
    """

    RUNS = "is executed"
    KEY = "is used as a key"
    WRITES = "is written to"


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """An option as its section declares it.

    Attributes
    ----------
    name : str
        Its keyword argument, and its key in the TOML file.
    section : str
        Its section in the TOML file.
    kind : Any
        Its type, without annotations.
    default : Any
        Its default; `dataclasses.MISSING` if it must be given.
    help : str
        What it means.
    scope : Scope
        Who else uses it.
    path : PathText or None
        How its paths are made absolute, if it is or may be a path.
    power : Power or None
        What it lets its value do on this machine.
    """

    name: str
    section: str
    kind: Any
    default: Any
    help: str
    scope: Scope
    path: PathText | None
    power: Power | None = None

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"{ENVIRONMENT_PREFIX}{self.name.upper()}"

    @property
    def flag(self) -> str:
        """Its command-line option."""
        return f"--{self.name.replace('_', '-')}"


def options_in(section: type[Any], name: str = "") -> tuple[Option, ...]:
    """Return the options of a section, in the order of its declaration.

    Parameters
    ----------
    section : type
        A dataclass whose fields are annotated with `Doc`.
    name : str
        Its name in the TOML file.
    """
    hints = get_type_hints(section, include_extras=True)
    return tuple(
        Option(
            item.name,
            name,
            hints[item.name].__origin__,
            item.default,
            _marker(hints[item.name], Doc).documentation,
            _marker(hints[item.name], Scope, Scope.SETTING),
            _marker(hints[item.name], PathText),
            _marker(hints[item.name], Power),
        )
        for item in dataclasses.fields(section)
    )


def described_options(section: Any) -> dict[str, Any]:
    """Return the values of a section that change a result, ready for JSON."""
    return {
        option.name: list(value) if isinstance(value, tuple) else value
        for option in options_in(type(section))
        if option.scope is Scope.RESULT
        for value in (getattr(section, option.name),)
    }


def _marker(hint: Any, kind: type[Any], default: Any = None) -> Any:
    return next((item for item in hint.__metadata__ if isinstance(item, kind)), default)


def as_tuple(value: Any) -> Any:
    """Return a list of values as a tuple; text is split at its commas."""
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    if isinstance(value, Iterable):
        return tuple(value)
    return value


def as_lines(value: Any) -> Any:
    """Return lines of text as a tuple; commas stay."""
    return tuple(line for line in value.splitlines() if line) if isinstance(value, str) else value


def named_channels(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return channels as ``NAME=KEY``, once names and keys are known to be unique.

    A key is a number, written without zeros in front, or the name of a channel.
    """
    pairs = []
    for position, value in enumerate(values):
        name, equals, key = (part.strip() for part in value.partition("="))
        if set(name) & set("/\\\0") or not name or (equals and not key):
            msg = f"{value!r} is not NAME, NAME=NUMBER or NAME=CHANNEL"
            raise ValueError(msg)
        key = key or str(position)
        pairs.append((name, str(int(key)) if _DIGITS.fullmatch(key) else key))
    names, keys = zip(*pairs, strict=True) if pairs else ((), ())
    if len(set(names)) < len(names) or len(set(keys)) < len(keys):
        msg = "a name or a channel is there more than once"
        raise ValueError(msg)
    return tuple(f"{name}={key}" for name, key in pairs)


def as_batch_numbers(value: Any) -> Any:
    """Return batch numbers as a tuple, ranges such as ``3-17`` written out."""
    if value == "all":
        return value
    numbers: list[Any] = []
    for item in as_tuple(value) if isinstance(value, Iterable) else (value,):
        found = _RANGE.fullmatch(str(item))
        first, last = (int(found[1]), int(found[2])) if found else (0, -1)
        if first <= last < first + _MOST_BATCHES:
            numbers += range(first, last + 1)
        else:
            numbers.append(item)
    return tuple(numbers)


def as_number(value: Any) -> Any:
    """Return a text of digits, as it comes from a command line, as a number."""
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value.strip()) else value


def valid_size(value: str | int | None, info: ValidationInfo) -> str | int | None:
    """Return a size such as ``20GB`` as it is, once it is known to be one."""
    parse_size(value, info.field_name or "size")
    return value


def valid_size_or_zero(value: str | int | None, info: ValidationInfo) -> str | int | None:
    """Return a size such as ``50MB``, or 0, as it is, once it is known to be one."""
    return value if value in (0, "0") else valid_size(value, info)


def valid_distance(value: str) -> str:
    """Return a distance such as ``10px`` or ``3.2um``, or nothing, as it is."""
    if value:
        parse_distance(value, 1.0)
    return value


def parse_distance(value: str, pixel_size_um: float) -> float:
    """Return a distance such as ``10px`` or ``3.2um`` in pixels.

    Raises
    ------
    ValueError
        If it is none, or micrometres and the size of a pixel is not known.
    """
    found = _DISTANCE.fullmatch(value.strip())
    if found is None or not float(found[1]):
        msg = f"{value!r} is not a distance such as 10px or 3.2um"
        raise ValueError(msg)
    if found[2] == "px":
        return float(found[1])
    if not pixel_size_um:
        msg = f"{value} can be taken as pixels only with pixel_size_um, the side of a pixel"
        raise ValueError(msg)
    return float(found[1]) / pixel_size_um
