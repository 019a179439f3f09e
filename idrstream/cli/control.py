"""``idrstream pause DIR`` and ``idrstream stop DIR``."""

from __future__ import annotations

import argparse

from idrstream.cli.options import as_folder
from idrstream.cli.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder."""
    parser.add_argument("folder", type=as_folder, metavar="DIR", help="output folder of a stream")


def handle_pause(namespace: argparse.Namespace) -> int:
    """Pause the stream."""
    from idrstream.watch.background import attach

    say(f"{attach(namespace.folder).pause()!r}\n")
    return 0


def handle_stop(namespace: argparse.Namespace) -> int:
    """Stop the stream at the next safe point, and wait for that."""
    from idrstream.watch.background import attach

    say(f"{attach(namespace.folder).stop()!r}\n")
    return 0
