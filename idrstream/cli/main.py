"""The ``idrstream`` command; thin: it only calls the Python interface."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from typing import NamedTuple

from idrstream import __version__
from idrstream.cli.parser import HELP_ALL, Parser
from idrstream.cli.terminal import Interrupts, say, say_aside, warnings_shown
from idrstream.errors import IdrStreamError
from idrstream.redact import redact
from idrstream.text import did_you_mean

EXIT_OK, EXIT_FAILURES, EXIT_USAGE, EXIT_UNFORESEEN, EXIT_INTERRUPTED = 0, 1, 2, 70, 130

_DESCRIPTION = "Stream a whole screen of the Image Data Resource to single-cell features."
_EPILOG = """\
COMMAND --help shows options. First: idrstream demo. Errors: idrstream explain.
"""


class _Command(NamedTuple):
    """A subcommand: its module, imported only when it is used, and its functions there."""

    module: str
    help: str
    add_arguments: str = "add_arguments"
    handle: str = "handle"


_COMMANDS = {
    "demo": _Command("idrstream.demo.command", "simulate a small screen and stream it to features"),
    "simulate": _Command("idrstream.cli.simulate", "write a synthetic screen with known truth"),
    "settings": _Command(
        "idrstream.cli.settings", "write the settings of a stream for your images"
    ),
    "run": _Command("idrstream.cli.run", "run a stream from a TOML file"),
    "step": _Command("idrstream.cli.step", "look at one step of a stream on a few images"),
    "extract": _Command("idrstream.cli.extract", "write all planes into one OME-Zarr per plate"),
    "segment": _Command("idrstream.cli.segment", "segment an image larger than memory by tiles"),
    "plan": _Command("idrstream.cli.plan", "show what a stream would do and need"),
    "status": _Command("idrstream.cli.status", "show the progress of a stream"),
    "pause": _Command(
        "idrstream.cli.control", "let a running stream start nothing new", handle="handle_pause"
    ),
    "stop": _Command(
        "idrstream.cli.control", "stop a running stream at a safe point", handle="handle_stop"
    ),
    "resume": _Command("idrstream.cli.resume", "continue a stream that ended early"),
    "rerun": _Command(
        "idrstream.cli.resume",
        "run batches again that had failures",
        "add_rerun_arguments",
        "handle_rerun",
    ),
    "cluster": _Command("idrstream.cli.cluster", "run a stream in the jobs of a queue system"),
    "report": _Command("idrstream.cli.report", "write the quality report of an output folder"),
    "verify": _Command("idrstream.cli.verify", "verify the tables in an output folder"),
    "collect": _Command("idrstream.cli.collect", "one dataset and well profiles of all batches"),
    "tracks": _Command("idrstream.cli.tracks", "list tracked movies and export their tracks"),
    "table": _Command("idrstream.cli.table", "write the table to process from IDR study files"),
    "doctor": _Command("idrstream.doctor", "show what is installed and which servers answer"),
    "evaluate": _Command("idrstream.cli.evaluate", "measure models on labelled data"),
    "explain": _Command("idrstream.cli.explain", "say what an error means and what to do"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        0: everything done; 1: done, but some images or batches failed; 2 to 9: something the
        user has to change, by kind (`IdrStreamError.exit_code`); 70: an unforeseen error;
        130: interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with warnings_shown(), Interrupts() as interrupts:
            return _run(given, interrupts)
    except KeyboardInterrupt:
        return _interrupted()


def _run(given: list[str], interrupts: Interrupts) -> int:
    """Parse the arguments, run the command, and say what ended it."""
    namespace = _parsed(given)
    handler: Callable[[argparse.Namespace], int] = namespace.handler
    try:
        return handler(namespace)
    except IdrStreamError as error:
        say_aside(f"idrstream: {error}\nMore: {error.explained_by()}\n")
        return error.exit_code
    except BrokenPipeError:  # whoever read the output has enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  # or the end writes to it again
        return EXIT_OK
    except Exception as error:
        if interrupts.seen:  # in the middle of the import of a library, which tells it otherwise
            return _interrupted()
        say_aside(
            f"idrstream: unforeseen {type(error).__name__}: {redact(str(error))}\n"
            f"This is a fault of idrstream; please report it with {_save_traceback()}\n"
        )
        return EXIT_UNFORESEEN


def _parsed(given: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="idrstream",
        usage="%(prog)s COMMAND [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        everything=HELP_ALL in given,
    )
    parser.set_defaults(handler=lambda _namespace: _overview(parser))
    parser.add_argument("--version", action="version", version=f"idrstream {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    chosen = next((word for word in given if not word.startswith("-")), None)
    if chosen is not None and chosen == given[0] and chosen not in _COMMANDS:
        parser.error(f"there is no command {chosen}{did_you_mean(chosen, _COMMANDS)}")
    for name, command in _COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=command.help)
        if name == chosen:
            # Only the chosen command's module is imported: --help stays quick.
            module = importlib.import_module(command.module)
            getattr(module, command.add_arguments)(sub)
            sub.set_defaults(handler=getattr(module, command.handle))
    return parser.parse_args(given)


def _overview(parser: argparse.ArgumentParser) -> int:
    say(parser.format_help())
    return EXIT_OK


def _interrupted() -> int:
    say_aside("idrstream: interrupted; finished batches are kept\n")
    return EXIT_INTERRUPTED


def _save_traceback() -> str:
    """Write the traceback that is being handled to a file of its own and return its path."""
    text = redact(traceback.format_exc())
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="idrstream-error-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError:
        return f"this:\n{text}"
    return file.name


if __name__ == "__main__":
    sys.exit(main())
