"""``idrstream rerun DIR``."""

from __future__ import annotations

import argparse

from idrstream.cli.options import add_setting_options
from idrstream.cli.resume import add_folder, go_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the choice, and one option per setting."""
    add_folder(parser)
    parser.add_argument(
        "--kind",
        default=None,
        metavar="ERROR",
        help="only where something failed with this error, for example TransientDownloadError",
    )
    add_setting_options(parser)


def handle(namespace: argparse.Namespace) -> int:
    """Run the batches again that are named, or all in which something failed."""
    if namespace.batch_nums is not None:
        return go_on(
            namespace, lambda stream, options: stream.rerun(options.pop("batch_nums"), **options)
        )
    return go_on(namespace, lambda stream, options: stream.rerun_failed(namespace.kind, **options))
