"""Collect an output folder: dataset of cells, profiles of wells, provenance."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.collect.annotations import Annotations
from idrstream.collect.cells import Cells, split_by_engine, write_cells
from idrstream.collect.described import FEATURES, read_features, write_features
from idrstream.collect.options import CollectOptions
from idrstream.collect.profiles import Profiles, make_profiles
from idrstream.collect.source import Source, read_source
from idrstream.collect.tracks import write_tracks
from idrstream.errors import CollectError, StorageError
from idrstream.folder.provenance import (
    PROVENANCE_NAME,
    known_addresses,
    read_json,
    read_provenance,
    save_provenance,
)
from idrstream.opening import inside
from idrstream.text import counted, short_path, shorten_list
from idrstream.visible import visible

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_SECTION = "collect"  # of provenance.json
_SHOWN = 20
_PART = ".idrstream.part"
_OWN = re.compile(
    rf"{re.escape(PROVENANCE_NAME)}|tables/[0-9a-f]{{12}}\.csv\.gz"
    rf"|features\.csv|cells/(?:\w+/)?batch_\d+\.parquet|wells_\w+\.parquet|tracks(?:_wells)?\.parquet|(?:cells|wells)\.h5ad|{re.escape(_PART)}/.*",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Collected:
    """A collection.

    Attributes
    ----------
    folder : Path
        Its folder.
    record : dict
        Its section of ``provenance.json``: sources, options, steps.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def cells_path(self) -> Path:
        """The Parquet dataset of single cells, a folder; with one for each engine, theirs."""
        return self.folder / "cells"

    @property
    def profiles_path(self) -> Path:
        """The profiles of wells after the last step."""
        return self.folder / str(self.record["profiles"]["file"])

    def profiles(self) -> pd.DataFrame:
        """Return the profiles of wells after the last step, ``Metadata_`` columns first.

        Raises
        ------
        CollectError
            If no well has nuclei.
        """
        import pandas as pd

        if not self.record["profiles"]["file"]:
            msg = f"{self.folder} has no profiles: no well has nuclei"
            raise CollectError(msg)
        return pd.read_parquet(self.profiles_path)

    def features(self) -> pd.DataFrame:
        """Return what is known of the features, by name: `describe_features`.

        Those that the profiles do not have after the last step have no weight (NaN).
        """
        return read_features(self.folder / FEATURES)

    def __str__(self) -> str:
        """Return a summary as text."""
        cells, made, source = (self.record[name] for name in ("cells", "profiles", "source"))
        lines = [
            f"{counted(cells['rows'], 'nucleus', 'nuclei')} of "
            f"{counted(source['batches'], 'batch', 'batches')}: {short_path(self.cells_path)}",
            f"{counted(made['wells'], 'well')} with {counted(made['features'], 'feature')}: "
            f"{short_path(self.profiles_path)}"
            if made["file"]
            else "No well has nuclei: there are no profiles",
        ]
        if source["missing_batches"]:
            missing = counted(len(source["missing_batches"]), "batch is", "batches are")
            lines.append(f"Partial: {missing} missing")
        if source["left_out"]:
            left_out = counted(len(source["left_out"]), "image or frame", "images or frames")
            lines.append(f"{left_out} failed, left out")
        if source["wells_without_nuclei"]:
            wells = counted(len(source["wells_without_nuclei"]), "well")
            lines.append(f"{wells} without nuclei, and without a profile")
        for step in made["steps"]:
            if "examples" not in step:
                continue
            lines += [
                f"{name} has several values in one well ({example}): left out of the profiles"
                for name, example in zip(step["left_out"], step["examples"], strict=True)
            ]
        return visible("\n".join(lines))


def collect_folder(
    folder: Path | str,
    out: Path | str | None = None,
    options: CollectOptions | None = None,
    *,
    replace: bool = False,
    **changes: Any,
) -> Collected:
    """Make one dataset and profiles of wells from the batches of an output folder.

    Cells are never all in memory: the dataset is written in pieces, wells are aggregated in
    groups of about ``rows_at_once`` cells and normalised plate by plate. The results equal those
    of pycytominer on the whole table. Only feature selection holds the profiles of all wells in
    memory.

    Parameters
    ----------
    folder : path
        Output folder of a stream; it is not changed.
    out : path, optional
        Folder of the results; by default ``<folder>_collected`` beside it.
    options : CollectOptions, optional
        Options; defaults if None.
    replace : bool
        Replace an earlier collection there.
    **changes
        Single options of `CollectOptions`, for example ``partial=True``.

    Raises
    ------
    ConfigError
        If an option has no such value, or there is no such option.
    CollectError
        If batches are missing or changed, there are too few negative controls, or `out` is not
        a place for a collection.
    JournalError
        If no stream has run in the folder.
    MissingToolError
        If AnnData is requested and not installed.
    StorageError
        If the results cannot be written.
    """
    options = (options or CollectOptions()).changed(**changes)
    folder = _absolute(folder)
    target = folder.with_name(f"{folder.name}_collected") if out is None else _absolute(out)
    source = read_source(folder)
    if not options.partial:
        source.refuse_partial()
    if options.anndata:
        from idrstream.collect.h5ad import check_anndata

        check_anndata()
    annotations = Annotations.of(source.tasks)
    with _new_folder(target, replace=replace) as part:
        cells = write_cells(
            source.batches, annotations, part / "cells", rows_at_once=options.rows_at_once
        )
        made = make_profiles(cells, annotations, options, part)
        write_features(part / FEATURES, cells.features, made.last, source.channels)
        write_tracks(folder, part, options.minutes_per_frame)
        if options.anndata:
            _write_h5ad(source, cells, made, part)
        record = _record(source, cells, made, options)
        if options.tables == "by-engine":
            record["cells"]["tables"] = split_by_engine(cells)
        _write_provenance(folder, part, record)
    log.info("Collected %d nuclei of %d batches in %s", cells.rows, len(source.batches), target)
    return Collected(target, record)


