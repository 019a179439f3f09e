"""The command ``idrstream simulate``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, get_type_hints

from idrstream.cli.options import as_path
from idrstream.cli.terminal import say, say_aside
from idrstream.simulate.screen import simulate_screen
from idrstream.simulate.spec import ScreenSpec, tiny_spec

if TYPE_CHECKING:
    import argparse
    from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder and an option for every field of `ScreenSpec`."""
    parser.description = (
        "Write a synthetic screen of H2B-like nuclei in IDR's folder layout: CellH5 movies, "
        "the screen's table, the table to process, and the truth (masks, positions, phases, "
        "tracks, flatfield)."
    )
    parser.add_argument("folder", type=as_path, help="where to write; created if missing")
    parser.add_argument("--force", action="store_true", help="replace the screen in the folder")
    parser.add_argument(
        "--tiny", action="store_true", help="start from a screen small enough for tests"
    )
    hints = get_type_hints(ScreenSpec, include_extras=True)
    for field in dataclasses.fields(ScreenSpec):
        kind = _kind(field.name, field.default)
        default = "" if field.default == () else f" (default {field.default})"
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            dest=field.name,
            type=kind,
            metavar={int: "N", float: "X"}.get(kind, "LIST"),
            help=hints[field.name].__metadata__[0].documentation + default,
        )


def handle(args: argparse.Namespace) -> int:
    """Write the screen and print its files."""
    names = [field.name for field in dataclasses.fields(ScreenSpec)]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    spec = tiny_spec(**given) if args.tiny else ScreenSpec(**given)
    screen = simulate_screen(args.folder, spec, overwrite=args.force, on_movie=_log_movie)
    say(
        f"{len(screen.movies)} movies:      {screen.folder / screen.study}\n"
        f"screens:       {screen.screens_path}\n"
        f"table:         {screen.table_path}\n"
        f"truth:         {screen.truth}\n"
    )
    return 0


def _log_movie(movie: str) -> None:
    say_aside(f"simulating {movie}\n")


def _kind(name: str, default: object) -> Any:
    if default == ():
        return _numbers if name.endswith("_frames") else _names
    return type(default)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
