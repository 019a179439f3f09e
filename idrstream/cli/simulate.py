"""The command ``idrstream simulate``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, get_type_hints

from idrstream.cli.options import as_folder
from idrstream.cli.terminal import say, say_aside
from idrstream.errors import ConfigError
from idrstream.simulate import (
    CHANNELS,
    PaintingSpec,
    ScreenSpec,
    simulate_painting,
    simulate_screen,
    tiny_painting,
    tiny_spec,
)

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from idrstream.cli.parser import Parser

_COMMON = (
    "plates",
    "wells_per_plate",
    "frames",
    "fields",
    "height",
    "width",
    "nuclei_per_frame",
    "seed",
)


def add_arguments(parser: Parser) -> None:
    """Add the folder and an option for every field of `ScreenSpec` and `PaintingSpec`."""
    parser.description = (
        "Write a synthetic screen of H2B-like nuclei in IDR's folder layout: CellH5 movies, "
        "the screen's table, the table to process, and the truth (masks, positions, phases, "
        "tracks, flatfield). With --channels 5 a Cell Painting screen: fields of five channels and "
        "several planes, the table to process, and the truth (masks of nuclei and cells, "
        "treatments, flatfields)."
    )
    parser.add_argument("folder", type=as_folder, help="where to write; created if missing")
    parser.add_argument("--force", action="store_true", help="replace the screen in the folder")
    parser.add_argument(
        "--tiny", action="store_true", help="start from a screen small enough for tests"
    )
    parser.add_argument(
        "--channels", type=int, choices=(1, 5), default=1,
        help="1: movies of nuclei; 5: Cell Painting (default 1)",
    )  # fmt: skip
    parser.usage = "%(prog)s FOLDER [options]"
    for name, (text, kind) in _options().items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            type=kind,
            metavar={int: "N", float: "X", str: "NAME"}.get(kind, "LIST"),
            help=text if name in _COMMON else parser.rare(text),
        )


def handle(args: argparse.Namespace) -> int:
    """Write the screen and print its files."""
    given = {name: getattr(args, name) for name in _options() if getattr(args, name) is not None}
    painting = args.channels == len(CHANNELS)
    kind = PaintingSpec if painting else ScreenSpec
    alien = sorted(given.keys() - {field.name for field in dataclasses.fields(kind)})
    if alien:
        msg = f"--{alien[0].replace('_', '-')} is no option with --channels {args.channels}"
        raise ConfigError(msg)
    if painting:
        fields = tiny_painting(**given) if args.tiny else PaintingSpec(**given)
        screen = simulate_painting(args.folder, fields, overwrite=args.force, on_field=_log_movie)
    else:
        movies = tiny_spec(**given) if args.tiny else ScreenSpec(**given)
        screen = simulate_screen(args.folder, movies, overwrite=args.force, on_movie=_log_movie)
    lines = [
        (
            f"{len(screen.movies)} {'fields' if painting else 'movies'}:",
            screen.folder / screen.study,
        ),
        ("screens:", screen.screens_path),
        ("table:", screen.table_path),
        ("truth:", screen.truth),
    ]
    say("".join(f"{name:14} {path}\n" for name, path in lines if path is not None))
    return 0


def _options() -> dict[str, tuple[str, Any]]:
    """Return help and type of the options by name."""
    texts: dict[str, dict[str, str]] = {}
    kinds: dict[str, Any] = {}
    for channels, spec in ((1, ScreenSpec), (5, PaintingSpec)):
        hints = get_type_hints(spec, include_extras=True)
        for field in dataclasses.fields(spec):
            default = "" if field.default == () else f" (default {field.default})"
            text = hints[field.name].__metadata__[0].documentation + default
            texts.setdefault(field.name, {})[f"--channels {channels}"] = text
            kinds[field.name] = _kind(field.name, field.default)
    return {name: (_help(text), kinds[name]) for name, text in texts.items()}


def _help(texts: dict[str, str]) -> str:
    """Return one help text of those of the two screens."""
    if len(texts) == 2 and len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{screen}: {text}" for screen, text in texts.items())


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
