"""``idrstream step``: one step of a stream on a few images, as a page to look at."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from contextlib import closing
from pathlib import Path

from idrstream.cli.options import add_setting_options, as_folder, as_path, given_options
from idrstream.cli.parser import Parser
from idrstream.cli.run import announce
from idrstream.cli.terminal import say
from idrstream.config import load_settings
from idrstream.errors import ConfigError


def add_arguments(parser: Parser) -> None:
    """Add the step, the configuration file, the sample, and one option per setting."""
    parser.description = (
        "Run one step of a stream over a few images, from what was kept of the step before, and "
        "write a page of pictures and a table of numbers. Run it again with other settings: only "
        "what follows from them is done again."
    )
    add = parser.add_argument
    add("step", choices=("download", "preprocess", "segment", "profile"), help="the step")
    add("config", type=as_path, metavar="CONFIG.toml", help="settings of the stream")
    add(
        "--images", type=int, default=20, metavar="N",
        help="so many images of the table, drawn at random, the same every time [20]",
    )  # fmt: skip
    add(
        "--out", type=as_folder, default=Path("look"), metavar="FOLDER",
        help="index.html, images.csv, differences.csv, and what is kept of each step [look]",
    )  # fmt: skip
    add(
        "--compare", metavar="SETTING=A,B",
        help="two values of a setting side by side, such as diameter=20,30; or one, with the "
        "present value beside it",
    )  # fmt: skip
    add(
        "--save-to", type=as_path, metavar="CONFIG.toml",
        help="write the settings given on this command line into a file of settings",
    )  # fmt: skip
    add_setting_options(parser, "STEP CONFIG.toml")


def handle(namespace: argparse.Namespace) -> int:
    """Write the page; 1 when an image had a problem."""
    from idrstream.config.save import save_options
    from idrstream.screen import read_table
    from idrstream.stream.stream import IdrStream

    options = given_options(namespace)
    compare = _compared(namespace.compare)
    if namespace.save_to is not None and (compare or not options):
        msg = "--save-to writes settings that the command line gives once, such as --diameter 30"
        raise ConfigError(msg)
    settings = load_settings(namespace.config, options=options)
    announce(settings)
    with tempfile.TemporaryDirectory(prefix="idrstream-step-") as name:
        # Building a stream makes its folders: others than the user's.
        where = dataclasses.replace(
            settings.stream, tmp_dir=Path(name, "tmp"), final_data_dir=Path(name, "out"), log=None
        )
        stream = IdrStream.from_settings(dataclasses.replace(settings, stream=where))
        with closing(stream):
            found = stream.step(
                namespace.step, read_table(where.table), images=namespace.images,
                out=namespace.out, compare=compare,
            )  # fmt: skip
    say(f"{found}\n")
    if found.failed:
        say(f"{found.failed} of {len(found.numbers)} have a problem.\n")
    if namespace.save_to is not None:
        for line in save_options(namespace.save_to, settings, options):
            say(f"Written to {namespace.save_to}: {line}\n")
    return 1 if found.failed else 0


def _compared(text: str | None) -> dict[str, list[str]]:
    if text is None:
        return {}
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise ConfigError(f"--compare {text!r}: expected SETTING=A,B, such as diameter=20,30")
    return {name.strip().replace("-", "_"): [value.strip() for value in values.split(",")]}
