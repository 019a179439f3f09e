"""The channels of images as a table names them: files of their own, or names in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from idrstream.errors import MovieError
from idrstream.screen.columns import CHANNEL_NAMES, PLACE_COLUMNS, channel_columns


def channel_files(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the file of each channel, by its name; empty if one file has all channels.

    Parameters
    ----------
    metadata : mapping of str to str
        Columns of a row. One file in ``Path`` or ``URL`` comes before files of channels.
    """
    if any(metadata.get(column, "").strip() for column in PLACE_COLUMNS):
        return {}
    files = {name: metadata[column].strip() for name, column in channel_columns(metadata).items()}
    return {name: path for name, path in files.items() if path}


def channel_names(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the channels in one file, in their order; empty if not stated."""
    names = metadata.get(CHANNEL_NAMES, "")
    return tuple(name.strip() for name in names.split(";")) if names.strip() else ()


def channel_at(names: Sequence[str], key: str, values: Sequence[str] = ()) -> int | None:
    """Return the position of a channel by its name, its value or its number; None if unknown.

    Parameters
    ----------
    names : sequence of str
        Names of the channels in their order; compared without case if no name is the same.
    key : str
        Name, value, or position counted from 0.
    values : sequence of str
        What else each channel is called, such as the value of its pattern's block.
    """
    if key in names:
        return list(names).index(key)
    for texts in (names, values):
        alike = [i for i, text in enumerate(texts) if text.casefold() == key.casefold()]
        if len(alike) == 1:
            return alike[0]
    if key.isdecimal() and int(key) < len(names):
        return int(key)
    return None


def number_of_channel(names: Sequence[str], key: str) -> int:
    """Return the number of a channel in one file, counted from 0.

    Parameters
    ----------
    names : sequence of str
        Names of the file's channels; empty if they are not known.
    key : str
        Its name in any case, or its number; a name comes first.

    Raises
    ------
    MovieError
        If there is no such name; says which there are.
    """
    at = channel_at(names, key)
    if at is None and key.isdecimal():
        return int(key)  # whoever reads the file says how many it has
    if at is None:
        there = f"there are {', '.join(names)}" if names else "its channels have no names"
        msg = f"there is no channel {key!r}; {there}"
        raise MovieError(msg)
    return at


def file_of_channel(files: Sequence[str], name: str, key: str) -> str | None:
    """Return which of the channels with files of their own is meant; None if none is.

    Parameters
    ----------
    files : sequence of str
        Names of the channels that have a file, in their order.
    name, key : str
        As in ``image_channels``: ``DNA=Hoechst``. A channel of the name comes before a number.
    """
    keys = (name, key) if key.isdecimal() else (key,)
    for text in keys:
        at = channel_at(files, text)
        if at is not None:
            return files[at]
    return None
