"""The rows of a plate whose images an index, or the names of its files, tell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from idrstream.errors import ConfigError, TableError
from idrstream.screen.indexes.records import ImageFile, PlateIndex
from idrstream.screen.study.channel_files import ChannelFile, choose_channels
from idrstream.screen.study.field_rows import Choice, FieldRow
from idrstream.screen.wells import well_name
from idrstream.text import counted, shorten_list

_BLOCK_SIGNS = frozenset("<>,")


def rows_of_index(
    plate: str, index: PlateIndex, folder: str, choice: Choice, where: str
) -> tuple[list[FieldRow], list[str]]:
    """Return a row for each field of a plate, and what is worth knowing.

    Parameters
    ----------
    plate : str
        The plate.
    index : PlateIndex
        Its images.
    folder : str
        What stands in front of their paths; ends with a slash.
    choice : Choice
        The wanted channels and plane.
    where : str
        What was read, for messages.

    Raises
    ------
    TableError, ConfigError
        If no field has a wanted channel or plane; a field that lacks one is left out.
    """
    _check_plane(index, choice)
    rows: list[FieldRow] = []
    lacking: list[str] = []
    for (row, column, field), group in groupby(index.files, key=lambda file: file[:3]):
        whole = FieldRow(plate, (row, column), index.columns, field, "", "file")
        files = _chosen(list(group), choice)
        has_all = len({file.channel for file in files}) == len(index.channels)
        if has_all and len({file.path for file in files}) == 1:
            named = index.channels if _are_named(index.channels) else ()
            pages, planes = _pages(files, index)
            path = folder + files[0].path
            rows.append(whole._replace(path=path, channels=named, pages=pages, planes=planes))
            continue
        try:
            found = choose_channels(_channels(files, index, folder), choice.channels)
        except ValueError as error:
            _check_channels(index, choice, where)
            lacking.append(f"{_name(row, column, field)} ({error})")
            continue
        stacks = {file.planes for file in found} - {0}
        if not found or len(stacks) > 1:
            lacking.append(_name(row, column, field))
            continue
        planes = max(stacks, default=0)
        whole = whole._replace(source="index", channels=index.channels, planes=planes)
        one = len(found) == 1 and 1 in (len(index.channels), len(choice.channels))
        rows.append(
            whole._replace(path=found[0].path) if one else whole._replace(files=tuple(found))
        )
    notes = list(index.notes)
    if lacking:
        left_out = counted(len(lacking), "field")
        why = "left out, for lack of a channel, plane or time"
        notes.append(f"{left_out} {why}: {shorten_list(lacking, 3)}")
    return rows, notes


def _check_plane(index: PlateIndex, choice: Choice) -> None:
    planes = 1 + max(file.z for file in index.files)
    if choice.plane is not None and choice.plane > planes:
        there = counted(planes, "plane")
        msg = f"plane is {choice.plane}; {index.files[0].path} is of a plate with {there}"
        raise ConfigError(msg)


def _check_channels(index: PlateIndex, choice: Choice, where: str) -> None:
    try:
        choose_channels([ChannelFile(name, "") for name in index.channels], choice.channels)
    except ValueError as error:
        raise TableError(f"{where}: {error}") from error


def _name(row: int, column: int, field: int) -> str:
    return f"{well_name(row * 100 + column + 1, columns=100, rows=100)} field {field}"


def _are_named(channels: Sequence[str]) -> bool:
    return any(name != f"C{at}" for at, name in enumerate(channels))


def _pages(files: Sequence[ImageFile], index: PlateIndex) -> tuple[str, int]:
    """Return which pages of its one file a field has, as the column Pages says it, and its planes.

    A file with one image needs none, nor one that lacks some.
    """
    channels, planes, times = (len({file[axis] for file in files}) for axis in (3, 4, 5))
    if len(files) == 1 or channels != len(index.channels):
        return "", 0
    if channels * planes * times != len(files):
        return "", 0
    groups = groupby(files, key=lambda file: file.channel)
    return ";".join(",".join(str(file.page) for file in group) for _, group in groups), planes


def _channels(files: Sequence[ImageFile], index: PlateIndex, folder: str) -> list[ChannelFile]:
    """Return the file of each channel of a field, or the pattern of its planes and times.

    A channel that lacks some of them is left out.
    """
    found = []
    for channel, group in groupby(files, key=lambda file: file.channel):
        of_channel = list(group)
        paths = list(dict.fromkeys(file.path for file in of_channel))
        planes = 0
        if len(paths) > 1:
            times = len({file.time for file in of_channel})
            planes = len({file.z for file in of_channel})
            if planes * times != len(paths):
                continue
        name = index.channels[channel]
        found.append(ChannelFile(name, folder + joined_paths(paths), planes=planes))
    return found


def _chosen(files: Sequence[ImageFile], choice: Choice) -> list[ImageFile]:
    """Return the wanted plane of a field, sorted by channel, time and plane."""
    return sorted(
        (file for file in files if choice.plane is None or file.z == choice.plane - 1),
        key=lambda file: (file.channel, file.time, file.z),
    )


def joined_paths(paths: Sequence[str]) -> str:
    """Return the pattern that stands for paths, in their order; a path itself if it is one.

    Raises
    ------
    ValueError
        If one of them has a sign that patterns need.
    """
    if len(paths) == 1:
        return paths[0]
    for path in paths:
        if not _BLOCK_SIGNS.isdisjoint(path):
            msg = f"{path} has one of the signs < > , and belongs to several planes or times"
            raise ValueError(msg)
    first = _common_start(paths)
    last = _common_start([path[len(first) :][::-1] for path in paths])[::-1]
    inner = [path[len(first) : len(path) - len(last)] for path in paths]
    return f"{first}<{','.join(inner)}>{last}"


def _common_start(texts: Sequence[str]) -> str:
    low, high = min(texts), max(texts)
    at = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:at]
