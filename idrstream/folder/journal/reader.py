"""Read queries of the journal."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from idrstream.errors import JournalError
from idrstream.folder.journal.file import open_reader, rows_of
from idrstream.folder.journal.records import (
    BatchTotals,
    Failure,
    PlanRecord,
    PublishedAttempt,
    PublishedTable,
    RunRecord,
    WorkerAttempt,
)
from idrstream.folder.journal.schema import COLUMN_TYPES, JOURNAL_NAME
from idrstream.folder.names import batch_number, is_table_copy
from idrstream.folder.plans import RecordedBatch, RecordedImage, RecordedPlan
from idrstream.folder.states import BatchState, ImageState, RunState
from idrstream.screen.frames import frame_step, parse_frames
from idrstream.text import parse_json

P = ParamSpec("P")
T = TypeVar("T")

FrameKey = tuple[str, int, int, int]
"""Plate, well number, site and number of a frame."""

_PLAN = (
    "SELECT batch_size, in_order, images, images_sha256, identity, table_file, table_sha256 "
    "FROM plans ORDER BY id"
)
_FAILURE = (
    "SELECT f.batch, f.plate, f.well, f.frame, f.stage, f.kind, f.message, f.site, f.attempt, "
    "f.time, r.log, f.log_end FROM failures f JOIN runs r ON r.id = f.run "
    "WHERE f.current AND (?1 IS NULL OR f.kind = ?1)"
)
_UNSOUND = (
    TypeError, ValueError, AttributeError, KeyError, ArithmeticError, RecursionError,
)  # fmt: skip
_LATEST = 9e9  # seconds since 1970: the year 2255, the last that pandas can tell
_RUN = (
    "SELECT id, started, elapsed_s, state, stopped_by, host, log, batches, parts, options, "
    "versions, settings, lanes, seal FROM runs"
)


def _sound(
    query: Callable[Concatenate[JournalReader, P], T],
) -> Callable[Concatenate[JournalReader, P], T]:
    """Let a query raise `JournalError` for values that no journal of idrstream has."""

    @functools.wraps(query)
    def sound(self: JournalReader, /, *arguments: P.args, **options: P.kwargs) -> T:
        try:
            return query(self, *arguments, **options)
        except _UNSOUND as error:
            raise self._damaged(f"{type(error).__name__}: {error}") from error

    return sound


class JournalReader:
    """The read queries of an open journal."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @_sound
    def plans(self) -> list[PlanRecord]:
        """Return the plans that the folder followed, the present one last."""
        found = self._made(_plan, _PLAN)
        for plan in found:
            if not isinstance(plan.identity, dict):
                raise self._damaged("a plan has no identity that a plan can have")
            if plan.table_file and not is_table_copy(plan.table_file):
                raise self._damaged(f"{plan.table_file!r} is no name of a copy of a table")
        return found

    @_sound
    def runs(self) -> list[RunRecord]:
        """Return all runs in order."""
        return self._made(_run, f"{_RUN} ORDER BY id")

    @_sound
    def last_run(self, *, with_work: bool = False) -> RunRecord | None:
        """Return the last run, or the last one that had batches to do."""
        where = "WHERE batches > 0" if with_work else ""
        runs = self._made(_run, f"{_RUN} {where} ORDER BY id DESC LIMIT 1")
        return runs[0] if runs else None

    @_sound
    def plan(self) -> RecordedPlan | None:
        """Return the plan that the folder follows, with its batches."""
        plans = self.plans()
        if not plans:
            return None
        now = plans[-1]
        ((highest,),) = self._rows(
            "SELECT max(coalesce((SELECT max(number) FROM batches), -1), "
            "coalesce((SELECT max(batch) FROM attempts), -1))"
        )
        batches = dict(
            self._made(
                lambda number, state, *counts: (number, RecordedBatch(BatchState(state), *counts)),
                "SELECT number, state, images, failed_images FROM batches ORDER BY number",
            )
        )
        return RecordedPlan(
            now.batch_size, now.images_sha256, now.identity, now.in_order, batches,
            highest + 1,
        )  # fmt: skip

    @_sound
    def images(self) -> dict[int, list[RecordedImage]]:
        """Return the images of every batch of the plan."""
        found: dict[int, list[RecordedImage]] = {}
        for batch, image in self._made(
            _image,
            "SELECT batch, digest, plate, well, well_number, site, frames, state, nuclei, bytes "
            "FROM images ORDER BY batch, position",
        ):
            found.setdefault(batch, []).append(image)
        return found

    @_sound
    def batch_states(self) -> dict[int, BatchState]:
        """Return the state of every batch of the plan, by number."""
        query = "SELECT number, state FROM batches ORDER BY number"
        return dict(self._made(lambda number, state: (number, BatchState(state)), query))

    @_sound
    def batch_totals(self) -> dict[BatchState, BatchTotals]:
        """Return sums over the batches in each state; states without batches are left out."""
        return dict(
            self._made(
                lambda state, *sums: (BatchState(state), BatchTotals(*map(int, sums))),
                "SELECT state, count(*), sum(images), sum(failed_images), total(nuclei), "
                "total(size_bytes) FROM batches GROUP BY state",
            )
        )

    @_sound
    def outputs(self) -> dict[int, PublishedTable]:
        """Return the table of every batch that is done, by number."""
        found = {
            number: PublishedTable(*table)
            for number, *table in self._rows(
                "SELECT number, file, size_bytes, mtime_ns, sha256, rows, columns, columns_sha256, "
                "masks_bytes, masks_sha256, tracks_bytes, tracks_sha256 "
                "FROM batches WHERE state = 'done' ORDER BY number"
            )
        }
        for number, table in found.items():
            if batch_number(table.file) != number:
                raise self._damaged(f"{table.file!r} is no name of the table of batch {number}")
            if None in table:
                raise self._damaged(f"batch {number} is done and lacks what a table has")
        return found

    @_sound
    def published_frames(self, numbers: Iterable[int]) -> dict[int, frozenset[FrameKey]]:
        """Return the frames in the published tables of batches, with or without nuclei."""
        found: dict[int, frozenset[FrameKey]] = {}
        for number in numbers:
            images = self._made(
                lambda *row: (*row[:-1], parse_frames(row[-1])),
                "SELECT position, plate, well_number, site, frames FROM images "
                "WHERE batch = ?1 AND (SELECT state FROM batches WHERE number = ?1) = 'done'",
                number,
            )
            failed = set(
                self._rows(
                    "SELECT position, frame FROM failures WHERE batch = ?1 AND attempt = "
                    "(SELECT max(attempt) FROM attempts WHERE batch = ?1 "
                    "AND outcome IN ('done', 'published'))",
                    number,
                )
            )
            frames_of_batch = frozenset(
                (plate, well, site, frame)
                for position, plate, well, site, frames in images
                for frame in frames
                if not failed & {(position, frame), (position, None)}
            )
            if frames_of_batch:
                found[number] = frames_of_batch
        return found

    @_sound
    def published_attempts(self) -> list[PublishedAttempt]:
        """Return the attempts that ended with a table, by time."""
        return [
            PublishedAttempt(*row)
            for row in self._rows(
                "SELECT a.run, a.ended, b.images, a.nuclei FROM attempts a "
                "JOIN batches b ON b.number = a.batch "
                "WHERE a.outcome IN ('published', 'done') AND a.ended IS NOT NULL ORDER BY a.ended"
            )
        ]

    @_sound
    def worker_attempts(self) -> list[WorkerAttempt]:
        """Return the attempts that workers elsewhere made, by run, worker and time."""
        return self._made(
            WorkerAttempt,
            "SELECT a.run, a.worker, a.host, a.job, a.batch, coalesce(b.images, 0), a.outcome, "
            "coalesce(a.begun, 0.0) AS begun, coalesce(a.worked_s, 0.0) AS worked_s, "
            "coalesce(a.loading_s, 0.0) AS loading_s, coalesce(a.peak_bytes, 0) AS peak_bytes "
            "FROM attempts a LEFT JOIN batches b ON b.number = a.batch WHERE a.worker != '' "
            "ORDER BY a.run, a.worker, a.begun",
        )

    @_sound
    def published_images(self, run: int) -> int:
        """Return the number of images in the tables that a run published."""
        query = (
            "SELECT total(b.images) FROM attempts a JOIN batches b ON b.number = a.batch "
            "WHERE a.run = ? AND a.outcome IN ('published', 'done')"
        )
        return int(self._rows(query, run)[0][0])

    @_sound
    def stage_shares(self, run: int, *, batches: int) -> dict[str, float]:
        """Return how much of the time each stage was busy during the last batches of a run."""
        recent = self._made(
            lambda started, ended, seconds: (started, ended, parse_json(seconds)),
            "SELECT started, ended, seconds FROM attempts WHERE run = ? AND outcome = 'done' "
            "ORDER BY batch DESC LIMIT ?",
            run, batches,
        )  # fmt: skip
        span_s = max((row[1] for row in recent), default=0) - min(
            (row[0] for row in recent), default=0
        )
        if span_s <= 0:
            return {}
        total: dict[str, float] = {}
        for *_, seconds in recent:
            for stage, value in seconds.items():
                total[stage] = total.get(stage, 0.0) + value
        return {stage: round(value / span_s, 3) for stage, value in total.items()}

    @_sound
    def failures(self, kind: str | None = None, *, newest: int | None = None) -> list[Failure]:
        """Return unresolved failures by batch, or the `newest` ones, newest first."""
        order = " ORDER BY f.batch, f.id" if newest is None else " ORDER BY f.id DESC LIMIT ?2"
        values = (kind,) if newest is None else (kind, newest)
        return [Failure(*row) for row in self._rows(_FAILURE + order, *values)]

    @_sound
    def failure_counts(self) -> dict[str, int]:
        """Return how many unresolved failures there are of each kind, the most frequent first."""
        query = (
            "SELECT kind, count(*) FROM failures WHERE current = 1 GROUP BY kind "
            "ORDER BY count(*) DESC, kind"
        )
        return dict(self._rows(query))

    @_sound
    def numbers(self) -> set[int]:
        """Return the batches of the plan and those ever tried under earlier plans."""
        query = "SELECT number FROM batches UNION SELECT batch FROM attempts"
        return {number for (number,) in self._rows(query)}

    @_sound
    def last_versions(self) -> dict[str, str]:
        """Return the versions that the last run worked with."""
        last = self.last_run()
        return {} if last is None else dict(last.versions)

    @_sound
    def table_versions(self) -> list[dict[str, str]]:
        """Return the sets of versions that made the published tables, each once, latest last."""
        found = self._made(
            lambda text: (text, parse_json(text)),
            "SELECT r.versions FROM batches b JOIN attempts a ON a.batch = b.number "
            "JOIN runs r ON r.id = a.run WHERE b.state = 'done' AND a.sha256 = b.sha256 "
            "GROUP BY r.id ORDER BY r.id",
        )
        return list(dict(found).values())

    def _damaged(self, why: str) -> JournalError:
        return JournalError(f"the journal {self.path} is damaged, or not to trust: {why}")

    def _rows(self, query: str, *values: int | str | None) -> list[tuple[Any, ...]]:
        rows, names = rows_of(self._connection, query, values, self.path)
        for position, name in enumerate(names):
            kinds = COLUMN_TYPES.get(name)
            if kinds is None:
                continue
            values_of = [row[position] for row in rows]
            if not {type(value) for value in values_of} <= {*kinds}:
                raise self._damaged(f"a value of another type in column {name}")
            if float in kinds and not all(abs(value or 0) < _LATEST for value in values_of):
                raise self._damaged(f"a value in column {name} is no time")
        return rows

    def _made(self, make: Callable[..., T], query: str, *values: int | str | None) -> list[T]:
        """Return what `make` returns of each row."""
        rows = self._rows(query, *values)
        try:
            return [make(*row) for row in rows]
        except (ValueError, TypeError, AttributeError) as error:
            msg = f"the journal {self.path} is damaged: a row cannot be understood: {error}"
            raise JournalError(msg) from error


