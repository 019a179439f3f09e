"""Walk the pages as a new user in an empty folder: type what the page says, nothing else.

A block of a page is walked where the line before it is ``<!-- walk -->``: commands (``sh``) and
Python run in the order of the page, settings (``toml title="NAME"``) are written to NAME. What a
page expects of the world, such as IDR or a folder of images, is simulated; see ``stand_ins.py``.
``tools/walk_docs.py`` is the script, ``tests/docs/test_walk.py`` the tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import stand_ins

PROJECT = Path(__file__).resolve().parents[2]
FENCE = re.compile(
    r"^(?P<mark><!-- walk -->\n)?```(?P<kind>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n"
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# Each page, and what it needs that an empty folder has not.
PAGES: dict[str, Callable[[Path], None] | None] = {
    "README.md": None,
    "docs/idr0013.md": None,
    "docs/any-screen.md": None,
    "docs/own-images.md": stand_ins.folder_of_tiffs,
    "docs/cells.md": None,
    "docs/movies.md": None,
    "docs/large-images.md": stand_ins.a_slide,
    "docs/cluster.md": stand_ins.settings_of_a_screen,
    "docs/after-the-stream.md": stand_ins.a_finished_stream,
    "docs/plan.md": stand_ins.settings_of_a_screen,
    "docs/failures.md": None,
}
LIMIT_S = 1800


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code of a page.

    Attributes
    ----------
    kind : str
        Its language: ``sh``, ``python``, ``toml``; empty for a block without one.
    text : str
        What is in it.
    title : str
        Name of the file that it is, or nothing.
    line : int
        Line of the page that it begins on.
    walked : bool
        Whether a walk does it.
    """

    kind: str
    text: str
    title: str
    line: int
    walked: bool


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of code of a page, in its order."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    return [
        Block(
            found["kind"], found["text"], found["title"] or "",
            text.count("\n", 0, found.start()) + 1, found["mark"] is not None,
        )
        for found in FENCE.finditer(text)
    ]  # fmt: skip


def walked(page: str) -> list[Block]:
    """Return the blocks of a page that a walk does."""
    return [block for block in blocks_of(page) if block.walked]


def commands_in(block: Block) -> Iterator[str]:
    """Yield the lines of a block of commands, those that are continued as one."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.strip():
            yield line


def walk(page: str, here: Path, web: dict[str, str]) -> str:
    """Do what a page says in an empty folder and return what was typed and printed.

    Raises
    ------
    AssertionError
        If a command or Python does not end well; with all that was printed.
    """
    prepare = PAGES[page]
    told = [f"=== {page}"]
    if prepare is not None:
        prepare(here)
        told.append(f"(simulated: {(prepare.__doc__ or '').strip()})")
    for block in walked(page):
        if block.kind == "toml":
            (here / block.title).write_text(block.text, encoding="utf-8")
            told.append(f"(wrote {block.title})")
            continue
        command = {
            "sh": ["bash", "-euo", "pipefail", "-c", block.text],
            "python": [sys.executable, "-c", block.text],
        }[block.kind]
        done = subprocess.run(
            command, cwd=here, env=environment(here, web), check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S,
        )  # fmt: skip
        # Of a progress bar only its last state stays on the screen.
        lines = done.stdout.decode("utf-8", "replace").split("\n")
        printed = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)
        told += [textwrap.indent(block.text.rstrip(), "$ "), printed.rstrip()]
        assert done.returncode == 0, "\n".join([*told, f"exit code {done.returncode}"])
    return "\n".join(told)


def environment(here: Path, web: dict[str, str]) -> dict[str, str]:
    """Return the environment of a new user: no settings of ours, no cache, the simulated web."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("IDRSTREAM_")}
    return {
        **ours, **web,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([web["WALK_SITE"], str(PROJECT)]),
        "XDG_CACHE_HOME": str(here.parent / "cache"), "XDG_STATE_HOME": str(here.parent / "state"),
    }  # fmt: skip
