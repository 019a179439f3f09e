"""``provenance.json``: what an output folder was made from, enough to reproduce it.

It is derived from the journal, without times, hosts and folders of the run: the same stream gives
the same bytes, however often it was interrupted. `idrstream.run.reproduce` reads it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.config import Scope, all_options
from idrstream.errors import DownloadError, IdrStreamError
from idrstream.files import atomic_file
from idrstream.folder.journal.reader import JournalReader, open_journal
from idrstream.folder.journal.records import RunRecord
from idrstream.folder.names import is_note
from idrstream.folder.outputs import unknown_tables
from idrstream.opening import read_regular
from idrstream.records import ImageTask
from idrstream.redact import redact, redacted
from idrstream.text import parse_json

if TYPE_CHECKING:
    from idrstream.download import Downloader

log = logging.getLogger(__name__)

PROVENANCE_NAME = "provenance.json"
FORMAT, VERSION = "idrstream-provenance", 1

_MOST_BYTES = 1 << 30  # a million movies need a third of it

ImageKey = tuple[str, int, int]
"""Plate, well number, site."""

_COLUMNS = ("batch", "plate", "well", "well_number", "site", "frames", "state", "bytes", "file")


def write_provenance(folder: Path, downloader: Downloader, tasks: Sequence[ImageTask]) -> None:
    """Write the provenance of an output folder.

    The downloader gives the addresses of movies. A file that cannot be written is only logged:
    the tables are complete without it.
    """
    try:
        content = read_provenance(folder, _addresses(downloader, tasks))
        save_provenance(folder / PROVENANCE_NAME, content)
    except (OSError, IdrStreamError) as error:
        log.warning("%s cannot be written: %s", folder / PROVENANCE_NAME, error)


def is_outdated(folder: Path) -> bool:
    """Return whether a folder has tables newer than its provenance, as after a crash."""
    try:
        written = (folder / PROVENANCE_NAME).stat().st_mtime_ns
    except OSError:
        return True
    tables = (folder / name for name in unknown_tables(folder))
    return any(path.stat().st_mtime_ns > written for path in tables)


def read_provenance(folder: Path, addresses: Mapping[ImageKey, str]) -> dict[str, Any]:
    """Return the provenance of an output folder from its journal.

    Raises
    ------
    JournalError
        If there is no journal that can be read.
    """
    with open_journal(folder) as journal:
        plan, run = journal.plans()[-1], journal.runs()[-1]
        content = {
            "format": FORMAT,
            "version": VERSION,
            "again": _again(run),
            "study": plan.identity.get("study"),
            "table": {"file": plan.table_file, "sha256": plan.table_sha256},
            "plan": {
                "batch_size": plan.batch_size,
                "in_order": plan.in_order,
                "images": plan.images,
                "images_sha256": plan.images_sha256,
            },
            "identity": plan.identity,
            "downloader": run.parts.get("downloader"),
            "settings": None if run.settings is None else _settings(run.settings),
            "versions": journal.table_versions(),
            "outputs": _outputs(journal),
            "inputs": {"columns": list(_COLUMNS), "rows": _inputs(journal, addresses)},
        }
    found: dict[str, Any] = redacted(content)
    return found


def save_provenance(path: Path, content: Mapping[str, Any]) -> None:
    """Write provenance with one line for each input and the rest indented."""
    inputs = content["inputs"]
    others = {name: value for name, value in content.items() if name != "inputs"}
    head = json.dumps(others, indent=1, ensure_ascii=False).removesuffix("\n}")
    columns = json.dumps(inputs["columns"])
    rows = ",\n   ".join(json.dumps(row, ensure_ascii=False) for row in inputs["rows"])
    tail = f'"inputs": {{\n  "columns": {columns},\n  "rows": [\n   {rows}\n  ]\n }}'
    written = f"{head},\n {tail}\n}}\n".encode("utf-8", "surrogatepass")
    if path.is_file() and not path.is_symlink() and path.read_bytes() == written:
        return
    with atomic_file(path) as file:
        file.write(written)


def unknown_results(folder: Path) -> list[str]:
    """Return the names of files that a first run in a folder would delete or write over."""
    notes = [path.relative_to(folder).as_posix() for path in folder.glob("qc/batch_*.csv")]
    foreign = [PROVENANCE_NAME] if _is_foreign(folder / PROVENANCE_NAME) else []
    return sorted([*unknown_tables(folder), *filter(is_note, notes), *foreign])


def _is_foreign(path: Path) -> bool:
    """Return whether a file has the name of a stream's provenance, but is none."""
    try:
        content = read_json(path)
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return not isinstance(content, dict) or content.get("format") != FORMAT


def known_addresses(path: Path) -> dict[ImageKey, str]:
    """Return the addresses of movies in a provenance file; empty if missing or invalid."""
    try:
        inputs = read_json(path)["inputs"]
        rows = [dict(zip(inputs["columns"], row, strict=True)) for row in inputs["rows"]]
        return {(row["plate"], row["well_number"], row["site"]): row["file"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def read_json(path: Path) -> Any:
    """Return the content of a provenance file, whatever it is.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, is larger than any provenance, or no JSON.
    """
    return parse_json(read_regular(path, _MOST_BYTES))


def _again(run: RunRecord) -> str:
    if run.settings is None:
        return (
            "the stream was built in Python, from objects that this file cannot hold: build it "
            "there again, with parts as identity describes them, and run the table"
        )
    return (
        f"idrstream run --from {PROVENANCE_NAME} --final-data-dir NEW_FOLDER --tmp-dir EMPTY_FOLDER"
    )


def _settings(stored: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return stored settings without those that belong to one machine or call."""
    own = {name for name, o in all_options().items() if o.scope in (Scope.LOCAL, Scope.CALL)}
    return {
        section: {name: value for name, value in values.items() if name not in own}
        for section, values in stored.items()
    }


def _outputs(journal: JournalReader) -> list[dict[str, Any]]:
    tables = journal.outputs()
    return [
        {"batch": number, "file": table.file, "rows": table.rows, "sha256": table.sha256}
        if (table := tables.get(number))
        else {"batch": number, "file": None}
        for number in journal.batch_states()
    ]


def _inputs(journal: JournalReader, addresses: Mapping[ImageKey, str]) -> list[tuple[Any, ...]]:
    return [
        (
            batch, image.plate, image.well, image.well_number, image.site,
            image.frames_text, image.state, image.size_bytes,
            addresses.get((image.plate, image.well_number, image.site)),
        )
        for batch, images in journal.images().items()
        for image in images
    ]  # fmt: skip


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
