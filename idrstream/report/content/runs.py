"""What was run: every run, and with what the last one worked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from idrstream.report.content.times import duration, moment

if TYPE_CHECKING:
    from idrstream.report.data import FolderData

_SOURCES = 300  # places of movies that are named


def run_rows(data: FolderData) -> list[tuple[str, ...]]:
    """Return the table of runs."""
    return [
        (
            str(run.number), moment(run.started), duration(run.elapsed_s),
            f"{run.state}{': ' if run.stopped_by else ''}{run.stopped_by}", run.host, run.log,
        )
        for run in data.runs
    ]  # fmt: skip


def run_tables(data: FolderData) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return settings, parts with their digests, versions and sources of the last run."""
    last = data.runs[-1] if data.runs else None
    tables = []
    if last is not None:
        parts = list(_flat(last.parts))
        options = list(_flat(last.options))
        versions = [(name, str(value)) for name, value in last.versions.items()]
        tables += [
            ("Parts and models", "Of the last run; digests are SHA-256 of files.", parts),
            ("Settings", "What the last run was called with.", options),
            ("Versions", "What the last run worked with.", versions),
        ]
    sources = _sources(data)
    if sources:
        tables.append(
            (
                "Where the movies came from",
                "Number of frames from each place; the file of each frame is in qc/batch_N.csv.",
                sources,
            )
        )
    return tables


def _sources(data: FolderData) -> list[tuple[str, str]]:
    """Return places of movies and how many frames came from each."""
    named = data.frames["Source"].astype(str)
    counts = named[named != ""].str.rsplit("/", n=1).str[0].value_counts()
    found = [(str(place), f"{count} frames") for place, count in counts.head(_SOURCES).items()]
    if len(counts) > _SOURCES:
        found.append(("others", f"{int(counts.iloc[_SOURCES:].sum())} frames"))
    return found


def _flat(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{before}{name}", text
