"""The rows of a plate whose images an index, or the names of its files, tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from idrstream.errors import ConfigError, TableError
from idrstream.screen.indexes.records import ImageFile, PlateIndex
from idrstream.screen.study.channel_files import ChannelFile, choose_channels
from idrstream.screen.study.field_rows import Choice, FieldRow

_BLOCK_SIGNS = frozenset("<>,")


def rows_of_index(
    plate: str, index: PlateIndex, folder: str, choice: Choice, where: str
) -> Iterator[FieldRow]:
    """Yield a row for each field of a plate.

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
    TableError
        If there is no wanted channel or plane.
    """
    for (row, column, field), group in groupby(index.files, key=lambda file: file[:3]):
        files = list(group)
        whole = FieldRow(plate, (row, column), index.columns, field, "", "file")
        paths = {file.path for file in files}
        if len(paths) == 1:
            named = index.channels if _are_named(index.channels) else ()
            whole = whole._replace(path=folder + files[0].path, channels=named)
            pages, planes = _pages(_chosen(files, choice), index)
            yield whole._replace(pages=pages, planes=planes)
            continue
        try:
            found = choose_channels(_channels(files, index, folder, choice), choice.channels)
        except ValueError as error:
            raise TableError(f"{where}: {error}") from error
        planes = max(file.planes for file in found)
        whole = whole._replace(source="index", channels=index.channels, planes=planes)
        if len(found) == 1:
            yield whole._replace(path=found[0].path)
        else:
            yield whole._replace(files=tuple(found))


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
    ordered = sorted(files, key=lambda file: (file.channel, file.time, file.z))
    groups = groupby(ordered, key=lambda file: file.channel)
    return ";".join(",".join(str(file.page) for file in group) for _, group in groups), planes


def _channels(
    files: Sequence[ImageFile], index: PlateIndex, folder: str, choice: Choice
) -> list[ChannelFile]:
    """Return the file of each channel of a field, or the pattern of its planes and times."""
    found = []
    for channel, group in groupby(files, key=lambda file: file.channel):
        of_channel = list(group)
        name = index.channels[channel]
        paths = list(dict.fromkeys(file.path for file in _chosen(of_channel, choice)))
        planes = 0
        if len(paths) > 1:
            times = len({file.time for file in of_channel})
            planes = len(paths) // times
            if planes * times != len(paths):
                continue  # lacks a plane
        found.append(ChannelFile(name, folder + joined_paths(paths), planes=planes))
    return found


def _chosen(files: Sequence[ImageFile], choice: Choice) -> list[ImageFile]:
    """Return the wanted plane of a field, sorted by time and plane."""
    ordered = sorted(files, key=lambda file: (file.time, file.z))
    if choice.plane is None:
        return ordered
    chosen = [file for file in ordered if file.z == choice.plane - 1]
    if not chosen:
        planes = 1 + max(file.z for file in files)
        msg = f"plane is {choice.plane}; {files[0].path} is of a field with {planes} plane(s)"
        raise ConfigError(msg)
    return chosen


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
