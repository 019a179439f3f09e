"""``idrstream extract``: every plane of a stream's images into one OME-Zarr per plate."""

from __future__ import annotations

import argparse
from contextlib import closing
from shlex import quote
from typing import TYPE_CHECKING

from idrstream.cli.options import add_setting_options, as_path, given_options
from idrstream.cli.parser import Parser
from idrstream.cli.run import announce
from idrstream.cli.terminal import say
from idrstream.config import load_settings
from idrstream.text import as_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from idrstream.run.extracted import Extracted, Original
    from idrstream.schedule.result import RunResult

_SHOWN = 20


def add_arguments(parser: Parser) -> None:
    """Add the configuration file, what becomes of the originals, and the settings."""
    parser.description = (
        "Write every plane of the images that a stream reads, all channels, planes and frames, "
        "into one OME-Zarr for each plate, in plates/ of the output folder. Nothing is segmented. "
        "idrstream resume continues it."
    )
    parser.add_argument("config", type=as_path, metavar="CONFIG.toml", help="settings of a stream")
    parser.add_argument(
        "--delete", action="store_true",
        help="delete local files that the table names once every plane of them is in its plate; "
        "each is read again and compared before. What else is in the files is lost",
    )  # fmt: skip
    add_setting_options(parser)


def handle(namespace: argparse.Namespace) -> int:
    """Extract the planes and say what came of it."""
    from idrstream.run.log import errors_logged
    from idrstream.screen import read_table
    from idrstream.stream.build import build_stream, run_options, run_settings
    from idrstream.stream.stream import IdrStream

    options = {**given_options(namespace), "extract": "true"}
    settings = load_settings(namespace.config, options=options)
    announce(settings)
    stream = build_stream(IdrStream, settings)
    with closing(stream), errors_logged():
        result = run_settings(stream, settings)
        table, chosen = read_table(settings.stream.table), run_options(settings.stream)
        counts = stream.extracted(table, **chosen)
        originals = stream.delete_originals(table, **chosen) if namespace.delete else []
    folder = settings.stream.final_data_dir
    say(_summary(result, counts, originals))
    say(f"Plates are in {folder / 'plates'}\n")
    if result.remaining_batches:
        say(f"Go on with:\n  idrstream resume {quote(str(folder))}\n")
    elif result.rerun_batches:
        numbers = as_ranges(result.rerun_batches, ",", most=1 << 30)
        say(f"Try what is missing again with:\n  idrstream rerun {quote(str(folder))}\n")
        say(f"or some of it with --batch-nums {numbers}\n")
    return 1 if counts.whole < counts.images else 0


def _summary(result: RunResult, counts: Extracted, originals: Sequence[Original]) -> str:
    lines = [f"{counts}"]
    failures = result.failures()
    if len(failures):
        lines += [f"{len(failures)} failures:", failures.to_string(index=False, na_rep="")]
    if originals:
        kept = [one for one in originals if one.kept]
        lines.append(f"{len(originals) - len(kept)} originals deleted, {len(kept)} kept.")
        lines += [f"  {one.path}: {one.kept}" for one in kept[:_SHOWN]]
        lines += [f"  and {len(kept) - _SHOWN} more"] if len(kept) > _SHOWN else []
    return "\n".join(lines) + "\n"
