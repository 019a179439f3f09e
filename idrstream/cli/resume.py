"""``idrstream resume DIR``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.cli.options import add_setting_options, as_folder, given_options
from idrstream.cli.parser import Parser
from idrstream.cli.run import add_accept_option, announce, report
from idrstream.cli.terminal import say
from idrstream.config import Scope, all_options, settings_from_json, usable_settings
from idrstream.errors import ConfigError

if TYPE_CHECKING:
    from idrstream.cluster import Executor
    from idrstream.config import ClusterSettings
    from idrstream.schedule.result import RunResult
    from idrstream.stream.stream import IdrStream


def add_arguments(parser: Parser) -> None:
    """Add the folder and one option per setting."""
    add_folder(parser)
    add_setting_options(parser, "DIR")


def handle(namespace: argparse.Namespace) -> int:
    """Run every batch that is not done; a paused stream continues where it runs."""
    from idrstream.folder.status import StreamState, read_status
    from idrstream.watch.background import attach

    if read_status(namespace.folder).state in (StreamState.PAUSING, StreamState.PAUSED):
        status = attach(namespace.folder).resume()
        text = json.dumps(status.as_json(), indent=1) if namespace.json else f"{status!r}"
        say(f"{text}\n")
        return 0
    return go_on(namespace, lambda stream, options: stream.resume(**options))


def add_folder(parser: Parser) -> None:
    """Add what every command that continues a stream takes."""
    parser.add_argument("folder", type=as_folder, metavar="DIR", help="output folder of a stream")
    parser.add_argument("--json", action="store_true", help="write what was done as JSON")
    add_accept_option(parser)


def go_on(
    namespace: argparse.Namespace,
    work: Callable[[IdrStream, dict[str, Any]], RunResult],
    make: Callable[[ClusterSettings, Path], Executor | None] | None = None,
) -> int:
    """Build the stream of an output folder again, let it work, and report the result.

    `make` returns the executor, by default the one that the settings name.

    Raises
    ------
    ConfigError
        When the stream was not built from settings.
    """
    from idrstream.folder.recorded import read_recorded_call
    from idrstream.folder.status import read_status
    from idrstream.run.log import errors_logged
    from idrstream.stream.build import build_stream, run_options
    from idrstream.stream.executors import make_executor
    from idrstream.stream.stream import IdrStream

    folder: Path = namespace.folder
    recorded = read_recorded_call(folder)
    if recorded.settings is None:
        msg = (
            f"the stream in {folder} was built in Python, from objects that a journal cannot "
            "hold: build it there again and call stream.resume() or stream.rerun_failed()"
        )
        raise ConfigError(msg)
    known, given = all_options(), given_options(namespace)
    if "table" in given:
        msg = "the folder has a copy of its table; for a table that grew use idrstream run"
        raise ConfigError(msg)
    if namespace.json:
        given["progress"] = "false"
    kept = usable_settings(
        recorded.settings,
        f"the journal of {folder}",
        given={**given, "final_data_dir": str(folder)},
        trusted=recorded.is_own or namespace.accept_settings,
    )
    kept.setdefault("stream", {})["final_data_dir"] = str(folder)  # it may have been moved since
    settings = settings_from_json(kept, options=given)
    announce(settings)
    stream = build_stream(IdrStream, settings)
    with closing(stream), errors_logged():
        options = {
            name: value
            for name, value in run_options(settings.stream).items()
            if name in given or known[name].scope not in (Scope.PLAN, Scope.CALL)
        }
        options["executor"] = (make or make_executor)(settings.cluster, folder)
        result = work(stream, options)
    if not namespace.json:
        return report(result, folder)
    content = read_status(folder).as_json()
    content["rows_repeated"] = result.rows_repeated
    content["rows_unusable"] = result.rows_unusable
    content["run"] = [item.batch.number for item in result.batches]
    say(json.dumps(content, indent=1) + "\n")
    return 1 if result.rerun_batches else 0


def add_rerun_arguments(parser: Parser) -> None:
    """Add the folder, the choice, and one option per setting."""
    add_arguments(parser)
    parser.add_argument(
        "--kind",
        metavar="ERROR",
        help="only where something failed with this error, for example TransientDownloadError",
    )


def handle_rerun(namespace: argparse.Namespace) -> int:
    """Run the batches again that are named, or all that had a failure."""
    if namespace.batch_nums is None:
        return go_on(namespace, lambda stream, o: stream.rerun_failed(namespace.kind, **o))
    return go_on(namespace, lambda stream, o: stream.rerun(o.pop("batch_nums"), **o))
