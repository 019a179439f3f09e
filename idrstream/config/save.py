"""Writes single settings into a TOML file that a person wrote, and leaves the rest as it is."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from idrstream.config.load import load_settings
from idrstream.config.sections import Settings, all_options
from idrstream.errors import ConfigError, StorageError


def save_options(path: Path, settings: Settings, names: Iterable[str]) -> list[str]:
    """Write settings into a TOML file; its other lines and comments stay.

    Parameters
    ----------
    path : Path
        A file of settings.
    settings : Settings
        Has the values.
    names : iterable of str
        Names of the settings.

    Returns
    -------
    list of str
        What was written, as ``segment.diameter = 30.0``.

    Raises
    ------
    ConfigError
        If the file cannot be read, or a value cannot be written into it; nothing is written then.
    StorageError
        If the file cannot be written.
    """
    from idrstream.files import atomic_file

    load_settings(path, environment={})  # what is wrong in it already is said here
    text = path.read_text(encoding="utf-8-sig")
    said = []
    for name in names:
        option = all_options()[name]
        value = getattr(getattr(settings, option.section), name)
        line = f"{name} = {toml_literal(option.section, name, value)}"
        expected = tomllib.loads(text)
        expected.setdefault(option.section, {})[name] = tomllib.loads(line)[name]
        text = _with_line(text, option.section, name, line)
        try:
            good = tomllib.loads(text) == expected
        except tomllib.TOMLDecodeError:
            good = False
        if not good:
            msg = f"{path}: write {line} in [{option.section}] yourself: its lines are unusual"
            raise ConfigError(msg)
        said.append(f"{option.section}.{line}")
    try:
        with atomic_file(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    return said


def _with_line(text: str, section: str, name: str, line: str) -> str:
    """Return the text with a line of a section replaced or added."""
    lines = text.splitlines(keepends=True)
    header = re.compile(rf"\s*\[\s*{section}\s*\]\s*(#.*)?$")
    begin = next((at for at, one in enumerate(lines) if header.match(one)), None)
    if begin is None:
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        return f"{text}{gap}[{section}]\n{line}\n"
    end = next(
        (at for at in range(begin + 1, len(lines)) if lines[at].lstrip().startswith("[")),
        len(lines),
    )
    key = re.compile(rf"""\s*{name}\s*=[^#"']*(?P<comment>#.*)?""")
    for at in range(begin + 1, end):
        if re.match(rf"\s*{name}\s*=", lines[at]):
            found = key.fullmatch(lines[at].rstrip())
            comment = f"  {found['comment']}" if found and found["comment"] else ""
            lines[at] = f"{line}{comment}\n"
            return "".join(lines)
    lines[begin] = lines[begin].rstrip("\n") + f"\n{line}\n"
    return "".join(lines)


def toml_literal(section: str, name: str, value: Any) -> str:
    """Return a value as TOML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, Path)):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, tuple):
        return f"[{', '.join(toml_literal(section, name, one) for one in value)}]"
    msg = f"{section}.{name} = {value} cannot be written into a TOML file: delete it there"
    raise ConfigError(msg)
