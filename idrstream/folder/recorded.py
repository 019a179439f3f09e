"""The recorded call of an output folder: its table, options and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idrstream.errors import JournalError
from idrstream.folder.journal.reader import JournalReader, open_journal
from idrstream.folder.seal import is_sealed
from idrstream.opening import inside


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """What an output folder was made with, enough to continue it.

    Attributes
    ----------
    table : Path
        Copy of the table to process.
    options : Mapping
        Options of `IdrStream.run_stream` that belong to the plan.
    settings : Mapping or None
        All settings, if the stream was built from settings.
    is_own : bool
        Whether this user recorded them, on this machine, in this folder.
    channels : tuple of str
        Names of the channels, in no order; empty if there is but one.
    """

    table: Path
    options: Mapping[str, Any]
    settings: Mapping[str, Any] | None
    is_own: bool
    channels: tuple[str, ...] = ()


def read_recorded_call(folder: Path) -> RecordedCall:
    """Return what an output folder was made with.

    Raises
    ------
    JournalError
        If it has no journal, or no stream has run in it yet.
    """
    with open_journal(folder) as journal:
        plans, run = journal.plans(), journal.last_run()
    if not plans or run is None:
        msg = f"no stream has run in {folder} yet: start it with run_stream or idrstream run"
        raise JournalError(msg)
    plan = plans[-1]
    try:
        table = plan.identity["table"]
        options = {
            "batch_size": plan.batch_size,
            "extra_metadata": tuple(table["extra_metadata"]),
            "output_format": table["format"],
            "extract": is_extraction(plan.identity),
        }
    except (KeyError, TypeError) as error:
        msg = f"the journal of {folder} is damaged: its plan lacks {error}"
        raise JournalError(msg) from error
    own = is_sealed(folder, run.settings, run.seal)
    table_file = inside(folder, plan.table_file)
    channels = recorded_channels(plan.identity)
    return RecordedCall(table_file, options, run.settings, own, channels)


def is_extraction(identity: Mapping[str, Any]) -> bool:
    """Return whether a plan wrote planes into OME-Zarr, in the place of features."""
    options = identity.get("options")
    return isinstance(options, Mapping) and bool(options.get("extract"))


def is_extraction_folder(folder: Path) -> bool:
    """Return whether the stream of an output folder extracts planes.

    Raises
    ------
    JournalError
        If it has no journal that can be read.
    """
    with open_journal(folder) as journal:
        return extracts_planes(journal)


def extracts_planes(journal: JournalReader) -> bool:
    """Return whether the last plan of a journal extracts planes."""
    plans = journal.plans()
    return bool(plans) and is_extraction(plans[-1].identity)


def recorded_channels(identity: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the channels that a preprocessor of several says it stacks, in no order."""
    preprocessor = identity.get("preprocessor")
    named = preprocessor.get("channels") if isinstance(preprocessor, Mapping) else None
    return tuple(map(str, named)) if isinstance(named, Mapping) else ()


def failed_batches(folder: Path, kind: str | None = None) -> tuple[int, ...]:
    """Return the batches of a folder's plan in which something failed.

    Parameters
    ----------
    folder : Path
        Output folder.
    kind : str, optional
        Only failures of this class of error.
    """
    with open_journal(folder) as journal:
        failed = {failure.batch for failure in journal.failures(kind)}
        return tuple(number for number in journal.batch_states() if number in failed)