def _write_h5ad(source: Source, cells: Cells, made: Profiles, folder: Path) -> None:
    from idrstream.collect.h5ad import write_cells_h5ad, write_profiles_h5ad

    write_cells_h5ad(cells, folder / "cells.h5ad", source.channels)
    if made.last is not None:
        write_profiles_h5ad(made.last, cells.features, folder / "wells.h5ad", source.channels)


def _write_provenance(folder: Path, part: Path, record: dict[str, Any]) -> None:
    """Write the provenance of stream and collection, and the table to reproduce the stream."""
    content = read_provenance(folder, known_addresses(folder / PROVENANCE_NAME))
    table = part / content["table"]["file"]
    table.parent.mkdir()
    shutil.copyfile(inside(folder, content["table"]["file"]), table)
    save_provenance(part / PROVENANCE_NAME, {**content, _SECTION: record})


def _is_collection(folder: Path) -> bool:
    try:
        return _SECTION in read_json(folder / PROVENANCE_NAME)
    except (OSError, ValueError, TypeError):
        return False


def _record(
    source: Source, cells: Cells, made: Profiles, options: CollectOptions
) -> dict[str, Any]:
    names = ("idrstream", "pandas", "pyarrow", "pycytominer", "scikit-learn")
    return {
        "versions": {name: metadata.version(name) for name in names},
        "options": options.as_json(),
        "source": {
            "batches": len(source.batches),
            "partial": bool(source.missing),
            "missing_batches": list(source.missing),
            "left_out": list(source.left_out),
            "wells_without_nuclei": [list(key) for key in source.empty_wells],
        },
        "cells": {"rows": cells.rows, "features": len(cells.features)},
        "profiles": {
            "file": made.last.name if made.last else "",
            "wells": made.wells,
            "features": made.features,
            "steps": made.steps,
        },
    }


@contextmanager
def _new_folder(target: Path, *, replace: bool) -> Iterator[Path]:
    """Yield a folder to fill; its content becomes that of `target` if the block succeeds."""
    try:
        exists = _may_be_filled(target, replace=replace)
        # A folder that exists may be somebody's working directory: it stays, its content goes.
        part = target / _PART if exists else target.with_name(f".{target.name}{_PART}")
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir(parents=True)
            yield part
            if exists:
                _exchange(target, part)
            else:
                part.replace(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        msg = f"{target} cannot be written: {error}"
        raise StorageError(msg) from error


def _may_be_filled(target: Path, *, replace: bool) -> bool:
    """Return whether a folder exists; raise if it is not a place for a collection."""
    if not target.exists():
        return False
    if not target.is_dir():
        msg = f"{target} is a file: a collection is a folder; choose another name with --out (out)"
        raise CollectError(msg)
    if all(path.name == _PART for path in target.iterdir()):
        return True
    if not _is_collection(target):
        msg = (
            f"{target} has files that are not a collection of idrstream; choose another folder "
            "with --out (out)"
        )
        raise CollectError(msg)
    if not replace:
        msg = (
            f"{target} already has a collection; choose another folder with --out (out), or "
            "replace it with --replace (replace=True)"
        )
        raise CollectError(msg)
    names = (path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    if strangers := sorted(name for name in names if not _OWN.fullmatch(name)):
        msg = (
            f"{target} has files that are not the collection's ({shorten_list(strangers, _SHOWN)}) "
            "and would be deleted: move them, or choose another folder with --out (out)"
        )
        raise CollectError(msg)
    return True


def _exchange(target: Path, part: Path) -> None:
    """Replace the content of a folder by that of a folder in it, its provenance last."""
    for path in target.iterdir():
        if path.is_dir() and not path.is_symlink():
            if path != part:
                shutil.rmtree(path)
        else:
            path.unlink()
    for path in sorted(part.iterdir(), key=lambda path: path.name == PROVENANCE_NAME):
        path.replace(target / path.name)


def _absolute(path: Path | str) -> Path:
    """Return a path with a name of its own, also for ``.`` and ``..``; links are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100, Path.absolute keeps ..
