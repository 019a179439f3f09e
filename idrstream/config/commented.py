"""A new TOML file of settings with a comment for each, as a person would write it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from idrstream.config.save import toml_literal
from idrstream.config.sections import all_options

_COLUMN = 44


class SettingLine(NamedTuple):
    """A setting and what to know of it.

    Attributes
    ----------
    name : str
        The option.
    value : object
        Its value.
    comment : str
        A few words; may be empty.
    used : bool
        Whether it is set; otherwise the line is a comment, to be used by deleting its ``#``.
    """

    name: str
    value: Any
    comment: str = ""
    used: bool = True


def commented_toml(head: str, lines: Sequence[SettingLine]) -> str:
    """Return settings as the text of a TOML file, section by section.

    Parameters
    ----------
    head : str
        Lines above the first section, without ``#``.
    lines : sequence of SettingLine
        In the order in which they stand within their sections.
    """
    known = all_options()
    sections: dict[str, list[str]] = {}
    for line in lines:
        section = known[line.name].section
        text = f"{line.name} = {toml_literal(section, line.name, line.value)}"
        text = text if line.used else f"# {text}"
        if line.comment:
            text = f"{text:{_COLUMN}} # {line.comment}"
        sections.setdefault(section, []).append(text)
    parts = ["".join(f"# {line}\n" for line in head.splitlines())]
    parts += [f"[{name}]\n" + "\n".join(texts) + "\n" for name, texts in sections.items()]
    return "\n".join(parts)