@contextmanager
def open_journal(folder: Path) -> Iterator[JournalReader]:
    """Open the journal of an output folder for reading, also while a stream writes it.

    Raises
    ------
    JournalError
        If it has none, it is damaged, or of a newer version.
    """
    path = folder / JOURNAL_NAME
    with open_reader(path) as connection:
        yield JournalReader(connection, path)


def _plan(size: int, in_order: int, images: int, sha256: str, text: str, *table: str) -> PlanRecord:
    return PlanRecord(size, bool(in_order), images, sha256, parse_json(text), *table)


def _image(batch: int, *row: Any) -> tuple[int, RecordedImage]:
    digest, plate, well, number, site, frames, state, nuclei, size_bytes = row
    return batch, RecordedImage(
        digest, plate, well, number, site, parse_frames(frames), ImageState(state), nuclei,
        size_bytes, frame_step(frames),
    )  # fmt: skip


def _run(*row: Any) -> RunRecord:
    *plain, parts, options, versions, settings, lanes, seal = row
    texts = (parts, options, versions, settings or "null", lanes or "[]")
    run = RunRecord._make([*plain, *map(parse_json, texts), seal])
    mappings = (run.parts, run.options, run.versions, *(run.settings or {}).values())
    if not all(isinstance(one, dict) for one in mappings):
        msg = "a run has no settings, parts, options or versions that a run can have"
        raise TypeError(msg)
    return run._replace(state=RunState(run.state), elapsed_s=float(run.elapsed_s))
