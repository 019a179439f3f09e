"""The ``idrstream`` command; thin: it only calls the Python interface."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from idrstream import __version__
from idrstream.errors import IdrStreamError, UserError

EXIT_OK, EXIT_FAILURES, EXIT_USER_ERROR, EXIT_INTERRUPTED = 0, 1, 2, 130

_DESCRIPTION = "Stream a whole screen of the Image Data Resource to single-cell features."


class _Command(NamedTuple):
    """A subcommand: where its parser and handler are, imported only when it is used."""

    module: str
    help: str


_COMMANDS = {
    "demo": _Command("idrstream.demo", "simulate a small screen and stream it to features"),
    "simulate": _Command("idrstream.simulate.cli", "write a synthetic screen with known truth"),
    "run": _Command("idrstream.run.cli", "run a stream from a TOML file"),
    "status": _Command("idrstream.run.commands.status", "say how far a stream is"),
    "resume": _Command("idrstream.run.commands.resume", "go on with a stream that ended early"),
    "rerun": _Command("idrstream.run.commands.rerun", "run batches again that had failures"),
    "verify": _Command("idrstream.run.commands.verify", "prove the tables in an output folder"),
    "evaluate": _Command("idrstream.evaluate.cli", "measure models on labelled data"),
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
        0: everything done; 1: done, but some images or batches failed; 2: something the user
        has to change; 130: interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="idrstream", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"idrstream {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in given if not word.startswith("-")), None)
    for name, command in _COMMANDS.items():
        sub = commands.add_parser(name, help=command.help, description=command.help)
        if name == chosen:
            # Only the chosen command's module is imported: --help stays quick.
            module = importlib.import_module(command.module)
            module.add_arguments(sub)
            sub.set_defaults(handler=module.handle)
    namespace = parser.parse_args(given)
    handler: Callable[[argparse.Namespace], int] = namespace.handler
    try:
        return handler(namespace)
    except UserError as error:
        sys.stderr.write(f"idrstream: {error}\n")
        return EXIT_USER_ERROR
    except IdrStreamError as error:
        sys.stderr.write(f"idrstream: {error}\n")
        return EXIT_FAILURES
    except KeyboardInterrupt:
        sys.stderr.write("idrstream: interrupted; finished batches are kept\n")
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
