"""Reads settings from a TOML file, the environment and the command line, and checks them."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from idrstream.config.sections import SECTIONS, Settings, section_of
from idrstream.errors import ConfigError

ENVIRONMENT_PREFIX = "IDRSTREAM_"
"""What the name of an option has before it in the environment."""

T = TypeVar("T")

_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")
_MOST_BATCHES = 1_000_000
_LISTS = frozenset({"batch_nums", "chain", "channels", "extra_metadata", "omezarr_roots"})


def load_settings(
    path: Path | None,
    *,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> Settings:
    """Read and check the settings of a stream.

    Parameters
    ----------
    path : Path or None
        A TOML file with the sections of `Settings`; relative paths in it are relative to its
        folder.
    environment : Mapping[str, str], optional
        Environment variables, by default those of the process.
    options : Mapping[str, str], optional
        Options by name (``batch_size``), as text; they win over everything else.

    Returns
    -------
    Settings
        Typed and frozen.

    Raises
    ------
    ConfigError
        Naming the file, section and key of every wrong value.
    """
    raw = _read_toml(path) if path is not None else {}
    return layered(raw, environment, options, str(path) if path else "the options")


def layered(
    raw: dict[str, dict[str, Any]],
    environment: Mapping[str, str] | None,
    options: Mapping[str, str] | None,
    origin: str,
) -> Settings:
    """Return what `raw` says by section, with environment and options on top, checked.

    Errors name `origin` as the place that `raw` comes from.
    """
    sections = section_of()
    for name, value in (environment if environment is not None else os.environ).items():
        option = name.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name.startswith(ENVIRONMENT_PREFIX) and option in sections:
            raw.setdefault(sections[option], {})[option] = _from_text(option, value)
    for option, value in (options or {}).items():
        raw.setdefault(sections[option], {})[option] = _from_text(option, value)
    return checked(Settings, raw, origin)


def _read_toml(path: Path) -> dict[str, dict[str, Any]]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        msg = f"there is no configuration file {path}"
        raise ConfigError(msg) from error
    except (OSError, ValueError, RecursionError) as error:
        # tomllib's own errors are ValueErrors, as those of wrong text and endless numbers
        msg = f"{path} is not a TOML file: {error}"
        raise ConfigError(msg) from error
    for section, content in raw.items():
        if section not in SECTIONS:
            msg = f"{path}: unknown section [{section}]; there are {', '.join(SECTIONS)}"
            raise ConfigError(msg)
        if not isinstance(content, dict):
            msg = f"{path}: {section} must be a section, [{section}]"
            raise ConfigError(msg)
        for option in _path_options(section) & content.keys():
            if isinstance(content[option], str) and content[option]:
                content[option] = str(path.parent / Path(content[option]).expanduser())
    return raw


def _path_options(section: str) -> set[str]:
    return {item.name for item in dataclasses.fields(SECTIONS[section]) if "Path" in str(item.type)}


def _from_text(option: str, value: str) -> Any:
    """Split the options that are lists; everything else is converted by the validation."""
    if option in _LISTS and value != "all":
        parts = [part.strip() for part in value.split(",") if part.strip()]
        return _with_ranges(parts) if option == "batch_nums" else parts
    return value


def _with_ranges(parts: list[str]) -> list[str | int]:
    """Write ranges of batches (``3-17``) out; what is none is left for the validation."""
    numbers: list[str | int] = []
    for part in parts:
        found = _RANGE.fullmatch(part)
        first, last = (int(found[1]), int(found[2])) if found else (0, -1)
        if first <= last < first + _MOST_BATCHES:
            numbers += range(first, last + 1)
        else:
            numbers.append(part)
    return numbers


def checked(kind: type[T], values: Mapping[str, Any], origin: str = "the options") -> T:
    """Return an options object made of `values`.

    Parameters
    ----------
    kind : type
        A section of the settings, or `Settings`.
    values : Mapping[str, Any]
        Options by name.
    origin : str
        Where the values come from, for the message.

    Raises
    ------
    ConfigError
        Naming every wrong option.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors()
        ]
        msg = f"{origin} has wrong settings:\n  " + "\n  ".join(lines)
        raise ConfigError(msg) from error
