"""``idrstream table``: the table to process, from a study's own files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.errors import ConfigError, StorageError
from idrstream.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the study's files and the choice of its images."""
    parser.add_argument("plates", type=Path, metavar="PLATES.tsv", help="the study's plates file")
    add = parser.add_argument
    add("--annotation", type=Path, metavar="CSV", help="its annotation.csv or annotation.csv.gz")
    add(
        "--screens", type=Path, action="append", default=[], metavar="PATH",
        help=".screen or .pattern file or a folder of them; may be repeated",
    )  # fmt: skip
    add("--out", type=Path, required=True, metavar="TABLE.tsv", help="the table to write")
    add(
        "--frames", default="1", metavar="FRAMES",
        help='frames from 1: "50", "1,50", "1-93:10", "all", "every 10" or "column NAME" [1]',
    )  # fmt: skip
    add("--movie-frames", type=int, metavar="N", help="frames of the longest movie, for all/every")
    add(
        "--where", action="append", default=[], metavar="COLUMN=VALUE",
        help="keep rows of the annotation with this value; may be repeated, also for one column",
    )  # fmt: skip
    add("--plate", action="append", default=None, metavar="NAME", help="only this plate; repeat")
    add("--site", type=int, action="append", default=None, metavar="N", help="only this field")
    add("--gene-column", metavar="COLUMN", help="column that is the gene target")
    add(
        "--pattern-value", action="append", default=[], metavar="VALUE",
        help="value of a pattern's block that names the wanted file; one for each block, in order",
    )  # fmt: skip
    add(
        "--channel", action="append", default=[], metavar="NAME[=CHANNEL]",
        help="channel in a file of its own, by name, pattern value or position; may be repeated",
    )  # fmt: skip


def handle(namespace: argparse.Namespace) -> int:
    """Write the table and print a summary."""
    from idrstream.screen.study.idr import table_from_idr

    _refuse_format(namespace.out)
    _refuse_input(namespace.out, [namespace.plates, namespace.annotation, *namespace.screens])
    table = table_from_idr(
        namespace.plates,
        namespace.annotation,
        namespace.screens,
        frames=namespace.frames,
        movie_frames=namespace.movie_frames,
        where=_where(namespace.where),
        plates=namespace.plate,
        sites=namespace.site,
        gene_column=namespace.gene_column,
        pattern_values=namespace.pattern_value,
        channels=namespace.channel,
    )
    separator = "," if ".csv" in namespace.out.name else "\t"
    packed: dict[str, Any] = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zip": "zip"}
    try:
        with atomic_path(namespace.out) as part, part.open("wb") as file:
            # The partial file's own name does not say how it is packed.
            how = packed.get(namespace.out.suffix)
            table.to_csv(file, sep=separator, index=False, compression=how)
    except OSError as error:
        msg = f"{namespace.out} cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    sys.stdout.write(_summary(table, namespace.out))
    return 0


def _refuse_format(out: Path) -> None:
    """Refuse a name of a format that is not written."""
    if out.suffix.lower() in (".zip", ".bz2", ".xz", ".zst", ".xlsx", ".xls", ".parquet"):
        msg = f"--out {out}: the table is written as .tsv or .csv, or either with .gz"
        raise ConfigError(msg)


def _refuse_input(out: Path, inputs: list[Path | None]) -> None:
    """Refuse to write over a file that is read."""
    files = [path for path in inputs if path is not None]
    if out.suffix in (".screen", ".pattern"):
        files += [file for path in files if path.is_dir() for file in path.rglob(out.name)]
    if out.exists() and any(file.exists() and file.samefile(out) for file in files):
        msg = f"--out {out} is one of the files that are read; choose another name for the table"
        raise ConfigError(msg)


def _where(texts: list[str]) -> dict[str, list[str]]:
    chosen: dict[str, list[str]] = {}
    for text in texts:
        column, equals, value = text.partition("=")
        if not equals:
            msg = (
                f'--where {text!r}: expected COLUMN=VALUE, such as "Control Type=negative control"'
            )
            raise ConfigError(msg)
        chosen.setdefault(column.strip(), []).append(value.strip())
    return chosen


def _summary(table: pd.DataFrame, path: Path) -> str:
    wells = len(table.drop_duplicates(["Plate", "Well"]))
    kinds = ", ".join(f"{n} {kind}" for kind, n in table["Source"].value_counts().items())
    return (
        f"{len(table)} images ({wells} wells of {table['Plate'].nunique()} plates) in "
        f"{table['Path'].nunique()} files; by source: {kinds}.\nWritten to {path}\n"
    )
