"""Tracks in the formats of others: the Cell Tracking Challenge's, and GEFF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.compile.masks import read_masks
from idrstream.errors import JournalError, StorageError
from idrstream.opening import inside
from idrstream.packages import require_extra
from idrstream.track.read import movie_names, read_tracks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import pandas as pd

_MOST_LABELS = 65_535  # of the challenge's 16 bits


def export_ctc(
    folder: Path | str, target: Path | str, movies: Collection[str] | None = None
) -> list[Path]:
    """Write tracks and masks as results of the Cell Tracking Challenge.

    Parameters
    ----------
    folder : path
        Output folder of a stream with ``track = true`` and ``keep_masks = true``.
    target : path
        A folder; each movie gets ``<plate>_<well>_<site>_RES`` in it.
    movies : collection of str, optional
        Which ones, as ``<plate>_<well>_<site>``; by default all.

    Returns
    -------
    list of Path
        The folders: ``mask000.tif`` … (uint16, the value of a nucleus is its track) and
        ``res_track.txt`` (track, first and last image from 0, parent).

    Raises
    ------
    JournalError
        If the folder has no tracks, no masks or not the movies.
    StorageError
        If they cannot be written.

    Notes
    -----
    Format of https://celltrackingchallenge.net. It knows no gaps: what comes after one is a track
    of its own whose parent is the track before it. Images are the frames of the table in their
    order, also where frames are left out.
    """
    written = []
    for name, movie in _movies(folder, movies):
        images = sorted(movie["Frame"].unique())
        of, lines = _without_gaps(movie, images)
        if lines and lines[-1][0] > _MOST_LABELS:
            msg = f"{name} has {lines[-1][0]:,} tracks; the challenge's masks take {_MOST_LABELS:,}"
            raise JournalError(msg)
        here = inside(Path(target), f"{name}_RES")
        try:
            _write_masks(here, Path(folder), movie.assign(Of=of), images)
            text = "".join(f"{a} {b} {c} {d}\n" for a, b, c, d in lines)
            (here / "res_track.txt").write_text(text, encoding="ascii")
        except OSError as error:
            raise StorageError(f"{here} cannot be written: {error}") from error
        written.append(here)
    return written


def _write_masks(here: Path, folder: Path, movie: pd.DataFrame, images: list[int]) -> None:
    import tifffile

    here.mkdir(parents=True, exist_ok=True)
    digits = max(3, len(str(len(images) - 1)))
    first = movie.iloc[0]
    for position, frame in enumerate(images):
        labels = read_masks(folder, first["Plate"], first["Well"], frame, site=int(first["Site"]))
        objects = movie[movie["Frame"] == frame]
        value = np.zeros(max(int(labels.max()), int(objects["Label"].max())) + 1, np.uint16)
        value[objects["Label"]] = objects["Of"]
        tifffile.imwrite(here / f"mask{position:0{digits}d}.tif", value[labels], compression="zlib")


def _without_gaps(
    movie: pd.DataFrame, images: list[int]
) -> tuple[np.ndarray[Any, Any], list[tuple[int, int, int, int]]]:
    """Return the track of each object where each gap begins another one, and all of those."""
    position = movie["Frame"].map({frame: at for at, frame in enumerate(images)}).to_numpy()
    of = np.zeros(len(movie), np.int64)
    spans: list[list[int]] = []
    last: dict[int, int] = {}
    order = np.lexsort((movie["Track"], position))
    tracks, parents = movie["Track"].to_numpy(), movie["Parent"].to_numpy()
    for at in order:  # by image: a parent is numbered before its daughters
        track, now = int(tracks[at]), int(position[at])
        number = last.get(track, 0)
        if not number or spans[number - 1][2] < now - 1:
            parent = number or last.get(int(parents[at]), 0)
            number = last[track] = len(spans) + 1
            spans.append([number, now, now, parent])
        spans[number - 1][2] = now
        of[at] = number
    return of, [(a, b, c, d) for a, b, c, d in spans]


def export_geff(
    folder: Path | str, target: Path | str, movies: Collection[str] | None = None
) -> list[Path]:
    """Write tracks as graphs in GEFF, which napari, TrackMate and others read.

    Parameters
    ----------
    folder : path
        Output folder of a stream with ``track = true``.
    target : path
        A folder; each movie gets ``<plate>_<well>_<site>.geff`` in it.
    movies : collection of str, optional
        Which ones, as ``<plate>_<well>_<site>``; by default all.

    Returns
    -------
    list of Path
        The graphs: a node for each nucleus, with ``t`` (frame, from 0), ``y`` and ``x`` (pixels),
        ``area``, ``label``, ``track``; an edge to the same nucleus later, and to each daughter.

    Raises
    ------
    JournalError
        If the folder has no tracks or not the movies.
    MissingToolError
        If geff is not installed: ``pip install idrstream[tracking]``.

    Notes
    -----
    https://liveimagetrackingtools.org/geff, version 1.
    """
    require_extra("geff", "tracking", "the export to GEFF")
    from geff import GeffMetadata
    from geff.core_io import write_arrays

    written = []
    for name, movie in _movies(folder, movies):
        path = inside(Path(target), f"{name}.geff")
        nodes = np.arange(len(movie), dtype=np.uint64)
        columns = {
            "t": movie["Frame"].to_numpy(np.int64) - 1,
            "y": movie["Y"].to_numpy(np.float64), "x": movie["X"].to_numpy(np.float64),
            "area": movie["Area"].to_numpy(np.float64),
            "label": movie["Label"].to_numpy(np.int64),
            "track": movie["Track"].to_numpy(np.int64),
        }  # fmt: skip
        write_arrays(
            path,
            nodes,
            {key: {"values": values, "missing": None} for key, values in columns.items()},
            _edges(movie),
            {},
            GeffMetadata.model_validate(
                {
                    "directed": True,
                    "axes": [
                        {"name": "t", "type": "time", "unit": "frame"},
                        {"name": "y", "type": "space", "unit": "pixel"},
                        {"name": "x", "type": "space", "unit": "pixel"},
                    ],
                    "node_props_metadata": {
                        key: {"identifier": key, "dtype": str(values.dtype)}
                        for key, values in columns.items()
                    },
                    "edge_props_metadata": {},
                }
            ),
            overwrite=True,
        )
        written.append(path)
    return written


def _edges(movie: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return pairs of rows: an object and what it is in a later frame."""
    order = np.lexsort((movie["Frame"], movie["Track"]))
    track, parent = movie["Track"].to_numpy()[order], movie["Parent"].to_numpy()[order]
    same = np.flatnonzero(track[1:] == track[:-1])
    pairs = [np.column_stack([order[same], order[same + 1]])]
    first = np.flatnonzero(np.concatenate([[True], track[1:] != track[:-1]])[: len(track)])
    last = dict(zip(track.tolist(), order.tolist(), strict=True))
    born = [(last[int(parent[at])], order[at]) for at in first if int(parent[at]) in last]
    pairs.append(np.array(born, np.int64).reshape(-1, 2))
    return np.concatenate(pairs).astype(np.uint64)


def _movies(
    folder: Path | str, wanted: Collection[str] | None
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield a name that a file can have, and the objects, of each movie."""
    objects = read_tracks(folder, "objects")
    found = dict(iter(objects.groupby(movie_names(objects), sort=False)))
    if missing := sorted(set(wanted or ()) - set(found)):
        msg = f"{folder} has no tracks of {', '.join(missing)}; it has {', '.join([*found][:3])} …"
        raise JournalError(msg)
    for name, movie in found.items():
        if wanted is None or name in wanted:
            yield name, movie.reset_index(drop=True)
