"""All runs, the settings and versions of the last one, and failures by kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from idrstream.text import as_ranges, format_duration, format_moment, format_size

if TYPE_CHECKING:
    from idrstream.report.data import FolderData


_SOURCES = 300  # most folders of movies listed


def run_rows(data: FolderData) -> list[tuple[str, ...]]:
    """Return the table of runs."""
    return [
        (
            str(run.number), format_moment(run.started), format_duration(run.elapsed_s),
            f"{run.state}{': ' if run.stopped_by else ''}{run.stopped_by}", run.host, run.log,
        )
        for run in data.runs
    ]  # fmt: skip


def worker_rows(data: FolderData) -> list[tuple[str, ...]]:
    """Return the table of workers elsewhere: where they ran, their batches, times and memory."""
    rows: list[tuple[str, ...]] = []
    for (run, worker), group in groupby(data.workers, key=lambda one: (one.run, one.worker)):
        done = list(group)
        images = sum(one.images for one in done)
        begun = min(one.begun for one in done)
        span_s = max(one.begun + one.worked_s for one in done) - begun
        rows.append(
            (
                str(run), worker, done[0].host, done[0].job or "-",
                as_ranges(one.batch for one in done), str(images), format_moment(begun),
                format_duration(span_s), f"{span_s / images:.3g} s" if images else "-",
                format_duration(done[0].loading_s), format_size(max(d.peak_bytes for d in done)),
            )
        )  # fmt: skip
    return rows


def run_tables(data: FolderData) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return components with their digests, settings and versions of the last run, and sources."""
    last = data.runs[-1] if data.runs else None
    tables = []
    if last is not None:
        components = list(_flat(last.parts))
        options = list(_flat(last.options))
        versions = [(name, str(value)) for name, value in last.versions.items()]
        tables += [
            ("Components and models", "Of the last run; digests are SHA-256 of files.", components),
            ("Settings", "Options of the last run.", options),
            ("Versions", "Of Python and packages in the last run.", versions),
        ]
    sources = _sources(data)
    if sources:
        tables.append(
            (
                "Where the movies came from",
                "Number of frames from each folder; the file of each frame is in qc/batch_N.csv.",
                sources,
            )
        )
    return tables


def _sources(data: FolderData) -> list[tuple[str, str]]:
    """Return folders of movies and the number of frames from each."""
    named = data.frames["Source"].astype(str)
    counts = named[named != ""].str.rsplit("/", n=1).str[0].value_counts()
    found = [(str(folder), f"{count} frames") for folder, count in counts.head(_SOURCES).items()]
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


_ROWS = 200  # shown of each kind


def failures(data: FolderData) -> list[dict[str, Any]]:
    """Return failures by kind, with the commands that run them again."""
    from shlex import quote

    import pandas as pd

    found = []
    for kind, rows in data.failures.groupby("Kind", sort=False):
        batches = sorted(set(rows["Batch"].tolist()))
        numbers = ",".join(map(str, batches))
        shown = rows.head(_ROWS)
        cells = [
            ["" if pd.isna(value) else str(value) for value in row]
            for row in shown[
                ["Batch", "Plate", "Well", "Frame", "Stage", "Reason"]
            ].itertuples(index=False)
        ]  # fmt: skip
        noun = "1 batch" if len(batches) == 1 else f"{len(batches)} batches"
        more = f"; the first {_ROWS} are shown" if len(rows) > _ROWS else ""
        found.append(
            {
                "kind": kind,
                "count": len(rows),
                "caption": f"{len(rows)} in {noun}{more}.",
                "rows": cells,
                "cli": f"idrstream rerun {quote(str(data.folder))} --batch-nums {numbers}",
                "python": f"stream.rerun_failed({str(kind)!r})  # batches {numbers}",
            }
        )
    return found
