"""Write a simulated Cell Painting screen, with the truth beside it."""

from __future__ import annotations

import logging
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from idrstream.errors import MovieError
from idrstream.files import atomic_path
from idrstream.screen.wells import well_number
from idrstream.simulate.cellh5 import write_cellh5
from idrstream.simulate.painting import SimulatedField, simulate_field
from idrstream.simulate.painting_spec import (
    CHANNELS,
    CONTROL,
    PaintingSpec,
    Treatment,
    treatment_of,
)
from idrstream.simulate.screen import TABLE, TRUTH, prepare_folder
from idrstream.simulate.spec import NEGATIVE, POSITIVE, SimulatedScreen

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger("idrstream.simulate")
_FIELDS, _FLATFIELDS = "fields", "flatfields.npz"
_SUFFIXES = {"cellh5": ".ch5", "ome-tiff": ".ome.tiff"}
_COLUMNS = (
    "Plate",
    "Well",
    "Frames",
    "Well Number",
    "Control Type",
    "Original Gene Target",
    "Site",
    "Path",
    "Channel Names",
)


def simulate_painting(
    folder: Path,
    spec: PaintingSpec | None = None,
    *,
    overwrite: bool = False,
    on_field: Callable[[str], None] | None = None,
) -> SimulatedScreen:
    """Write a synthetic Cell Painting screen, one file for each field, with table and truth.

    ::

        <folder>/fields/<plate>/<NNNNN>_<SS>.ch5   number of the well, site; or .ome.tiff
        <folder>/data_to_process.tsv               the table to process; paths are below <folder>
        <folder>/truth/<plate>/<NNNNN>_<SS>.npz    see `load_field_truth`

    Parameters
    ----------
    folder : Path
        Where to write; created if missing.
    spec : PaintingSpec, optional
        What to simulate; the default screen has 2 plates of 7 wells with 2 fields.
    overwrite : bool
        Replace a screen that was simulated into this folder before. Other files in it stay.
    on_field : callable, optional
        Called with the name of each field before it is made, for a progress bar.

    Returns
    -------
    SimulatedScreen
        Its files. Every file has the channels of `CHANNELS` in this order, one frame, and the
        spec's planes, of which the one in focus has the number ``spec.focus``.

    Raises
    ------
    ConfigError
        If `folder` is a file, or is not empty and `overwrite` is off.
    """
    spec = spec or PaintingSpec()
    folder = Path(folder)
    made = (*(f"{_FIELDS}/*/*{suffix}" for suffix in _SUFFIXES.values()), f"{TRUTH}/*/*.npz")
    prepare_folder(folder, overwrite=overwrite, table=TABLE, made=made)
    files = []
    for plate in spec.plate_names:
        for well in spec.wells:
            for site in range(1, spec.fields + 1):
                if on_field is not None:
                    on_field(f"{plate} {well} site {site}")
                field = simulate_field(spec, plate=plate, well=well, site=site)
                files.append(_write_field(folder, spec, field))
                _write_truth(folder / TRUTH / plate, field)
    with atomic_path(folder / TABLE) as part:
        part.write_text(_table(folder, spec, files), encoding="utf-8")
    _LOG.info("simulated %d fields in %s: %s", len(files), folder, asdict(spec))
    return SimulatedScreen(
        folder=folder,
        screens_path=None,
        table_path=folder / TABLE,
        truth=folder / TRUTH,
        study=_FIELDS,
        movies=tuple(files),
    )


def load_field_truth(path: Path) -> SimulatedField:
    """Read what `simulate_painting` wrote about one field.

    Parameters
    ----------
    path : Path
        A ``truth/<plate>/<NNNNN>_<SS>.npz``, see `SimulatedScreen.truth_of`. Its arrays are named
        like the fields of `SimulatedField` and `Treatment`; the illumination is in
        ``flatfields.npz`` beside it.

    Returns
    -------
    SimulatedField
        Without pixels: these have the shape ``(5, 0, y, x)``.

    Raises
    ------
    MovieError
        If the file is missing or is not such a truth.
    """
    try:
        with (
            np.load(path, allow_pickle=False) as file,
            np.load(path.with_name(_FLATFIELDS), allow_pickle=False) as illumination,
        ):
            treatment = Treatment(
                str(file["treatment"]),
                cell_size=float(file["cell_size"]),
                nucleus_size=float(file["nucleus_size"]),
                brightness=dict(zip(CHANNELS, file["brightness"].tolist(), strict=True)),
            )
            return SimulatedField(
                plate=str(file["plate"]),
                well=str(file["well"]),
                site=int(file["site"]),
                pixels=np.zeros((len(CHANNELS), 0, *file["nuclei"].shape), np.uint16),
                nuclei=file["nuclei"],
                cells=file["cells"],
                positions=file["positions"],
                flatfields=illumination["flatfields"],
                treatment=treatment,
            )
    except (OSError, KeyError, ValueError) as error:
        msg = f"{path} is not the truth of a simulated field: {error}"
        raise MovieError(msg) from error


def _write_field(folder: Path, spec: PaintingSpec, field: SimulatedField) -> Path:
    number = well_number(field.well)
    name = f"{number:05d}_{field.site:02d}{_SUFFIXES[spec.file_format]}"
    path = folder / _FIELDS / field.plate / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if spec.file_format == "ome-tiff":
        _write_ome_tiff(path, field)
    else:
        write_cellh5(
            path,
            field.pixels[:, None],
            field.nuclei[None],
            valid=np.ones(1, bool),
            screen=field.plate,
            well_number=number,
            position=field.site,
            channels=CHANNELS,
        )
    return path


def _write_ome_tiff(path: Path, field: SimulatedField) -> None:
    import tifffile

    tifffile.imwrite(
        path,
        field.pixels,
        ome=True,
        photometric="minisblack",
        compression="zlib",
        metadata={
            "axes": "CZYX",
            "Name": f"{field.plate} {field.well} site {field.site}",
            "Channel": {"Name": list(CHANNELS)},
            # Of the name alone, so that the same seed gives the same bytes.
            "UUID": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{field.plate}/{path.name}')}",
        },
    )


def _write_truth(folder: Path, field: SimulatedField) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / _FLATFIELDS).exists():
        np.savez_compressed(folder / _FLATFIELDS, flatfields=field.flatfields)
    treatment = field.treatment
    np.savez_compressed(
        folder / f"{well_number(field.well):05d}_{field.site:02d}.npz",
        plate=np.array(field.plate),
        well=np.array(field.well),
        site=np.array(field.site),
        nuclei=field.nuclei,
        cells=field.cells,
        positions=field.positions,
        treatment=np.array(treatment.name),
        cell_size=np.array(treatment.cell_size),
        nucleus_size=np.array(treatment.nucleus_size),
        brightness=np.array([treatment.brightness.get(name, 1.0) for name in CHANNELS]),
    )


def _table(folder: Path, spec: PaintingSpec, files: list[Path]) -> str:
    """Return the table to process, with an unnamed first column as pandas writes its index."""
    lines = ["\t".join(("", *_COLUMNS))]
    for plate in spec.plate_names:
        for well in spec.wells:
            number = well_number(well)
            treatment = treatment_of(number)
            for site in range(1, spec.fields + 1):
                row = len(lines) - 1
                cells = (
                    str(row),
                    plate,
                    well,
                    "1",
                    str(number),
                    NEGATIVE if treatment is CONTROL else POSITIVE,
                    treatment.name,
                    str(site),
                    files[row].relative_to(folder).as_posix(),
                    ";".join(CHANNELS),
                )
                lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"
