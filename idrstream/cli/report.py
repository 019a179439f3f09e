"""``idrstream report DIR``."""

from __future__ import annotations

import argparse
import json
import time

from idrstream.cli.options import as_file, as_folder
from idrstream.cli.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("folder", type=as_folder, metavar="DIR", help="output folder of a stream")
    parser.add_argument("--out", type=as_file, metavar="FILE", help="the page [DIR/report.html]")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    parser.add_argument(
        "--no-features", action="store_true", help="skip the features: fast on large folders"
    )
    parser.add_argument(
        "--watch", type=int, nargs="?", const=60, metavar="SECONDS",
        help="update it at this interval while the stream runs [60]",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="write path and warnings as JSON")


def handle(namespace: argparse.Namespace) -> int:
    """Write the report and list its warnings."""
    from idrstream.folder.status import read_status
    from idrstream.report.write import summary, write_report

    watch_s = namespace.watch and max(5, namespace.watch)
    opened = False
    while True:
        running = bool(watch_s) and not read_status(namespace.folder).state.has_ended
        report = write_report(
            namespace.folder,
            namespace.out,
            features=not namespace.no_features,
            watch_s=watch_s if running else None,
        )
        if namespace.open and not opened:
            import webbrowser

            opened = webbrowser.open(report.path.absolute().as_uri())
        if not running:
            break
        time.sleep(watch_s)
    text = json.dumps(summary(report), indent=1) if namespace.json else repr(report)
    say(f"{text}\n")
    return 0
