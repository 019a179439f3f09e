"""``idrstream run``: a stream from a TOML file."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from typing_extensions import Doc

from idrstream.config import ENVIRONMENT_PREFIX, SECTIONS, load_settings, section_of

if TYPE_CHECKING:
    from idrstream.run import RunResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the configuration file and one option per setting."""
    parser.epilog = (
        "Every option can also stand in its section of the TOML file or in the environment "
        f"(--batch-size: {ENVIRONMENT_PREFIX}BATCH_SIZE). Lists are comma-separated."
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="settings of the stream")
    for section, kind in SECTIONS.items():
        group = parser.add_argument_group(f"[{section}]")
        hints = get_type_hints(kind, include_extras=True)
        for option in dataclasses.fields(kind):
            group.add_argument(
                f"--{option.name.replace('_', '-')}",
                dest=option.name,
                metavar="VALUE",
                default=None,
                help=_help(hints[option.name], option),
            )


def handle(namespace: argparse.Namespace) -> int:
    """Run the stream and say what came of it."""
    from idrstream.build import build_stream, run_settings
    from idrstream.stream import IdrStream

    sections = section_of()
    given = {name: value for name, value in vars(namespace).items() if name in sections}
    options = {name: value for name, value in given.items() if value is not None}
    settings = load_settings(namespace.config, options=options)
    stream = build_stream(IdrStream, settings)
    try:
        result = run_settings(stream, settings)
    finally:
        stream.close()
    sys.stdout.write(summary(result, settings.stream.final_data_dir))
    rerun = ",".join(str(number) for number in result.rerun_batches)
    if rerun:
        sys.stdout.write(f"Run them again with:\n  idrstream run {namespace.config} ")
        sys.stdout.write(f"--batch-nums {rerun}\n")
    return 1 if rerun else 0


def summary(result: RunResult, folder: Path) -> str:
    """Return what a run did, as text for a person."""
    images = sum(len(item.batch.tasks) for item in result.batches)
    published = sum(item.published is not None for item in result.batches)
    lines = [
        f"{result.nuclei} nuclei of {images} images in {published} of {len(result.batches)} "
        f"batches, {result.seconds:.0f} s.",
        f"Features are in {folder}",
    ]
    failures = result.failures()
    if len(failures):
        lines += [f"{len(failures)} failures:", failures.to_string(index=False, na_rep="")]
    return "\n".join(lines) + "\n"


def _help(hint: Any, option: dataclasses.Field[Any]) -> str:
    text = next(item.documentation for item in hint.__metadata__ if isinstance(item, Doc))
    if option.default is dataclasses.MISSING or option.default in (None, "", ()):
        return str(text).replace("%", "%%")
    return f"{text} [{option.default}]".replace("%", "%%")
