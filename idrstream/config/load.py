"""Reads settings from a TOML file, the environment and the command line, and checks them."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from idrstream.config.options import Option, options_in
from idrstream.config.sections import SECTIONS, Settings, all_options
from idrstream.errors import ConfigError
from idrstream.text import did_you_mean

T = TypeVar("T")


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
        Options by name (``batch_size``), as text; they override everything else.

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
    """Return the checked settings of `raw`, overridden by environment and options.

    Errors name `origin` as the source of `raw`.
    """
    environment = os.environ if environment is None else environment
    for name, option in all_options().items():
        for value in (environment.get(option.variable), (options or {}).get(name)):
            if value is not None:
                raw.setdefault(option.section, {})[name] = value
    return checked(Settings, raw, origin)


def checked(kind: type[T], values: Mapping[str, Any], origin: str = "the options") -> T:
    """Return a section of the settings, or all of them, with every value checked.

    Parameters
    ----------
    kind : type
        `Settings` or one of its sections.
    values : Mapping
        Values by name; text is converted.
    origin : str
        Where they come from, for the message.

    Raises
    ------
    ConfigError
        Naming every wrong value, and for an unknown name the nearest known one.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc'])}: {_what_is_wrong(kind, item)}"
            for item in error.errors()
        ]
        msg = f"{origin} has wrong settings:\n  " + "\n  ".join(lines)
        raise ConfigError(msg) from error


def _what_is_wrong(kind: type[Any], item: Mapping[str, Any]) -> str:
    """Return what pydantic found, with the nearest right word for a wrong one."""
    if item["type"] == "unexpected_keyword_argument":
        return _unknown(kind, [str(part) for part in item["loc"]])
    if item["type"] == "missing":
        return "is missing: it has no default"
    near = ""
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        near = did_you_mean(item["input"], re.findall("'([^']*)'", item["ctx"]["expected"]))
    return f"{item['msg'].removeprefix('Value error, ')}{near}"


def _unknown(kind: type[Any], location: list[str]) -> str:
    in_file = len(location) > 1
    section = SECTIONS[location[0]] if in_file else kind
    name = location[-1]
    near = did_you_mean(name, [option.name for option in options_in(section)])
    elsewhere = all_options().get(name) if in_file else None
    if elsewhere is not None:
        return f"belongs into the section [{elsewhere.section}]"
    return f"no such option{near}"


def _no_section(path: Path, name: str, content: Any) -> ConfigError:
    """Return the error of a name at the top of a file that is no section."""
    if isinstance(content, dict):
        near = did_you_mean(name, SECTIONS)
        known = "" if near else f"; known: {', '.join(SECTIONS)}"
        return ConfigError(f"{path}: unknown section [{name}]{near}{known}")
    known_option = all_options().get(name)
    if known_option is not None:
        what = f"move it below the line [{known_option.section}]"
    else:
        near = did_you_mean(name, all_options())
        what = near.removeprefix("; ") or f"the sections are {', '.join(SECTIONS)}"
    return ConfigError(f"{path}: {name} stands outside of a section, above the first one: {what}")


def _read_toml(path: Path) -> dict[str, dict[str, Any]]:
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        msg = f"there is no configuration file {path}; idrstream settings writes one"
        raise ConfigError(msg) from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a folder, not a TOML file with settings") from error
    except (OSError, ValueError, RecursionError) as error:
        # tomllib's own errors are ValueErrors, as those of wrong text and endless numbers
        msg = f"{path} is not a TOML file: {error}"
        raise ConfigError(msg) from error
    for section, content in raw.items():
        if section not in SECTIONS:
            raise _no_section(path, section, content)
        if not isinstance(content, dict):
            msg = f"{path}: {section} must be a section, [{section}]"
            raise ConfigError(msg)
        for option in options_in(SECTIONS[section], section):
            if option.path is not None and option.name in content:
                content[option.name] = _beside(path, option, content[option.name])
    return raw


def _beside(path: Path, option: Option, value: Any) -> Any:
    """Return a path of a TOML file relative to the folder of the file."""
    try:
        return option.path.resolved(value, path.absolute().parent) if option.path else value
    except ValueError as error:
        msg = f"{path}: {option.section}.{option.name}: {error}"
        raise ConfigError(msg) from error
