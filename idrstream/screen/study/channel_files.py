"""The files of an image whose channels are in files of their own, by the names of the channels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from idrstream.errors import ConfigError
from idrstream.screen.channels import channel_at
from idrstream.screen.study.pattern import PatternFile, expand_pattern, literals_of
from idrstream.text import shorten_list

_SHOWN = 12
# How Bio-Formats knows an axis by the letters in front of a block.
_AXES = {
    "C": ("c", "ch", "w", "wavelength", "channel"),
    "Z": ("z", "zs", "sec", "fp", "focal", "focalplane"),
    "T": ("t", "tl", "tp", "time"),
    "S": ("s", "se", "series", "sp"),
}
_LETTERS = re.compile(r"([A-Za-z]*)[\W_\d]*$")


@dataclass(frozen=True, slots=True)
class ChannelFile:
    """A channel of an image, and the file it is in.

    Attributes
    ----------
    name : str
        Name of the channel; without one, what distinguishes its file's name.
    path : str
        The file.
    value : str
        What distinguishes its file's name.
    named : bool
        Whether the study names the channel.
    planes : int
        Planes of a time point where `path` is the pattern of several files; else 0.
    """

    name: str
    path: str
    value: str = ""
    named: bool = True
    planes: int = 0


@dataclass(frozen=True, slots=True)
class WantedChannel:
    """A channel that somebody wants: its new name, and by what it is found.

    Attributes
    ----------
    name : str
        What it is called in the table.
    key : str
        Its name in the study, the value of its pattern's block, or its position from 0.
    """

    name: str
    key: str


def wanted_channels(texts: str | Iterable[str]) -> tuple[WantedChannel, ...]:
    """Return channels written as ``DNA=Hoechst`` or ``Hoechst``.

    Raises
    ------
    ConfigError
        If one has no name or comes twice.
    """
    wanted: list[WantedChannel] = []
    for text in [texts] if isinstance(texts, str) else texts:
        name, equals, key = text.partition("=")
        channel = WantedChannel(name.strip(), (key if equals else name).strip())
        if not channel.name or not channel.key:
            msg = f"channel {text!r}: expected NAME or NAME=CHANNEL, such as DNA=Hoechst"
            raise ConfigError(msg)
        if channel.name in [other.name for other in wanted]:
            msg = f"channel {text!r}: the name {channel.name} comes twice"
            raise ConfigError(msg)
        wanted.append(channel)
    return tuple(wanted)


def channel_files(pattern: str, names: Sequence[str] = (), axes: str = "") -> list[ChannelFile]:
    """Return the channels of an image whose files have a common pattern.

    Parameters
    ----------
    pattern : str
        For example ``r02c03_<dapi,gfp>.tif``.
    names : sequence of str
        ``ChannelNames`` of a ``.screen`` file: they name the values in their order.
    axes : str
        ``AxisTypes`` of a ``.screen`` file: what each block is, for example ``CZ``.

    Returns
    -------
    list of ChannelFile
        One without a name for a pattern of a single file.

    Raises
    ------
    ValueError
        If it is not a pattern, there are more or fewer names than values, or the files differ
        in something else than the channel.
    """
    files = expand_pattern(pattern)
    at = _several(files)
    if not at:
        return [ChannelFile("", files[0].path)]
    if len(at) > 1 or _axis(pattern, at[0], files, axes) != "C":
        what = ", ".join(_axis(pattern, block, files, axes) or "?" for block in at)
        msg = (
            f"{pattern!r} stands for {len(files)} files that differ in more than the channel "
            f"(its blocks are {what}); choose one by pattern_values (here {_values(files)})"
        )
        raise ValueError(msg)
    values = [file.blocks[at[0]] for file in files]
    if names and len(names) != len(values):
        msg = f"{pattern!r} has {len(values)} channels, but ChannelNames are {', '.join(names)}"
        raise ValueError(msg)
    return [
        ChannelFile(name or value.strip(), file.path, value.strip(), bool(name))
        for name, value, file in zip(names or [""] * len(values), values, files, strict=True)
    ]


def file_of_values(pattern: str, values: Sequence[str]) -> ChannelFile:
    """Return the one file of a pattern whose blocks have these values, in any case.

    Raises
    ------
    ValueError
        If there is none; says which there are.
    """
    files = expand_pattern(pattern)
    folded = _folded(values)
    for file in files:
        if len(files) == 1 or _folded(file.blocks) == folded:
            return ChannelFile("", file.path)
    msg = (
        f"{pattern!r} stands for {len(files)} files; choose one by pattern_values "
        f"(here {_values(files)})"
    )
    raise ValueError(msg)


def choose_channels(
    found: Sequence[ChannelFile], wanted: Sequence[WantedChannel]
) -> list[ChannelFile]:
    """Return the wanted channels under their new names; all of them if none is wanted.

    Raises
    ------
    ValueError
        If there is no such channel; says which there are.
    """
    if not wanted:
        return list(found)
    return [replace(_find(found, one), name=one.name, named=True) for one in wanted]


def by_position(found: Sequence[ChannelFile]) -> list[ChannelFile]:
    """Return channels without names called by their position: ``C0``, ``C1``."""
    return [
        file if file.named else replace(file, name=f"C{number}")
        for number, file in enumerate(found)
    ]


def _find(found: Sequence[ChannelFile], wanted: WantedChannel) -> ChannelFile:
    names = [file.name for file in found]
    at = channel_at(names, wanted.key, [file.value for file in found])
    if at is None:
        msg = f"there is no channel {wanted.key!r}; there are {shorten_list(names, _SHOWN)}"
        raise ValueError(msg)
    return found[at]


def _folded(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(value.strip().casefold() for value in values)


def _several(files: Sequence[PatternFile]) -> list[int]:
    """Return the blocks that have more than one value."""
    columns = zip(*(file.blocks for file in files), strict=True)
    return [i for i, values in enumerate(columns) if len(set(values)) > 1]


def _axis(pattern: str, block: int, files: Sequence[PatternFile], axes: str) -> str:
    """Return what a block stands for: C, Z, T or S; by its values if nothing else says it."""
    if len(axes) == len(files[0].blocks):
        return axes[block].upper()
    match = _LETTERS.search(literals_of(pattern)[block])
    letters = match[1].casefold() if match else ""
    for axis, words in _AXES.items():
        if letters in words:
            return axis
    return "C"  # only the channel is left when nothing says that it is a plane or a time


def _values(files: Sequence[PatternFile]) -> str:
    return shorten_list((" ".join(map(repr, file.blocks)) for file in files), 6)
