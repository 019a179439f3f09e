"""Write a simulated screen in the archive's folder layout, with the truth beside it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from idrstream.errors import ConfigError, MovieError
from idrstream.files import atomic_path
from idrstream.opening import refuse_links
from idrstream.screen.wells import well_number
from idrstream.simulate.cellh5 import write_cellh5
from idrstream.simulate.movie import SimulatedMovie, Truth, simulate_movie
from idrstream.simulate.spec import (
    ANALYSIS,
    NEGATIVE,
    POSITIVE,
    STUDY,
    ScreenSpec,
    SimulatedScreen,
    gene_target,
    screen_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_LOG = logging.getLogger("idrstream.simulate")
_COLUMNS = (
    "Plate",
    "Well",
    "Frames",
    "Well Number",
    "Control Type",
    "Original Gene Target",
    "Plate_Map_Name",
    "Gene_Replicate",
    "Site",
    "DNA",
)
# Files that this module writes into a screen's folder, and may delete.
_SCREENS, TABLE, TRUTH = "idr0013-screenA-plates.tsv", "data_to_process.tsv", "truth"


def simulate_screen(
    folder: Path,
    spec: ScreenSpec | None = None,
    *,
    overwrite: bool = False,
    on_movie: Callable[[str], None] | None = None,
) -> SimulatedScreen:
    """Write a synthetic screen as CellH5 files, with its tables and its truth.

    ::

        <folder>/idr0013-neumann-mitocheck/20150916-mitocheck-analysis/mitocheck/
            <screen>/hdf5/<NNNNN>_01.ch5
        <folder>/idr0013-screenA-plates.tsv    plate TAB ../screens/<screen>.screen
        <folder>/data_to_process.tsv           the table to process
        <folder>/truth/<plate>/<NNNNN>_01.npz  see `load_truth`

    Parameters
    ----------
    folder : Path
        Where to write; created if missing.
    spec : ScreenSpec, optional
        What to simulate; the default screen has 2 plates with 4 wells each.
    overwrite : bool
        Replace a screen that was simulated into this folder before. Other files in it stay.
    on_movie : callable, optional
        Called with the name of each movie before it is made, for a progress bar.

    Returns
    -------
    SimulatedScreen
        Its files.

    Raises
    ------
    ConfigError
        If `folder` is a file, or is not empty and `overwrite` is off.
    """
    spec = spec or ScreenSpec()
    folder = Path(folder)
    made = (f"{STUDY}/{ANALYSIS}/*/hdf5/*_01.ch5", f"{TRUTH}/*/*_01.npz")
    prepare_folder(folder, overwrite=overwrite, table=_SCREENS, made=made)
    movies = []
    for plate in spec.plate_names:
        for well in spec.wells:
            if on_movie is not None:
                on_movie(f"{plate} {well}")
            movies.append(_write_well(folder, spec, plate, well))
    plates = "".join(f"{p}\t../screens/{screen_name(p)}.screen\n" for p in spec.plate_names)
    for name, text in ((_SCREENS, plates), (TABLE, _table(spec))):
        with atomic_path(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    _LOG.info("simulated %d movies in %s: %s", len(movies), folder, asdict(spec))
    return SimulatedScreen(
        folder=folder,
        screens_path=folder / _SCREENS,
        table_path=folder / TABLE,
        truth=folder / TRUTH,
        study=STUDY,
        movies=tuple(movies),
    )


def load_truth(path: Path) -> SimulatedMovie:
    """Read what `simulate_screen` wrote about one movie.

    Parameters
    ----------
    path : Path
        A ``truth/<plate>/<NNNNN>_01.npz``. Its arrays are named like the fields of
        `SimulatedMovie` and `Truth`.

    Returns
    -------
    SimulatedMovie
        Without pixels: ``frames`` has the shape ``(0, y, x)``.

    Raises
    ------
    MovieError
        If the file is missing or is not such a truth.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            names = ("frame", "label", "track", "parent", "positions", "phase")
            masks: NDArray[np.uint16] = file["masks"]
            return SimulatedMovie(
                plate=str(file["plate"]),
                well=str(file["well"]),
                frames=np.zeros((0, *masks.shape[1:]), np.uint8),
                masks=masks,
                valid=file["valid"],
                truth=Truth(**{name: file[name] for name in names}),
                flatfield=file["flatfield"],
                background=float(file["background"]),
                offset=float(file["offset"]),
            )
    except (OSError, KeyError, ValueError) as error:
        msg = f"{path} is not the truth of a simulated movie: {error}"
        raise MovieError(msg) from error


def prepare_folder(folder: Path, *, overwrite: bool, table: str, made: Sequence[str]) -> None:
    """Create the folder of a simulated screen, or empty it of an earlier one.

    Parameters
    ----------
    folder : Path
        The folder.
    overwrite : bool
        Whether an earlier screen may be deleted.
    table : str
        File that only such a screen has, beside the folder ``truth``.
    made : sequence of str
        Patterns of the files to delete.

    Raises
    ------
    ConfigError
        If it is a file, or has files and is not to be overwritten or no such screen.
    """
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file; name a folder for the simulated screen"
        raise ConfigError(msg)
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            msg = (
                f"{folder} is not empty; name another folder, or overwrite the screen in it "
                "with --force (overwrite=True)"
            )
            raise ConfigError(msg)
        if not ((folder / table).is_file() and (folder / TRUTH).is_dir()):
            msg = f"{folder} has files that are not a simulated screen; name another folder"
            raise ConfigError(msg)
        found = [path for pattern in made for path in folder.glob(pattern)]
        refuse_links(folder, *{path.parent.relative_to(folder).as_posix() for path in found})
        for path in found:
            path.unlink()
    folder.mkdir(parents=True, exist_ok=True)


def _write_well(folder: Path, spec: ScreenSpec, plate: str, well: str) -> Path:
    number = well_number(well)
    movie = simulate_movie(spec, plate=plate, well=well)
    screen = screen_name(plate)
    path = folder / STUDY / ANALYSIS / screen / "hdf5" / f"{number:05d}_01.ch5"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_cellh5(
        path, movie.frames, movie.masks, valid=movie.valid, screen=screen, well_number=number
    )
    truth = folder / TRUTH / plate / f"{number:05d}_01.npz"
    truth.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        truth,
        plate=np.array(movie.plate),
        well=np.array(movie.well),
        masks=movie.masks,
        valid=movie.valid,
        flatfield=movie.flatfield,
        background=np.array(movie.background),
        offset=np.array(movie.offset),
        frame=movie.truth.frame,
        label=movie.truth.label,
        track=movie.truth.track,
        parent=movie.truth.parent,
        positions=movie.truth.positions,
        phase=movie.truth.phase,
    )
    return path


def _table(spec: ScreenSpec) -> str:
    """Return the table to process, with an unnamed first column as pandas writes its index."""
    frames = spec.table_frames
    lines = ["\t".join(("", *_COLUMNS))]
    for plate in spec.plate_names:
        for well in spec.wells:
            number, gene = well_number(well), gene_target(well)
            cells = (
                str(len(lines) - 1),
                plate,
                well,
                ",".join(str(frame) for frame in frames),
                str(number),
                NEGATIVE if gene == NEGATIVE else POSITIVE,
                gene,
                f"{plate}_{number}",
                "1",
                "1",
                f"{plate}/{plate}_{number}_{frames[0]}.tif",
            )
            lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"
