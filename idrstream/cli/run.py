"""``idrstream run``: a stream from a TOML file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from idrstream import errors
from idrstream.cli.options import add_setting_options, as_file, as_path, given_options
from idrstream.cli.parser import Parser
from idrstream.cli.terminal import say, say_aside
from idrstream.config import executed, load_settings
from idrstream.config.foreign import ACCEPT
from idrstream.errors import BatchError, ConfigError, PlanChangedError, StorageError
from idrstream.text import as_ranges, counted
from idrstream.visible import visible_line
from idrstream.workers.steps import StepClock

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.config import Settings
    from idrstream.run.reproduce import Provenance
    from idrstream.schedule.result import RunResult
    from idrstream.stream.stream import IdrStream

_OURS = frozenset(vars(errors))
# Failures that another attempt may not have, whatever stays as it is.
_MAY_PASS = frozenset({
    "BusyError", "IncompleteFileError", "InterruptedDownloadError", "PartialFileInvalidError",
    "RemoteFileChangedError", "TransientDownloadError", "WorkerDiedError",
})  # fmt: skip


def add_arguments(parser: Parser) -> None:
    """Add the configuration file and one option per setting."""
    parser.add_argument(
        "config", type=as_path, nargs="?", metavar="CONFIG.toml", help="settings of the stream"
    )
    parser.add_argument(
        "--detach", action="store_true",
        help="run on when the terminal is closed",
    )  # fmt: skip
    add_follow_options(parser)
    add_setting_options(parser)
    add_profile_option(parser)
    add_again_options(parser)


def handle(namespace: argparse.Namespace) -> int:
    """Run the stream and say what came of it."""
    from idrstream.run.log import errors_logged
    from idrstream.stream.build import build_stream, run_settings
    from idrstream.stream.stream import IdrStream

    again = _provenance(namespace)
    _check_follow(namespace)
    if again is None:
        options = given_options(namespace)
        if namespace.files:  # it is not read then
            options.setdefault("table", namespace.files[0])
        settings = load_settings(namespace.config, options=options)
    else:
        settings = again.settings(given_options(namespace), trusted=namespace.accept_settings)
    if namespace.detach:
        from idrstream.run.detach import start_detached

        code, said = start_detached(
            namespace.config, given_options(namespace), settings.stream.final_data_dir
        )
        say(said)
        return code
    announce(settings)
    stream = build_stream(IdrStream, settings)
    tiled = settings.preprocess.tile_px > 0
    with closing(stream), errors_logged(), steps_measured(namespace.profile, show=tiled):
        if again is not None:
            warn_of_changes(again, stream, settings, accept=namespace.accept_differences)
        if namespace.follow:
            return _follow(namespace, stream, settings)
        result = run_settings(stream, settings)
    return report(result, settings.stream.final_data_dir)


def add_follow_options(parser: Parser) -> None:
    """Add what processes a table or a folder that grows."""
    parser.add_argument(
        "--follow", action="store_true",
        help="wait for new rows of the table until stopped",
    )  # fmt: skip
    parser.add_argument(
        "--files", action="append", default=[], metavar="PATTERN|FOLDER",
        help=parser.rare(
            "--follow: files in place of the table, as for idrstream table; may be repeated"
        ),
    )  # fmt: skip
    parser.add_argument(
        "--frames", metavar="FRAMES",
        help=parser.rare('--files: frames of every movie, such as "all" or "1-93:3" [1]'),
    )  # fmt: skip
    parser.add_argument(
        "--settle-s", type=float, default=10.0, metavar="SECONDS",
        help=parser.rare("--follow: how long a row and its files must not have changed [10]"),
    )  # fmt: skip


def _check_follow(namespace: argparse.Namespace) -> None:
    if namespace.files and not namespace.follow:
        raise ConfigError("--files needs --follow; for files that are there, use idrstream table")
    if namespace.frames is not None and not namespace.files:
        raise ConfigError("--frames needs --files; a table has a column Frames")
    if namespace.follow and (namespace.provenance is not None or namespace.detach):
        raise ConfigError("--follow works without --from and --detach")
    if not namespace.settle_s > 0:
        raise ConfigError(f"--settle-s is {namespace.settle_s:g}; it must be above 0")


def _follow(namespace: argparse.Namespace, stream: IdrStream, settings: Settings) -> int:
    """Follow a table or files until stopped."""
    from idrstream.stream.build import run_options
    from idrstream.stream.executors import make_executor

    files, folder = namespace.files or None, settings.stream.final_data_dir
    say(f"Following {', '.join(files or [str(settings.stream.table)])}; stop with Ctrl-C or\n")
    say(f"  idrstream stop {quote(str(folder))}\n")
    code = 0
    for result in stream.follow(
        None if files else settings.stream.table, files=files, frames=namespace.frames or "1",
        settle_s=namespace.settle_s, executor=make_executor(settings.cluster, folder),
        **run_options(settings.stream),
    ):  # fmt: skip
        say(summary(result, folder))
        code = 1 if result.rerun_batches else 0
    return code


def add_profile_option(parser: Parser) -> None:
    """Add what measures the steps."""
    parser.add_argument(
        "--profile", type=as_file, metavar="STEPS.csv",
        help=parser.rare(
            "write time and peak memory of every passage of a step (read, scale, network, masks, "
            "features, write)"
        ),
    )  # fmt: skip


@contextmanager
def steps_measured(path: Path | None, *, show: bool) -> Iterator[None]:
    """Measure the steps of what runs inside; show them as a table, and write them to a file."""
    from idrstream.files import atomic_file

    if path is None and not show:
        yield
        return
    with StepClock() as clock:
        yield
    say(clock.table())
    if path is not None:
        try:
            with atomic_file(path) as file:
                file.write(clock.csv().encode())
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error}") from error


def add_again_options(parser: Parser) -> None:
    """Add what runs a stream again from its provenance."""
    parser.add_argument(
        "--from", type=as_file, dest="provenance", metavar="provenance.json",
        help=parser.rare(
            "run a stream again instead, with the table and settings of its output folder; "
            "results go to idrstream_again/features unless --final-data-dir is given"
        ),
    )  # fmt: skip
    parser.add_argument(
        "--accept-differences", action="store_true",
        help=parser.rare("with --from: run it although models, table or settings are others now"),
    )  # fmt: skip
    add_accept_option(parser)


def add_accept_option(parser: Parser) -> None:
    """Add what accepts the programs, keys and folders that a file from elsewhere names."""
    parser.add_argument(
        ACCEPT, action="store_true", dest="accept_settings",
        help=parser.rare(
            "use programs, keys, jars, log and folders of the journal or provenance although "
            "somebody else may have written it; without it they are listed and not used"
        ),
    )  # fmt: skip


def announce(settings: Settings) -> None:
    """Say what will be executed, before it is."""
    for what in executed(settings):
        say_aside(f"idrstream: will execute {visible_line(what)}\n")


def _provenance(namespace: argparse.Namespace) -> Provenance | None:
    if (namespace.config is None) == (namespace.provenance is None):
        msg = "give either CONFIG.toml, which idrstream settings writes, or --from provenance.json"
        raise ConfigError(msg)
    if namespace.provenance is None:
        return None
    if namespace.detach:
        msg = "--detach works with CONFIG.toml, not with --from"
        raise ConfigError(msg)
    from idrstream.run.reproduce import load_provenance

    return load_provenance(namespace.provenance)


def warn_of_changes(
    again: Provenance, stream: IdrStream, settings: Settings, *, accept: bool
) -> None:
    """Refuse or tell what is not as the provenance says; versions are only told."""
    try:
        changed = again.check(stream, settings)
    except PlanChangedError as error:
        if not accept:
            raise
        changed = [str(error), *again.changed_versions(stream)]
    for change in changed:
        say_aside(f"idrstream: results may differ: {change}\n")


def report(result: RunResult, folder: Path) -> int:
    """Write what a run did and how to continue, and return the exit code."""
    say(summary(result, folder))
    if not result.rerun_batches:
        return 0
    where = quote(str(folder))
    if result.remaining_batches:
        say(f"Go on with:\n  idrstream resume {where}\n")
    kinds = [str(kind) for kind in _shown_failures(result)["Kind"]]
    if _MAY_PASS.intersection(kinds):
        numbers = as_ranges(result.rerun_batches, ",", most=1 << 30)
        say(f"Run what failed again with:\n  idrstream rerun {where}\n")
        say(f"or some of it with --batch-nums {numbers}\n")
    elif kinds:
        known = [kind for kind in dict.fromkeys(kinds) if kind in _OURS]
        explained = "".join(f"  idrstream explain {kind}\n" for kind in known)
        say(f"It would fail again as it is. What to change:\n{explained}")
        say(f"and then:\n  idrstream rerun {where}\n")
    return 1


def summary(result: RunResult, folder: Path) -> str:
    """Return what a run did, as text for a person."""
    from idrstream.folder.recorded import is_extraction_folder

    images = sum(len(item.batch.tasks) for item in result.batches)
    objects, made = ("nucleus", "nuclei"), "features"
    if is_extraction_folder(folder):
        objects, made, folder = ("plane", "planes"), "plates", folder / "plates"
    if not result.plan.numbers:
        return f"Nothing is left to do: {made} are in {folder}\n"
    some = any(item.published is not None for item in result.batches)
    used = f"{images - result.lost_images} of " if result.lost_images else ""
    of = counted(images, "image")
    lines = [
        f"{counted(result.nuclei, *objects)} of {used}{of}, {result.seconds:.0f} s."
        if not images or result.lost_images < images
        else f"None of {of} could be processed, {result.seconds:.0f} s.",
        f"{made.capitalize()} are in {folder}" if some else f"No {made} are in {folder}",
        *((result.bottleneck,) if result.bottleneck and made == "features" else ()),
        *((f"Disk: {result.disk}",) if result.disk and result.nuclei else ()),
    ]
    if result.rows_repeated:
        rows = counted(result.rows_repeated, "row")
        lines.append(f"{rows} of the table left out: they repeat earlier ones")
    if result.rows_unusable:
        lines.append(f"{counted(result.rows_unusable, 'row')} of the table left out: not usable")
    if result.missing_images:
        lines.append(f"{counted(result.missing_images, 'image')} not at the source")
    failures = _shown_failures(result)
    if len(failures):
        lines += ["failures:", *map(_failure_line, failures.itertuples(index=False))]
    return "\n".join(lines) + "\n"


def _failure_line(row: Any) -> str:
    where = f"plate {row.Plate} well {row.Well}" if row.Plate else f"batch {row.Batch}"
    frame = f" frame {row.Frame}" if str(row.Frame).isdecimal() else ""
    return f"  {where}{frame} ({row.Stage}): {row.Kind}: {row.Reason}"


def _shown_failures(result: RunResult) -> pd.DataFrame:
    """Return what failed, but batches that failed only because all their images did."""
    failures = result.failures()
    explained = failures.loc[failures["Plate"] != "", "Batch"]
    batches = (failures["Plate"] == "") & (failures["Kind"] == BatchError.__name__)
    return failures[~(batches & failures["Batch"].isin(explained))]
