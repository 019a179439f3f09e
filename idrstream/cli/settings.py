"""``idrstream settings``: a commented settings file for what somebody has, checked at once."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from shlex import join, quote
from typing import TYPE_CHECKING

from idrstream.cli.options import as_file
from idrstream.cli.parser import Parser
from idrstream.cli.table import add_choices, found_by, write_table
from idrstream.cli.terminal import say
from idrstream.errors import ConfigError, StorageError, TableError

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.archive.table import ScreenTable
    from idrstream.screen.study.study_table import StudyTable

_ONE = "--study, --files, --zarr or --table"


def add_arguments(parser: Parser) -> None:
    """Add what there is to process, and the file to write."""
    parser.usage = "%(prog)s --study|--files|--zarr|--table WHAT [options]"
    parser.description = (
        "Write the settings of a stream, with a comment for each, and the table of its images; "
        "then check them as idrstream plan does. Nothing is asked, and nothing is processed."
    )
    have = parser.add_argument_group("what you have")
    have.add_argument("--study", metavar="ACCESSION", help="a study of IDR, such as idr0013")
    have.add_argument(
        "--files", action="append", default=[], metavar="PATTERN|FOLDER",
        help="files, such as 'plates/{plate}/{well}_s{site}_w{channel}.tif', or a plate's folder "
        "or index; may be repeated",
    )  # fmt: skip
    have.add_argument(
        "--zarr", action="append", default=[], metavar="ADDRESS",
        help="OME-Zarr: a path, https:// or s3:// address; may be repeated",
    )  # fmt: skip
    have.add_argument("--table", type=as_file, metavar="TABLE", help="a table to process")
    which = parser.add_argument_group("which images of these")
    which.add_argument(
        "--wells", default="all", metavar="all|controls|A1,B2", help="which wells [all]"
    )
    written = parser.add_argument_group("what is written")
    written.add_argument(
        "--nuclei", metavar="CHANNEL", help="channel that shows nuclei; by default by its name"
    )
    written.add_argument(
        "--out", type=as_file, default=Path("stream.toml"), metavar="CONFIG.toml",
        help="the settings; the table is written beside it [stream.toml]",
    )  # fmt: skip
    written.add_argument("--force", action="store_true", help="replace both files")
    add_choices(parser, which)


def handle(namespace: argparse.Namespace) -> int:
    """Write table and settings, and the plan; 1 when a check failed."""
    from idrstream.archive.first_settings import (
        FirstSettings,
        chosen_wells,
        image_facts,
        with_nuclei,
    )
    from idrstream.cli.plan import plan_settings
    from idrstream.config import load_settings

    _check(namespace)
    out: Path = namespace.out
    prefix = "" if out.stem == "stream" else f"{out.stem}_"
    words = _words(namespace)
    written = namespace.table or out.with_name(f"{out.stem}.tsv")
    _refuse_others(out, *([] if namespace.table else [written]), force=namespace.force)
    table, name, planes, frames = _found(namespace)
    table = chosen_wells(table, namespace.wells)
    facts = with_nuclei(image_facts(table, planes=planes, frames=frames), namespace.nuclei)
    if namespace.table is None:
        write_table(table, written)
    text = FirstSettings(
        name, os.path.relpath(written.absolute(), out.absolute().parent), prefix, words
    ).text(facts)
    _write(out, text)
    say(f"{facts}\nSettings: {out}\nTable: {written}\n\n")
    plan = plan_settings(load_settings(out))
    say(f"{plan!r}\n")
    if plan.is_good:
        say(f"Start it with:\n  idrstream run {quote(str(out))}\n")
        return 0
    say(f"Change {out} as the failed checks say, and try again with:\n")
    say(f"  idrstream plan {quote(str(out))}\n")
    return 1


def _check(namespace: argparse.Namespace) -> None:
    given = [namespace.study, namespace.files, namespace.zarr, namespace.table]
    if sum(map(bool, given)) != 1:
        raise ConfigError(f"say what you have by one of {_ONE}")
    if namespace.out.suffix != ".toml":
        raise ConfigError(f"--out {namespace.out}: the settings are a .toml file")
    if namespace.table is not None and namespace.wells != "all":
        raise ConfigError("--wells is not for --table: delete the rows of the table instead")


def _refuse_others(*paths: Path, force: bool) -> None:
    """Refuse to write over what is there."""
    for path in paths:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder; name a file with --out")
        if path.exists() and not force:
            raise ConfigError(f"{path} is there already; name another --out or give --force")


def _found(namespace: argparse.Namespace) -> tuple[pd.DataFrame, str, int, int]:
    """Return the table, a name, and planes and frames of an image as far as they are known."""
    from idrstream.archive.table import ScreenTable
    from idrstream.screen import read_table
    from idrstream.screen.study.study_table import no_image

    if namespace.table is not None:
        return read_table(namespace.table), namespace.table.stem, 1, 1
    files = [*namespace.files, *namespace.zarr]
    wanted = {  # with the options of idrstream table that this command has not
        **vars(namespace),
        "plates": [namespace.study] if namespace.study else [],
        "files": [_whole(text) for text in files],
        "screens": [], "pattern_value": [], "channel": [],
    }  # fmt: skip
    found: StudyTable | ScreenTable = found_by(argparse.Namespace(**wanted))
    made = found.study if isinstance(found, ScreenTable) else found
    say(f"{found if isinstance(found, ScreenTable) else made.balance}\n")
    if made.table.empty:
        raise TableError(f"{namespace.study or ', '.join(files)}: {no_image(made.balance)}")
    if isinstance(found, ScreenTable):
        sizes = [int(float(size)) if _is_number(size) else 1 for size in found.facts.dimensions]
        planes, frames = (sizes[2], sizes[4]) if len(sizes) == 5 else (1, 1)  # X Y Z C T
        return made.table, found.facts.accession, planes, frames
    return made.table, namespace.out.absolute().parent.name, 1, 1


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def _whole(text: str) -> str:
    """Return a path, pattern or address that holds wherever the stream is started."""
    if "://" in text:
        return text
    path = Path(text).expanduser()
    return text if path.is_absolute() else f"{Path.cwd()}/{text}"


def _words(namespace: argparse.Namespace) -> str:
    """Return the command line that says what there is."""
    words = ["idrstream", "settings"]
    for name in ("study", "files", "zarr", "table"):
        value = getattr(namespace, name)
        for one in value if isinstance(value, list) else [value] if value else []:
            words += [f"--{name}", str(one)]
    if namespace.wells != "all":
        words += ["--wells", namespace.wells]
    return join(words)


def _write(out: Path, text: str) -> None:
    from idrstream.files import atomic_file

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(out) as file:
            file.write(text.encode())
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror}") from error
