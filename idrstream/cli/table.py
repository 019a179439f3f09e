"""``idrstream table``: the table to process, by an accession or from a study's own files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.cli.options import as_file, as_path
from idrstream.cli.parser import Parser
from idrstream.cli.terminal import say
from idrstream.errors import ConfigError, StorageError, TableError
from idrstream.files import atomic_path
from idrstream.screen.columns import channel_columns
from idrstream.text import counted

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.archive.table import ScreenTable
    from idrstream.screen.study.study_table import StudyTable

# What says where an image is, by the column Source.
_SOURCES = {
    "file": "path of its own",
    "layout": "layout that the study has",
    "screen": ".screen file",
    "pattern": ".pattern file",
    "index": "index of the plate",
    "key file": "first file of the plate",
    "directory": "folder of the plate",
    "zarr": "OME-Zarr plate",
}


def add_arguments(parser: Parser) -> None:
    """Add the study's files and the choice of its images."""
    parser.usage = "%(prog)s ACCESSION|PLATES.tsv [options]"
    parser.add_argument(
        "plates", metavar="ACCESSION|PLATES.tsv|ADDRESS.zarr", nargs="*",
        help="an accession such as idr0036, a study's own plates file, or plates or images of "
        "OME-Zarr: paths, https:// or s3:// addresses",
    )  # fmt: skip
    add = parser.add_argument
    add(
        "--files", action="append", default=[], metavar="PATTERN|FOLDER|INDEX|CSV",
        help="any files instead: a pattern such as 'plates/{plate}/{well}_s{site}_w{channel}.tif', "
        "a plate's folder or index, a LoadData CSV, or a list of .zarr; may be repeated",
    )  # fmt: skip
    add("--out", type=as_file, metavar="TABLE.tsv", help="the table to write; without it only look")
    add(
        "--screens", type=as_path, action="append", default=[], metavar="PATH",
        help=".screen or .pattern file or a folder of them; may be repeated",
    )  # fmt: skip
    add_choices(parser)
    add(
        "--pattern-value", action="append", default=[], metavar="VALUE",
        help="value of a pattern's block that names the wanted file; one for each block, in order",
    )  # fmt: skip
    add(
        "--channel", action="append", default=[], metavar="NAME[=CHANNEL]",
        help="channel in a file of its own, by name, pattern value or position; may be repeated",
    )  # fmt: skip


def add_choices(parser: Parser, group: argparse._ArgumentGroup | None = None) -> None:
    """Add what chooses images of a study or of files, to a group of the help."""
    add, rare = (group or parser).add_argument, parser.rare
    add(
        "--annotation", type=as_file, metavar="CSV",
        help="a table of wells: annotation.csv or annotation.csv.gz",
    )  # fmt: skip
    add("--screen", metavar="LETTER", help="screen of an accession that has several, such as A")
    add(
        "--route", choices=("auto", "zarr", "files"), default="auto",
        help=rare("accession: images from OME-Zarr, from files, or from OME-Zarr where IDR has it"),
    )  # fmt: skip
    add(
        "--idr-data", metavar="FOLDER|URL",
        help="accession: copy of IDR's metadata (website/, studies/, ngff/); by default the web",
    )  # fmt: skip
    add(
        "--frames", default="1", metavar="FRAMES",
        help='frames from 1: "50", "1,50", "1-93:10", "all", "every 10" or "column NAME" [1]',
    )  # fmt: skip
    add("--movie-frames", type=int, metavar="N", help=rare("all/every become ranges to N"))
    add(
        "--where", action="append", default=[], metavar="COLUMN=VALUE",
        help="keep rows of the annotation with this value; may be repeated, also for one column",
    )  # fmt: skip
    add("--plate", action="append", default=None, metavar="NAME", help="only this plate; repeat")
    add("--site", type=int, action="append", default=None, metavar="N", help="only this field")
    add("--gene-column", metavar="COLUMN", help=rare("column that is the gene target"))
    add(
        "--plane", type=int, metavar="N",
        help=rare("plane from 1, where planes are in files of their own; by default all"),
    )  # fmt: skip


