"""Command-line options of the settings."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from idrstream.config import (
    ENVIRONMENT_PREFIX,
    SECTIONS,
    Option,
    absolute_path,
    all_options,
    options_in,
)


def as_path(text: str) -> Path:
    """Return a path of the command line, ``~`` at its start replaced by the home folder.

    The shell does not do that in ``--out=~/page.html``.
    """
    try:
        absolute_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text).expanduser()


def add_setting_options(parser: argparse.ArgumentParser) -> None:
    """Add one option per setting."""
    parser.epilog = (
        "Every option can also stand in its section of the TOML file or in the environment "
        f"(--batch-size: {ENVIRONMENT_PREFIX}BATCH_SIZE). Lists are comma-separated."
    )
    add_section_options(parser, *SECTIONS)


def add_section_options(
    parser: argparse.ArgumentParser, *sections: str, without: Collection[str] = ()
) -> None:
    """Add one option per setting of some sections, but for some by their flag."""
    for section in sections:
        group = parser.add_argument_group(f"[{section}]")
        for option in options_in(SECTIONS[section], section):
            if option.flag in without:
                continue
            # --force alone means --force true
            alone: dict[str, Any] = {"nargs": "?", "const": "true"} if option.kind is bool else {}
            group.add_argument(
                option.flag,
                dest=option.name,
                metavar="VALUE",
                default=None,
                help=_help(option),
                **alone,
            )


def given_options(namespace: argparse.Namespace) -> dict[str, str]:
    """Return the settings that were given on the command line."""
    known = all_options()
    return {k: v for k, v in vars(namespace).items() if k in known and v is not None}


def _help(option: Option) -> str:
    empty = option.default is dataclasses.MISSING or option.default in (None, "", ())
    text = option.help if empty else f"{option.help} [{option.default}]"
    return text.replace("%", "%%")
