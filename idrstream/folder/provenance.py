"""``provenance.json``: from what an output folder was made, well enough to make it again.

It is taken from the journal, without times, hosts and folders of the run: the same stream gives
the same bytes, however often it was interrupted. `idrstream.run.reproduce` reads it.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.config import Scope, all_options
from idrstream.errors import DownloadError, IdrStreamError
from idrstream.files import atomic_path
from idrstream.folder.journal.file import open_reader
from idrstream.folder.journal.schema import JOURNAL_NAME
from idrstream.records import ImageTask
from idrstream.redact import redact, redacted

if TYPE_CHECKING:
    from idrstream.download import Downloader

log = logging.getLogger(__name__)

PROVENANCE_NAME = "provenance.json"
FORMAT, VERSION = "idrstream-provenance", 1

ImageKey = tuple[str, int, int]
"""Plate, well number, site."""

_COLUMNS = ("batch", "plate", "well", "well_number", "site", "frames", "state", "bytes", "file")


def write_provenance(folder: Path, downloader: Downloader, tasks: Sequence[ImageTask]) -> None:
    """Write what the journal of a folder says of it.

    A file that cannot be written is told in the log: the tables are what counts.

    Parameters
    ----------
    folder : Path
        Output folder.
    downloader : Downloader
        Its ``address(task)`` says where movies are.
    tasks : sequence of ImageTask
        The images of the table.
    """
    try:
        content = read_provenance(folder, _addresses(downloader, tasks))
        save_provenance(folder / PROVENANCE_NAME, content)
    except (OSError, IdrStreamError) as error:
        log.warning("%s cannot be written: %s", folder / PROVENANCE_NAME, error)


def is_outdated(folder: Path) -> bool:
    """Tell whether a folder has tables newer than its provenance, as a death may leave it."""
    try:
        written = (folder / PROVENANCE_NAME).stat().st_mtime_ns
    except OSError:
        return True
    return any(path.stat().st_mtime_ns > written for path in folder.glob("batch_*"))


def read_provenance(folder: Path, addresses: Mapping[ImageKey, str]) -> dict[str, Any]:
    """Return the provenance of an output folder from its journal.

    Parameters
    ----------
    folder : Path
        Output folder in which a stream has run.
    addresses : Mapping
        Where the movies of images are, as far as it is known.

    Returns
    -------
    dict
        JSON-ready, without secrets.

    Raises
    ------
    JournalError
        If there is no journal that can be read.
    """
    with open_reader(folder / JOURNAL_NAME) as connection:
        plan = connection.execute(
            "SELECT batch_size, in_order, images, images_sha256, identity, table_file, "
            "table_sha256 FROM plans ORDER BY id DESC LIMIT 1"
        ).fetchone()
        settings, parts = connection.execute(
            "SELECT settings, parts FROM runs ORDER BY id DESC LIMIT 1"
        ).fetchone()
        content = {
            "format": FORMAT,
            "version": VERSION,
            "again": _again(settings),
            "study": json.loads(plan[4])["study"],
            "table": {"file": plan[5], "sha256": plan[6]},
            "plan": {
                "batch_size": plan[0],
                "in_order": bool(plan[1]),
                "images": plan[2],
                "images_sha256": plan[3],
            },
            "identity": json.loads(plan[4]),
            "downloader": json.loads(parts).get("downloader"),
            "settings": None if settings is None else _settings(json.loads(settings)),
            "versions": _versions(connection),
            "outputs": _outputs(connection),
            "inputs": {"columns": list(_COLUMNS), "rows": _inputs(connection, addresses)},
        }
    found: dict[str, Any] = redacted(content)
    return found


def save_provenance(path: Path, content: Mapping[str, Any]) -> None:
    """Write provenance: one line for each input, all else for people to read."""
    inputs = content["inputs"]
    others = {name: value for name, value in content.items() if name != "inputs"}
    head = json.dumps(others, indent=1, ensure_ascii=False).removesuffix("\n}")
    columns = json.dumps(inputs["columns"])
    rows = ",\n   ".join(json.dumps(row, ensure_ascii=False) for row in inputs["rows"])
    tail = f'"inputs": {{\n  "columns": {columns},\n  "rows": [\n   {rows}\n  ]\n }}'
    written = f"{head},\n {tail}\n}}\n".encode("utf-8", "surrogatepass")
    if path.is_file() and path.read_bytes() == written:
        return
    with atomic_path(path) as part:
        part.write_bytes(written)


def known_addresses(path: Path) -> dict[ImageKey, str]:
    """Return where movies are from a provenance file, nothing if it is not there or no good."""
    try:
        inputs = json.loads(path.read_text(encoding="utf-8"))["inputs"]
        rows = [dict(zip(inputs["columns"], row, strict=True)) for row in inputs["rows"]]
        return {(row["plate"], row["well_number"], row["site"]): row["file"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _again(settings: str | None) -> str:
    if settings is None:
        return (
            "the stream was built in Python, from objects that this file cannot hold: build it "
            "there again, with parts as identity describes them, and run the table"
        )
    return (
        f"idrstream run --from {PROVENANCE_NAME} --final-data-dir NEW_FOLDER --tmp-dir EMPTY_FOLDER"
    )


def _settings(stored: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return stored settings without those that a reproduced stream has its own of."""
    own = {name for name, o in all_options().items() if o.scope in (Scope.LOCAL, Scope.CALL)}
    return {
        section: {name: value for name, value in values.items() if name not in own}
        for section, values in stored.items()
    }


def _versions(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the versions with which the tables were made, each set once, the last one last."""
    rows = connection.execute(
        "SELECT r.versions FROM batches b JOIN attempts a ON a.batch = b.number "
        "JOIN runs r ON r.id = a.run WHERE b.state = 'done' AND a.sha256 = b.sha256 "
        "GROUP BY r.id ORDER BY r.id"
    ).fetchall()
    return [json.loads(text) for text in dict.fromkeys(row[0] for row in rows)]


def _outputs(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    rows = connection.execute(
        "SELECT number, state, file, rows, sha256 FROM batches ORDER BY number"
    )
    names = ("batch", "file", "rows", "sha256")
    return [
        dict(zip(names, (number, *values), strict=True))
        if state == "done"
        else {"batch": number, "file": None}
        for number, state, *values in rows
    ]


def _inputs(
    connection: sqlite3.Connection, addresses: Mapping[ImageKey, str]
) -> list[tuple[Any, ...]]:
    rows = connection.execute(
        "SELECT batch, plate, well, well_number, site, frames, state, bytes FROM images "
        "ORDER BY batch, position"
    )
    return [(*row, addresses.get((row[1], row[3], row[4]))) for row in rows]


def _addresses(downloader: Downloader, tasks: Sequence[ImageTask]) -> dict[ImageKey, str]:
    addresses = {}
    for task in tasks:
        try:
            address = downloader.address(task)
        except DownloadError:  # recorded as a failure of the image
            continue
        if address is not None:
            addresses[task.plate, task.well_number, task.site] = redact(address)
    return addresses
