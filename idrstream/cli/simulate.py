"""The command ``idrstream simulate``."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.simulate.screen import simulate_screen
from idrstream.simulate.spec import ScreenSpec, tiny_spec

if TYPE_CHECKING:
    import argparse
    from typing import Any

_HELP = {
    "plates": "plates of the screen",
    "wells_per_plate": "wells of each plate",
    "frames": "frames of each movie",
    "height": "height of a frame in pixels",
    "width": "width of a frame in pixels",
    "nuclei_per_frame": "mean number of nuclei in the first frame of a control well",
    "diameter_px": "mean diameter of an interphase nucleus in pixels",
    "seed": "the same seed gives the same bytes",
    "background": "grey level of the medium",
    "brightness": "grey levels of a mean nucleus above the background",
    "vignetting": "how much darker the darkest corner is, 0 to 0.8",
    "noise": "factor on the camera's noise, 0 for none",
    "blur_px": "standard deviation of the point spread in pixels",
    "wanted_frames": "frames that the table asks for, such as 1,3,5 (default: the middle one)",
    "invalid_frames": "frames that are marked not valid and never written, such as 2,4",
    "empty_wells": "wells without nuclei, such as A15,B2",
    "small_wells": "wells with frames of half the height and width, such as A15",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``idrstream simulate`` to its parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The subcommand's parser.
    """
    parser.description = (
        "Write a synthetic screen of H2B-like nuclei in IDR's folder layout: CellH5 movies, "
        "the screen's table, the table to process, and the truth (masks, positions, phases, "
        "tracks, flatfield)."
    )
    parser.add_argument("folder", type=Path, help="where to write; made when missing")
    parser.add_argument("--force", action="store_true", help="replace the screen in the folder")
    parser.add_argument(
        "--tiny", action="store_true", help="start from a screen small enough for tests"
    )
    for field in dataclasses.fields(ScreenSpec):
        kind = _kind(field.name, field.default)
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            dest=field.name,
            type=kind,
            metavar={int: "N", float: "X"}.get(kind, "LIST"),
            help=_HELP[field.name] + ("" if field.default == () else f" (default {field.default})"),
        )


def handle(args: argparse.Namespace) -> int:
    """Write the screen that the command line describes, and say where it is.

    Parameters
    ----------
    args : argparse.Namespace
        Arguments of the parser with `add_arguments`.

    Returns
    -------
    int
        0.

    Raises
    ------
    ConfigError
        If a value is out of range or the folder is not empty.
    """
    names = [field.name for field in dataclasses.fields(ScreenSpec)]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    spec = tiny_spec(**given) if args.tiny else ScreenSpec(**given)
    screen = simulate_screen(args.folder, spec, overwrite=args.force, on_movie=_say)
    sys.stdout.write(
        f"{len(screen.movies)} movies:      {screen.folder / screen.study}\n"
        f"screens:       {screen.screens_path}\n"
        f"table:         {screen.table_path}\n"
        f"truth:         {screen.truth}\n"
    )
    return 0


def _say(movie: str) -> None:
    sys.stderr.write(f"simulating {movie}\n")


def _kind(name: str, default: object) -> Any:
    if default == ():
        return _numbers if name.endswith("_frames") else _names
    return type(default)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part.strip())


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
