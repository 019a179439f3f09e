"""``idrstream tracks DIR``: the tracked movies of a stream, and their tracks for other programs."""

from __future__ import annotations

import argparse

from idrstream.cli.options import as_folder
from idrstream.cli.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the movies and the formats."""
    add = parser.add_argument
    add("folder", type=as_folder, metavar="DIR", help="output folder of a stream with track = true")
    add(
        "--movie", action="append", metavar="PLATE_WELL_SITE",
        help="a movie to export, as the command lists them; may be repeated [all]",
    )  # fmt: skip
    add(
        "--ctc", type=as_folder, metavar="FOLDER",
        help="write masks and res_track.txt of the Cell Tracking Challenge (keep_masks = true)",
    )  # fmt: skip
    add("--geff", type=as_folder, metavar="FOLDER", help="write graphs in GEFF: napari, TrackMate")


def handle(namespace: argparse.Namespace) -> int:
    """Export the movies, or list them."""
    from idrstream.track import export_ctc, export_geff, list_movies

    chosen = ((export_ctc, namespace.ctc), (export_geff, namespace.geff))
    written = [
        path
        for export, target in chosen
        if target is not None
        for path in export(namespace.folder, target, namespace.movie)
    ]
    if namespace.ctc is None and namespace.geff is None:
        movies = list_movies(namespace.folder)
        say(f"{movies.to_string(index=False)}\n")
    for path in written:
        say(f"{path}\n")
    return 0
