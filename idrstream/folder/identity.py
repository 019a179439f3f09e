"""Identity of images and streams: everything that changes a result, and nothing else.

An image is identified by its study, plate, well, site, frames, the name of its file if the table
has one, and the columns of its row that reach the result; a stream by its settings: reader,
illumination, segmentation with the digest of its model, profiler with the digests of config and
checkpoint, and the form of the tables. Folders, log, transports, lanes, devices and budgets change
no result and are not included.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from operator import contains, itemgetter
from typing import Any

from idrstream.config import all_options
from idrstream.describe import describe_part
from idrstream.records import ImageTask, frames_text
from idrstream.redact import redacted
from idrstream.screen.channels import channel_files
from idrstream.screen.columns import TILE

# Columns that reach every table, beside those named in `extra_metadata`.
RESULT_COLUMNS = ("Gene_Replicate", "Original Gene Target", "Plate_Map_Name")

_BLOCK = 4096  # images processed together
_OUTLINES = "object_outlines"  # computed, not a column of the table


def describe_stream(
    study: str,
    parts: Mapping[str, object],
    *,
    extra_metadata: Sequence[str],
    output_format: str,
) -> dict[str, Any]:
    """Return the identity of the settings of a stream."""
    described = {
        "study": study,
        **{name: describe_part(part) for name, part in parts.items()},
        "table": {"extra_metadata": sorted(extra_metadata), "format": output_format},
    }
    return dict(redacted(described))  # compared with the journal


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the settings in which two identities differ, as ``name was x, is y``.

    An option that `before` lacks, since it was recorded before the option existed, had its default.
    """
    old, new = _flat(before), _flat(now)
    known = all_options()
    for name in new.keys() - old.keys():
        option = known.get(name.rpartition(".")[2])
        if option is not None:
            old[name] = json.dumps(option.default)
    return [
        f"{name} {_was(old, name)}, {_is(new, name)}"
        for name in dict.fromkeys((*old, *new))
        if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    ]


def result_columns(extra_metadata: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of the table that reach the result."""
    return tuple(sorted({*RESULT_COLUMNS, *extra_metadata} - {_OUTLINES}))


def image_lines(tasks: Sequence[ImageTask], columns: Sequence[str]) -> list[str]:
    """Return a line of text for each image; equal lines mean equal images.

    A line has the well's number, not its name: ``A4`` and ``a04`` are one well. If the table has
    the address of a movie, the line has the file's name, but not its folder or host: the same
    movies may be downloaded from another mirror.
    """
    lines: list[str] = []
    for first in range(0, len(tasks), _BLOCK):
        lines += _block_lines(tasks[first : first + _BLOCK], columns)
    return lines


def _block_lines(tasks: Sequence[ImageTask], columns: Sequence[str]) -> Iterable[str]:
    """Return the lines of some images; by column, in half the time of by row."""
    metadata = [task.metadata for task in tasks]
    parts = [
        [task.plate for task in tasks],
        _texts([task.well_number for task in tasks], str),
        _texts([task.site for task in tasks], str),
        _texts([(task.frames, task.every) for task in tasks], lambda pair: frames_text(*pair)),
        *(([_column(metadata, name) for name in columns]) or [repeat("")]),
        _file_names(metadata),
        *([_column(metadata, TILE)] if any(TILE in row for row in metadata) else []),
    ]
    return map("\x1f".join, zip(*parts, strict=False))


def _texts(values: Sequence[Any], form: Callable[[Any], str]) -> Iterable[str]:
    """Return values as text, converting each distinct one once."""
    texts = {value: form(value) for value in set(values)}
    return map(texts.__getitem__, values)


def _column(metadata: Sequence[Mapping[str, str]], name: str) -> Iterable[str]:
    """Return a column of the table; empty for rows without it."""
    try:
        return list(map(itemgetter(name), metadata))
    except KeyError:
        if not any(map(contains, metadata, repeat(name))):
            return repeat("")
        return [row.get(name, "") for row in metadata]


def _file_names(metadata: Sequence[Mapping[str, str]]) -> Iterable[str]:
    """Return the name of each movie's file; empty if the table has none."""
    urls, paths = _column(metadata, "URL"), _column(metadata, "Path")
    if any(map(channel_files, metadata)):
        return [
            _file_name(row.get("URL") or row.get("Path") or "")
            or "\x1e".join(f"{n}={_file_name(p)}" for n, p in channel_files(row).items())
            for row in metadata
        ]
    if isinstance(urls, repeat) and isinstance(paths, repeat):
        return urls
    return [_file_name(url or path) for url, path, _ in zip(urls, paths, metadata, strict=False)]


def _file_name(address: str) -> str:
    return address.rstrip("/").rpartition("/")[2]


def image_digest(line: str) -> bytes:
    """Return the digest of an image's line, 16 bytes."""
    return hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def images_sha256(lines: Iterable[str]) -> str:
    """Return the digest of many images in their order."""
    text = "\n".join(lines)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


_ABSENT = object()


def _was(old: Mapping[str, Any], name: str) -> str:
    return f"was {old[name]}" if name in old else "was not there"


def _is(new: Mapping[str, Any], name: str) -> str:
    return f"is {new[name]}" if name in new else "is gone"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return flat
