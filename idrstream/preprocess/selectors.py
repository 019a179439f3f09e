"""Whether the rows of a table tell their images apart, as far as the reader reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from idrstream.errors import TableError
from idrstream.screen.channels import (
    channel_at,
    channel_files,
    channel_names,
    file_of_channel,
)
from idrstream.screen.columns import CHANNEL_NAMES, PLACE_COLUMNS, PLANES

# Files that say how their channels are called.
_NAMES_CHANNELS = re.compile(
    r"\.zarr(?:/|$)|\.ome\.(?:tiff?|tf[28]|btf)$|\.companion\.ome$", flags=re.IGNORECASE
)

if TYPE_CHECKING:
    from idrstream.formats.reader import BaseReader
    from idrstream.preprocess.base import BasePreprocessor
    from idrstream.records import ImageTask


def check_selectors(preprocessor: BasePreprocessor, tasks: Iterable[ImageTask]) -> None:
    """Refuse rows of different images that would be given the same pixels.

    Parameters
    ----------
    preprocessor : BasePreprocessor
        Its ``reader``, if it has one, says whether it finds several sites in one file.
    tasks : iterable of ImageTask
        The images.

    Raises
    ------
    idrstream.errors.TableError
        When rows of different wells or sites name the same file, frame and image of it; when a
        row lacks a wanted channel, or has channels in several files and none is wanted.
    """
    tasks = list(tasks)
    if not preprocessor.all_channels:
        _check_channels(preprocessor.keys, tasks)
    reader = preprocessor.reader
    if reader is None:
        return
    _check_planes(reader, tasks)
    seen: dict[tuple[str, str, int, int], ImageTask] = {}
    for task in tasks:
        column, address = _place(task)
        if not address or ".zarr" in address:  # of a plate of OME-Zarr the image is downloaded
            continue
        for frame in task.frames or (1,):  # all frames, as every movie has a first
            key = (column, address, task.site if reader.finds_sites_in(address) else 0, frame)
            other = seen.setdefault(key, task)
            if _image(other) != _image(task):
                raise TableError(_message(other, task, frame, f"{column} {address}", reader))


def _check_planes(reader: BaseReader, tasks: Iterable[ImageTask]) -> None:
    """Refuse rows of which the table says that they have several planes, and none is chosen."""
    chosen = reader.selection
    for task in tasks:
        text = task.metadata.get(PLANES, "").strip()
        if not text.isdecimal() or int(text) < 2 or chosen.projection is not None:
            continue
        if chosen.z is None and {"z", "projection"} <= reader.selects:
            problem = (
                f'it has {text} z-planes: set preprocess.projection to "max", "mean" or '
                '"sharpest", or preprocess.z to the plane to read, from 0'
            )
        elif chosen.z is not None and chosen.z >= int(text):
            problem = f"preprocess.z is {chosen.z}, counted from 0, but it has {text} z-planes"
        else:
            continue
        raise TableError(f"{task.name} (row {task.row + 1}): {problem}")


def _check_channels(keys: Sequence[tuple[str, str]], tasks: Iterable[ImageTask]) -> None:
    """Refuse rows that lack a wanted channel, or whose channels are in several files unasked."""
    fine: set[tuple[tuple[str, ...], tuple[str, ...], bool]] = set()
    for task in tasks:
        files, names = tuple(channel_files(task.metadata)), channel_names(task.metadata)
        told = _NAMES_CHANNELS.search(_place(task)[1]) is not None
        if (files, names, told) in fine:
            continue
        problem = _channel_problem(keys, files, names, told)
        if problem:
            raise TableError(f"{task.name} (row {task.row + 1}): {problem}")
        fine.add((files, names, told))


def _channel_problem(
    keys: Sequence[tuple[str, str]], files: Sequence[str], names: Sequence[str], told: bool
) -> str:
    if files and not keys:
        return (
            f"its channels {', '.join(files)} are in files of their own: name those to read by "
            f"image_channels, such as DNA={files[0]}, or make the table with one of them "
            "(idrstream table --channel)"
        )
    for name, key in keys:
        if files and file_of_channel(files, name, key) is None:
            return f"image_channels: there is no channel {key!r}; there are {', '.join(files)}"
        if files or key.isdecimal():
            continue
        if not names and told:  # a wrong name is answered when the file is there
            continue
        if not names:
            return (
                f"image_channels: the table does not say how the channels of its file are called: "
                f"give the number of {key!r}, counted from 0, or a column {CHANNEL_NAMES}"
            )
        if channel_at(names, key) is None:
            return f"image_channels: there is no channel {key!r}; there are {', '.join(names)}"
    return ""


def _place(task: ImageTask) -> tuple[str, str]:
    """Return the column that says where a movie is, and what it says; a URL comes first."""
    if files := channel_files(task.metadata):
        return "channel files", " ".join(files.values())
    for column in reversed(PLACE_COLUMNS):
        address = task.metadata.get(column, "").strip()
        if address:
            return column, address
    return "", ""


def _image(task: ImageTask) -> tuple[str, int, int]:
    return task.plate, task.well_number, task.site


def _message(one: ImageTask, other: ImageTask, frame: int, place: str, reader: BaseReader) -> str:
    name = reader.name or type(reader).__name__
    images = " and ".join(
        f"{task.name} site {task.site} (row {task.row + 1})" for task in (one, other)
    )
    reads = "the image that Site numbers" if reader.finds_sites_in(place) else "one image"
    return (
        f"{images} would get the same pixels: both name frame {frame} of {place}, of which the "
        f"reader {name} reads {reads}. Give each image a file of its own, or, where the sites of a "
        'well are the images of one file, use reader = "tiff" or "bioformats" without series'
    )
