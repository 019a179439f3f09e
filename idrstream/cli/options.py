"""Command-line options of the settings."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Collection
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from idrstream.cli.parser import Parser
from idrstream.config import (
    ENVIRONMENT_PREFIX,
    SECTIONS,
    Option,
    absolute_path,
    all_options,
    options_in,
)

_KINDS = {bool: "true|false", int: "N", float: "X", Path: "PATH"}
# What --help shows, in few words; --help-all has every option in all its words.
_COMMON = {
    "table and folders": {
        "table": "the images to process, tab- or comma-separated",
        "final_data_dir": "output folder",
        "tmp_dir": "folder for intermediate files",
    },
    "images": {
        "method": "https, ftp, s3, aspera, local, omezarr; auto: root if given, else IDR",
        "root": "local: folder that Path in the table is under",
        "reader": "auto (TIFF and CellH5), cellh5, tiff, imagej or bioformats",
        "image_channels": "such as DNA=0,ER=2; by default one",
    },
    "nuclei and cells": {
        "segment_channel": "which has nuclei; by default the first",
        "model_type": "name or file",
        "diameter": "of a nucleus in px; plate: estimated once for each; 0: for each frame",
        "cells": "how cells are found around the nuclei",
    },
    "features": {"engine": "or deepprofiler, classical, model"},
    "work": {
        "batch_size": "images per batch",
        "batch_nums": "batches to run, such as 3-17",
        "disk_budget": "most space under tmp_dir, such as 20GB",
        "cores": "by default all, if there is no GPU",
    },
}


def as_path(text: str) -> Path:
    """Return a path of the command line, ``~`` at its start replaced by the home folder.

    The shell does not do that in ``--out=~/page.html``.
    """
    try:
        absolute_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(text).expanduser()


def as_folder(text: str) -> Path:
    """Return a path of the command line that is a folder, or that there is not yet."""
    path = as_path(text)
    if path.is_file():
        raise argparse.ArgumentTypeError(f"{path} is a file; name a folder")
    return path


def as_file(text: str) -> Path:
    """Return a path of the command line that is a file, or that there is not yet."""
    path = as_path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder; name a file")
    return path


def add_setting_options(parser: Parser, operand: str = "CONFIG.toml") -> None:
    """Add one option per setting; ``--help`` shows those that people use, in groups."""
    parser.usage = f"%(prog)s {operand} [options]"
    parser.epilog = (
        "Every option can also stand in its section of the TOML file or in the environment "
        f"(--batch-size: {ENVIRONMENT_PREFIX}BATCH_SIZE). Lists are comma-separated."
    )
    known = all_options()
    for title, names in _COMMON.items():
        group = parser.add_argument_group(title)
        for name, text in names.items():
            _add(group, known[name], _help(known[name], "" if parser.everything else text))
    common = {known[name].flag for names in _COMMON.values() for name in names}
    add_section_options(parser, *SECTIONS, without=common)


def add_section_options(
    parser: Parser, *sections: str, without: Collection[str] = (), shown: Collection[str] = ()
) -> None:
    """Add one option per setting of some sections, but for some by their flag.

    ``--help-all`` shows them; ``--help`` only those `shown`, by their names.
    """
    for section in sections:
        group = parser.add_argument_group(f"[{section}]")
        for option in options_in(SECTIONS[section], section):
            if option.flag not in without:
                text = _help(option)
                _add(group, option, text if option.name in shown else parser.rare(text))


def _add(group: argparse._ArgumentGroup, option: Option, text: str) -> None:
    # --force alone means --force true
    alone: dict[str, Any] = {"nargs": "?", "const": "true"} if option.kind is bool else {}
    group.add_argument(
        option.flag, dest=option.name, metavar=_value(option), default=None, help=text, **alone
    )


def given_options(namespace: argparse.Namespace) -> dict[str, str]:
    """Return the settings that were given on the command line."""
    known = all_options()
    return {k: v for k, v in vars(namespace).items() if k in known and v is not None}


def _help(option: Option, words: str = "") -> str:
    empty = option.default is dataclasses.MISSING or option.default in (None, "", ())
    value = option.default
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    elif isinstance(value, bool):
        value = str(value).lower()
    words = words or option.help
    text = words if empty else f"{words} [{value}]"
    return text.replace("%", "%%")


def _value(option: Option) -> str:
    """Return what stands for the value of an option: its choices, or its kind."""
    kind = option.kind
    parts = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    parts = tuple(get_args(part)[0] if get_origin(part) is Annotated else part for part in parts)
    words = [str(word) for part in parts if get_origin(part) is Literal for word in get_args(part)]
    if any(get_origin(part) is tuple for part in parts):
        words.append("LIST")
    elif str in parts:
        words.append("TEXT")
    else:
        words += [name for plain, name in _KINDS.items() if plain in parts]
    return "|".join(words)
