"""``idrstream status DIR``."""

from __future__ import annotations

import argparse
import json
import sys

from idrstream.cli.options import as_folder
from idrstream.cli.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("folder", type=as_folder, metavar="DIR", help="output folder of a stream")
    parser.add_argument("--json", action="store_true", help="write JSON")
    parser.add_argument("--failures", action="store_true", help="also list failures")
    parser.add_argument(
        "--watch", action="store_true", help="repeat until the stream ends; Ctrl-C does not stop it"
    )
    parser.add_argument(
        "--interval", type=float, default=2.0, metavar="S",
        help="seconds between updates of --watch [2]",
    )  # fmt: skip


def handle(namespace: argparse.Namespace) -> int:
    """Write the status of the stream."""
    from idrstream.folder.status import read_failures, read_status

    if namespace.watch:
        from idrstream.watch.follow import follow

        interval_s = max(0.1, namespace.interval)
        return follow(namespace.folder, sys.stdout, interval_s, as_json=namespace.json)
    status = read_status(namespace.folder)
    failures = read_failures(namespace.folder) if namespace.failures else None
    if namespace.json:
        content = status.as_json()
        if failures is not None:
            content["failed"] = json.loads(failures.to_json(orient="records", date_format="iso"))
        say(json.dumps(content, indent=1) + "\n")
        return 0
    say(f"{status!r}\n")
    if failures is not None and len(failures):
        shown = failures.drop(columns=["Log", "Log_End"])
        say(shown.to_string(index=False, na_rep="") + "\n")
    return 0
