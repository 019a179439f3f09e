"""File patterns as Bio-Formats' ``.pattern`` files have them, expanded to file names.

``red_<001-010:3>_<dapi,gfp>.tif`` stands for all combinations of its blocks. A block is a literal
value, a list of values, or a range of whole numbers or of letters and digits with an optional
step; leading zeros and blanks count, as in Bio-Formats' own ``FilePattern``. See "Grouping files
using a pattern file" in Bio-Formats' documentation. A pattern without blocks may also be a regular
expression; those are refused, because only a list of the folder's files could resolve them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np

MAX_FILES = 100_000
"""Largest number of files that a pattern may stand for."""

_BLOCK = re.compile(r"<([^<>]*)>")
_RANGE = re.compile(r"([A-Za-z\d]{1,12})-([A-Za-z\d]{1,12})(?::(\d{1,9}))?", flags=re.ASCII)
_REGEX_SIGNS = re.compile(r"[\\*+?\[\](){}|^$]")


@dataclass(frozen=True, slots=True)
class PatternFile:
    """One file that a pattern stands for.

    Attributes
    ----------
    path : str
        The pattern with a value for each block.
    blocks : tuple of str
        Those values, in the order of the blocks.
    """

    path: str
    blocks: tuple[str, ...]


def expand_pattern(pattern: str) -> list[PatternFile]:
    """Return the files that a pattern with ``<>`` blocks stands for.

    Parameters
    ----------
    pattern : str
        The text of a ``.pattern`` file; may have folders in front.

    Returns
    -------
    list of PatternFile
        The last block varies fastest. A pattern without blocks is one file.

    Raises
    ------
    ValueError
        If it is not a pattern, a range is inverted, it is a regular expression, or it stands for
        more than `MAX_FILES` files.
    """
    text = pattern.strip()
    if not text or "\n" in text or "\r" in text:
        msg = "a pattern is one line of text"
        raise ValueError(msg)
    literals = literals_of(text)
    if any("<" in part or ">" in part for part in literals):
        msg = f"{text!r} has an angle bracket without its partner"
        raise ValueError(msg)
    if len(literals) == 1:
        if is_regular_expression(text):
            msg = (
                f"{text!r} is a regular expression, which only a list of the folder's files can "
                "resolve: write the names with blocks instead, as in red_<1-3>_<dapi,gfp>.tif"
            )
            raise ValueError(msg)
        return [PatternFile(text, ())]
    blocks = [_block(block) for block in _BLOCK.findall(text)]
    count = prod(len(block) for block in blocks)
    if count > MAX_FILES:
        msg = f"{text!r} stands for {count:,} files, more than {MAX_FILES:,}"
        raise ValueError(msg)
    return [PatternFile(_fill(literals, values), values) for values in product(*blocks)]


def literals_of(pattern: str) -> list[str]:
    """Return what stands around the blocks of a pattern: one text more than there are blocks."""
    return _BLOCK.split(pattern.strip())[::2]


def is_regular_expression(pattern: str) -> bool:
    """Return whether a pattern without blocks is more than a file's name."""
    name = pattern.rsplit("/", 1)[-1]
    return "<" not in name and _REGEX_SIGNS.search(name) is not None


def _fill(literals: list[str], values: tuple[str, ...]) -> str:
    parts = [literals[0]]
    for value, literal in zip(values, literals[1:], strict=True):
        parts += [value, literal]
    return "".join(parts)


def _block(text: str) -> list[str]:
    """Return the values of a block: those of a list as they stand, blanks included."""
    if "," in text:
        values = text.split(",")
        if len(values) > MAX_FILES:
            msg = f"<{text[:80]}> has more than {MAX_FILES:,} values"
            raise ValueError(msg)
        return values
    match = _RANGE.fullmatch(text)
    return [text] if match is None else _range(text, match[1], match[2], int(match[3] or 1))


def _range(text: str, first: str, last: str, step: int) -> list[str]:
    """Return the values of a range; with a letter in it, both ends count in base 36."""
    if step < 1:
        msg = f"<{text}> has the step 0"
        raise ValueError(msg)
    base = 10 if first.isdigit() and last.isdigit() else 36
    start, stop = int(first, base), int(last, base)
    if stop < start:
        if base == 36 and max(len(first), len(last)) > 1:
            return [text]  # a name with a dash, as in <DAPI-2>
        msg = f"<{text}> is an inverted range"
        raise ValueError(msg)
    if (stop - start) // step >= MAX_FILES:
        msg = f"<{text}> has more than {MAX_FILES:,} values"
        raise ValueError(msg)
    width = len(first) if len(first) == len(last) else 0
    numbers = range(start, stop + 1, step)
    if base == 10:
        return [f"{number:0{width}d}" for number in numbers]
    values = [np.base_repr(number, 36).zfill(width) for number in numbers]
    lower = first.islower()
    return [value.lower() if lower else value for value in values]
