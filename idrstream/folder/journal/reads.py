"""What a start of the stream reads from the journal."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from idrstream.folder.journal.file import sqlite_errors
from idrstream.folder.plans import RecordedBatch, RecordedImage, RecordedPlan

FrameKey = tuple[str, int, int, int]
"""Plate, well number, site and number of a frame."""


class JournalReads:
    """What can be read from an open journal.

    Parameters
    ----------
    connection : sqlite3.Connection
        The open file.
    path : Path
        Its name, for messages.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    def plan(self) -> RecordedPlan | None:
        """Return the plan that the folder follows."""
        with sqlite_errors(self.path):
            return _read_plan(self._connection)

    def images(self) -> dict[int, list[RecordedImage]]:
        """Return the images of every batch of the plan."""
        found: dict[int, list[RecordedImage]] = {}
        with sqlite_errors(self.path):
            for batch, digest, plate, well, number, site, frames in self._connection.execute(
                "SELECT batch, digest, plate, well, well_number, site, frames FROM images "
                "ORDER BY batch, position"
            ):
                known = RecordedImage(digest, plate, well, number, site, _numbers(frames))
                found.setdefault(batch, []).append(known)
        return found

    def outputs(self) -> dict[int, tuple[str, int, int, str]]:
        """Return file name, size, time of change (ns) and SHA-256 of every batch that is done."""
        with sqlite_errors(self.path):
            return {
                number: (file, size_bytes, mtime_ns, sha256)
                for number, file, size_bytes, mtime_ns, sha256 in self._connection.execute(
                    "SELECT number, file, size_bytes, mtime_ns, sha256 FROM batches "
                    "WHERE state = 'done'"
                )
            }

    def published_frames(self, numbers: Iterable[int]) -> dict[int, frozenset[FrameKey]]:
        """Return the frames that the published tables of batches have nuclei or none of."""
        found: dict[int, frozenset[FrameKey]] = {}
        with sqlite_errors(self.path):
            for number in numbers:
                images = self._connection.execute(
                    "SELECT position, plate, well_number, site, frames FROM images "
                    "WHERE batch = ?1 AND (SELECT state FROM batches WHERE number = ?1) = 'done'",
                    (number,),
                ).fetchall()
                failed = set(
                    self._connection.execute(
                        "SELECT position, frame FROM failures WHERE batch = ?1 AND attempt = "
                        "(SELECT max(attempt) FROM attempts WHERE batch = ?1 "
                        "AND outcome IN ('done', 'published'))",
                        (number,),
                    )
                )
                found[number] = frozenset(
                    (plate, well, site, frame)
                    for position, plate, well, site, frames in images
                    for frame in _numbers(frames)
                    if not failed & {(position, frame), (position, None)}
                )
        return {number: frames for number, frames in found.items() if frames}

    def numbers(self) -> set[int]:
        """Return the batches of the plan and those that were ever begun under earlier ones."""
        with sqlite_errors(self.path):
            query = "SELECT number FROM batches UNION SELECT batch FROM attempts"
            return {number for (number,) in self._connection.execute(query)}

    def last_versions(self) -> dict[str, str]:
        """Return the versions that the last run worked with."""
        with sqlite_errors(self.path):
            row = self._connection.execute(
                "SELECT versions FROM runs ORDER BY id DESC LIMIT 1"
            ).fetchone()
        return dict(json.loads(row[0])) if row else {}


def _read_plan(connection: sqlite3.Connection) -> RecordedPlan | None:
    """Return the plan that a folder follows, from its journal."""
    row = connection.execute(
        "SELECT batch_size, images_sha256, identity, in_order FROM plans ORDER BY id DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    batches = {
        number: RecordedBatch(state, images, failed)
        for number, state, images, failed in connection.execute(
            "SELECT number, state, images, failed_images FROM batches ORDER BY number"
        )
    }
    highest = connection.execute(
        "SELECT max(coalesce((SELECT max(number) FROM batches), -1), "
        "coalesce((SELECT max(batch) FROM attempts), -1))"
    ).fetchone()[0]
    return RecordedPlan(row[0], row[1], json.loads(row[2]), bool(row[3]), batches, highest + 1)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))
