"""``idrstream verify DIR``."""

from __future__ import annotations

import argparse
import json

from idrstream.cli.options import as_folder
from idrstream.cli.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("folder", type=as_folder, metavar="DIR", help="output folder of a stream")
    parser.add_argument("--quick", action="store_true", help="compare sizes only, read no file")
    parser.add_argument("--json", action="store_true", help="write JSON")


def handle(namespace: argparse.Namespace) -> int:
    """Verify the folder; return 1 if anything is wrong or missing."""
    from idrstream.folder.verify import verify_folder

    found = verify_folder(namespace.folder, quick=namespace.quick)
    text = json.dumps(found.as_json(), indent=1) if namespace.json else str(found)
    say(f"{text}\n")
    return 0 if found.is_good else 1
