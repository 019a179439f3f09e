"""What an output folder was begun with, and what failed in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idrstream.errors import JournalError
from idrstream.folder.journal.file import open_reader
from idrstream.folder.journal.schema import JOURNAL_NAME


@dataclass(frozen=True, slots=True)
class Begun:
    """What an output folder was begun with, enough to go on.

    Attributes
    ----------
    table : Path
        Copy of the table to process.
    options : Mapping
        Options of `IdrStream.run_stream` that belong to the plan.
    settings : Mapping or None
        All settings, when the stream was built from settings.
    """

    table: Path
    options: Mapping[str, Any]
    settings: Mapping[str, Any] | None


def read_begun(folder: Path) -> Begun:
    """Return what an output folder was begun with.

    Raises
    ------
    JournalError
        If it has no journal, or no stream has run in it yet.
    """
    with open_reader(folder / JOURNAL_NAME) as connection:
        plan = connection.execute(
            "SELECT batch_size, identity, table_file FROM plans ORDER BY id DESC LIMIT 1"
        ).fetchone()
        run = connection.execute("SELECT settings FROM runs ORDER BY id DESC LIMIT 1").fetchone()
    if plan is None or run is None:
        msg = f"no stream has run in {folder} yet: start it with run_stream or idrstream run"
        raise JournalError(msg)
    batch_size, identity, table_file = plan
    form = json.loads(identity)["table"]
    options = {
        "batch_size": batch_size,
        "extra_metadata": tuple(form["extra_metadata"]),
        "output_format": form["format"],
    }
    settings = None if run[0] is None else json.loads(run[0])
    return Begun(folder / table_file, options, settings)


def failed_batches(folder: Path, kind: str | None = None) -> tuple[int, ...]:
    """Return the batches of a folder's plan in which something failed.

    Parameters
    ----------
    folder : Path
        Output folder.
    kind : str, optional
        Only failures of this class of error.
    """
    with open_reader(folder / JOURNAL_NAME) as connection:
        return tuple(
            number
            for (number,) in connection.execute(
                "SELECT DISTINCT f.batch FROM failures f JOIN batches b ON b.number = f.batch "
                "WHERE f.current AND (?1 IS NULL OR f.kind = ?1) ORDER BY f.batch",
                (kind,),
            )
        )
