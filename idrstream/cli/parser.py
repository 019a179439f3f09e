"""Parsers of the commands: help that fits a screen, and the nearest name for a mistyped one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

from idrstream.text import did_you_mean

HELP_ALL = "--help-all"


_wide = partial(argparse.HelpFormatter, max_help_position=28)


class Parser(argparse.ArgumentParser):
    """A parser whose ``--help`` leaves out what few people need; ``--help-all`` has it.

    Parameters
    ----------
    everything : bool
        Whether the help shows all options.
    """

    def __init__(self, *, everything: bool = False, **keywords: Any) -> None:
        super().__init__(**{"formatter_class": _wide, **keywords})
        self.everything = everything
        self._shortened = False

    def add_subparsers(  # type: ignore[override]
        self, **keywords: Any
    ) -> argparse._SubParsersAction[Parser]:
        """Add commands whose help shows as much as this one's."""
        kind: Any = partial(Parser, everything=self.everything)
        return super().add_subparsers(parser_class=kind, prog=self.prog, **keywords)

    def rare(self, text: str) -> str:
        """Return the help of an option that only ``--help-all`` shows."""
        if not self._shortened:
            self._shortened = True
            self.add_argument(HELP_ALL, action="help", help="show all options and exit")
        return text if self.everything else argparse.SUPPRESS

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse; refuse an unknown option where the known ones are known, the nearest named."""
        found, extra = super().parse_known_args(args, namespace)
        if extra:
            self.error(self._unknown(extra))
        return found, extra

    def error(self, message: str) -> NoReturn:
        """End with a message and where there is help."""
        self.exit(2, f"{self.prog}: error: {message}\nOptions: {self.prog} --help\n")

    def _unknown(self, extra: list[str]) -> str:
        flags = [word.partition("=")[0] for word in extra if word.startswith("-")]
        if not flags:
            return f"one argument too many: {' '.join(extra)}"
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        return "; ".join(f"there is no option {one}{did_you_mean(one, known)}" for one in flags)
