"""``idrstream explain NAME``: what an error means and what to do, from the page about errors."""

from __future__ import annotations

import argparse
import re
import textwrap
from importlib.resources import files

from idrstream.cli.terminal import say
from idrstream.errors import ConfigError
from idrstream.text import did_you_mean

_LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")
_WIDTH = 88


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the name of the error."""
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="an error, such as ConfigError; without: all"
    )


def handle(namespace: argparse.Namespace) -> int:
    """Write the section about an error; without a name the exit codes and all names."""
    head, sections = _page()
    if namespace.name is None:
        names = textwrap.fill(f"errors: {', '.join(sections)}", _WIDTH)
        say(f"{head}\n{names}\n")
        return 0
    found = {name.casefold(): name for name in sections}.get(namespace.name.casefold())
    if found is None:
        near = did_you_mean(namespace.name, sections)
        raise ConfigError(f"there is no error {namespace.name}{near or '; idrstream explain'}")
    say(f"{found}\n{sections[found]}")
    return 0


def _page() -> tuple[str, dict[str, str]]:
    """Return the exit codes, and each error's text by its name, as plain text."""
    page = (files("idrstream") / "errors.md").read_text(encoding="utf-8")
    first, *parts = re.split(r"^### ", page, flags=re.MULTILINE)
    codes = re.findall(r"^\| (\d+) \| (.*) \|$", first, re.MULTILINE)
    head = "exit code  meaning\n" + "".join(
        _plain(f"{code:>9}  {meaning}", 11) for code, meaning in codes
    )
    texts = {}
    for part in parts:
        name, _, body = part.partition("\n")
        body = re.split(r"^## ", body, maxsplit=1, flags=re.MULTILINE)[0].strip()
        items = re.split(r"\n\n|\n(?=- )", body)
        texts[name] = "".join(_plain(f"  {' '.join(item.split())}", 4) for item in items)
    return head, texts


def _plain(text: str, indent: int) -> str:
    """Return Markdown as lines of text."""
    text = _LINK.sub(r"\1", text).replace("**", "").replace("  - ", "  ").replace("`", "")
    return textwrap.fill(text, _WIDTH, subsequent_indent=" " * indent) + "\n"