def handle(namespace: argparse.Namespace) -> int:
    """Print what there is, and write the table."""
    from idrstream.archive.table import ScreenTable
    from idrstream.screen.study.study_table import no_image

    out: Path | None = namespace.out
    if namespace.plates and not namespace.files and all(map(_is_zarr, namespace.plates)):
        namespace.files, namespace.plates = namespace.plates, []
    if bool(namespace.files) == bool(namespace.plates):
        msg = "give an accession or a plates file, or --files, and not both"
        raise ConfigError(msg)
    if len(namespace.plates) > 1:
        msg = f"give one accession or plates file, or addresses of .zarr only: {namespace.plates}"
        raise ConfigError(msg)
    if out is not None:
        _refuse_format(out)
        named = [*map(Path, namespace.files or namespace.plates)]
        _refuse_input(out, [*named, namespace.annotation, *namespace.screens])
    found = found_by(namespace)
    made = found.study if isinstance(found, ScreenTable) else found
    say(f"{found if isinstance(found, ScreenTable) else made.balance}\n")
    if out is None:
        return 0
    if made.table.empty:
        raise TableError(
            f"{', '.join(namespace.plates or namespace.files)}: {no_image(made.balance)}"
        )
    write_table(made.table, out)
    say(_summary(made.table, out))
    return 0


def found_by(namespace: argparse.Namespace) -> StudyTable | ScreenTable:
    """Return what the options name."""
    from idrstream.archive.files import files_table
    from idrstream.archive.table import described_table

    options: dict[str, Any] = {
        "frames": namespace.frames,
        "movie_frames": namespace.movie_frames,
        "where": _where(namespace.where),
        "plates": namespace.plate,
        "sites": namespace.site,
        "gene_column": namespace.gene_column,
        "channels": namespace.channel,
        "plane": namespace.plane,
    }
    if namespace.files:
        _refuse_of_studies(namespace)
        return files_table(namespace.files, namespace.annotation, **options)
    return described_table(
        namespace.plates[0],
        namespace.annotation,
        namespace.screens,
        screen=namespace.screen,
        route=namespace.route,
        idr_data=namespace.idr_data,
        pattern_values=namespace.pattern_value,
        **options,
    )


def _is_zarr(text: str) -> bool:
    from idrstream.archive.zarr import is_zarr

    return is_zarr(text)


def _refuse_of_studies(namespace: argparse.Namespace) -> None:
    given = {
        "--screens": namespace.screens,
        "--screen": namespace.screen,
        "--idr-data": namespace.idr_data,
        "--pattern-value": namespace.pattern_value,
        "--route": namespace.route != "auto",
    }
    wrong = [option for option, value in given.items() if value]
    if wrong:
        msg = f"{', '.join(wrong)} is for studies of IDR, not for --files"
        raise ConfigError(msg)


def write_table(table: pd.DataFrame, out: Path) -> None:
    """Write a table to process, as its name says: .tsv or .csv, or either packed."""
    separator = "," if ".csv" in out.name else "\t"
    packed: dict[str, Any] = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zip": "zip"}
    try:
        with atomic_path(out, or_device=True) as part, part.open("wb") as file:
            # The partial file's own name does not say how it is packed.
            how = packed.get(out.suffix)
            table.to_csv(file, sep=separator, index=False, compression=how)
    except OSError as error:
        msg = f"{out} cannot be written: {error.strerror}"
        raise StorageError(msg) from error


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
    kinds = ", ".join(
        f"{_SOURCES.get(str(kind), kind)} ({n:,})"
        for kind, n in table["Source"].value_counts().items()
    )
    without = len(table.attrs.get("plates_without_annotation", ()))
    left_out = f"{counted(without, 'plate')} without annotation left out.\n" if without else ""
    plates, files = counted(table["Plate"].nunique(), "plate"), counted(_files(table), "file")
    return left_out + (
        f"{counted(len(table), 'image')} ({counted(wells, 'well')} of {plates}) in {files}; found "
        f"through: {kinds}.\nWritten to {path}\n"
    )


def _files(table: pd.DataFrame) -> int:
    columns = ["Path", *channel_columns(table.columns).values()]
    return len({path for name in columns for path in table[name]} - {""})
