"""Stream a simulated Cell Painting screen and score the result against its truth."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from idrstream.config.commented import SettingLine
from idrstream.demo.nuclei import MARKER, masks_of, run_settings_file, write_settings

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from idrstream.collect import Collected
    from idrstream.records import ImageTask
    from idrstream.report.families import FamilyEffects
    from idrstream.schedule.result import RunResult
    from idrstream.simulate import PaintingSpec, Score, SimulatedScreen

CELL_CHANNEL = "RNA"
"""Channel that cells are found in; it fills them."""


@dataclass(frozen=True, slots=True)
class PaintingScore:
    """Agreement of a stream's results with the truth of a simulated Cell Painting screen.

    Nuclei at the image border are ignored, because the demo's segmentation removes them.

    Attributes
    ----------
    masks, locations : Score
        As of `idrstream.demo.DemoScore`.
    cell_area : float
        Correlation of the area of the cells found with that of the true cells; NaN if it was not
        measured.
    flatfield : float
        Smallest correlation over plates and channels between estimated and true flatfield.
    effects : tuple of FamilyEffects
        What the treatments change in the normalised profiles of wells.
    """

    masks: Score
    locations: Score
    cell_area: float
    flatfield: float
    effects: tuple[FamilyEffects, ...]


@dataclass(frozen=True, slots=True)
class PaintingDemo:
    """A finished demo: its screen, settings, output folder, collection, report and score."""

    screen: SimulatedScreen
    settings: Path
    features: Path
    collected: Collected
    report: Path
    result: RunResult
    score: PaintingScore


def run_demo(folder: Path, spec: PaintingSpec, *, progress: bool = True) -> PaintingDemo:
    """Simulate a Cell Painting screen, stream it to features, collect profiles and write a report.

    Nuclei are profiled by the shipped network, in the DNA channel; nuclei, cells and cytoplasm are
    measured in all channels where cp_measure is installed (``pip install idrstream[classical]``).

    Parameters
    ----------
    folder : Path
        Gets ``screen/`` (images and truth), ``stream.toml`` (the settings), ``features/``
        (results, report and log) and ``profiles/`` (the collection).
    spec : PaintingSpec
        What to simulate.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    PaintingDemo
        Its files, its result and score.
    """
    from idrstream import collect_folder
    from idrstream.report.write import write_report
    from idrstream.simulate import simulate_painting

    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
    screen = simulate_painting(folder / "screen", spec)
    features = folder / "features"
    settings = _settings(screen, spec, folder)
    result = run_settings_file(settings, progress=progress)
    collected = collect_folder(features, folder / "profiles", partial=bool(result.rerun_batches))
    report = write_report(features).path
    score = score_demo(screen, features, collected)
    return PaintingDemo(screen, settings, features, collected, report, result, score)


def _settings(screen: SimulatedScreen, spec: PaintingSpec, folder: Path) -> Path:
    """Write the settings; engines as far as they are installed."""
    from idrstream.simulate import CHANNELS

    engines = ("torch", "classical") if importlib.util.find_spec("cp_measure") else ("torch",)
    channels = tuple(f"{name}={name}" for name in CHANNELS)
    return write_settings(
        folder, screen, "demo",
        SettingLine("method", "local", "images come from a folder of this machine"),
        SettingLine("root", screen.folder.name),
        SettingLine("image_channels", channels, "NAME=CHANNEL: all that are measured"),
        SettingLine("z", spec.focus, "the plane in focus, from 0"),
        SettingLine("perform_illumination_correction", True, "BaSiC"),
        SettingLine("illumination_context", "plate", "its model is learnt for each plate"),
        SettingLine("batch_size", spec.wells_per_plate, "images of a batch"),
        SettingLine("segment_channel", "DNA", "nuclei are found in it"),
        SettingLine("cells", "propagate", "from each nucleus to where the cell ends"),
        SettingLine("cell_channels", (CELL_CHANNEL,), "cells are found in it"),
        SettingLine("engines", engines, "a network's features beside CellProfiler's measurements"),
    )  # fmt: skip


def score_demo(screen: SimulatedScreen, features: Path, collected: Collected) -> PaintingScore:
    """Compare tables, flatfields and profiles of a stream with the truth of its screen.

    Parameters
    ----------
    screen : SimulatedScreen
        The screen that was streamed.
    features : Path
        Output folder, with object outlines and illumination models by plate.
    collected : Collected
        Its collection.
    """
    import pandas as pd

    from idrstream.compile import read_batch_table
    from idrstream.screen import read_table, tasks_from_table
    from idrstream.simulate import Score, load_field_truth, score_locations, score_masks

    tables = [read_batch_table(path) for path in sorted(features.glob("batch_*.csv.gz"))]
    cells = pd.concat(tables, ignore_index=True)
    masks = locations = Score(0, 0, 0, np.empty(0), np.empty(0))
    areas: list[NDArray[np.float64]] = []
    for task in tasks_from_table(read_table(screen.table_path)):
        truth = load_field_truth(screen.truth_of(task.plate, task.well_number, task.site))
        here = _rows_of(cells, task)
        found_yx = here[["Location_Center_Y", "Location_Center_X"]].to_numpy()
        shape = truth.nuclei.shape
        masks += score_masks(masks_of(here, shape), truth.nuclei, ignore_border=True)
        locations += score_locations(found_yx, truth.nuclei, ignore_border=True)
        if "Cells_AreaShape_Area" in here:
            at = np.clip(np.rint(found_yx).astype(int), 0, np.array(shape) - 1)
            owner = truth.nuclei[at[:, 0], at[:, 1]]
            true = np.bincount(truth.cells.ravel())[owner]
            pairs = np.stack([here["Cells_AreaShape_Area"].to_numpy(), true], axis=1)
            areas.append(pairs[owner > 0])
    both = np.concatenate(areas) if areas else np.empty((0, 2))
    return PaintingScore(
        masks=masks,
        locations=locations,
        cell_area=float(np.corrcoef(both[:, 0], both[:, 1])[0, 1])
        if len(both) > 1
        else float("nan"),
        flatfield=_flatfield_correlation(screen, features),
        effects=treatment_effects(collected),
    )


def treatment_effects(collected: Collected) -> tuple[FamilyEffects, ...]:
    """Return what the treatments change in the normalised profiles, with all their features."""
    import pandas as pd

    from idrstream.compile.feature_names import POSITIONS, parse_features
    from idrstream.report.families import family_effects
    from idrstream.screen.columns import CONTROL, GENE
    from idrstream.simulate import CHANNELS

    wells = pd.read_parquet(collected.folder / "wells_normalized.parquet")
    names = [name for name in collected.features().index if wells[name].notna().all()]
    said = [one for one in parse_features(names, CHANNELS) if one.family != POSITIONS]
    control, target = (f"Metadata_{name.replace(' ', '_')}" for name in (CONTROL, GENE))
    target = target if target in wells else "Metadata_Gene"
    targets = wells[target].where(wells[control] != "negative control", "")
    values = wells[[one.name for one in said]].to_numpy(np.float64)
    return family_effects(values, said, targets, CHANNELS)


def verdict(demo: PaintingDemo) -> str:
    """Return how well the stream did, as text."""
    masks, locations = demo.score.masks, demo.score.locations
    lines = [
        f"Against the truth of the simulated screen ({masks.n_true} nuclei off the border):",
        f"  nuclei found (IoU 0.5)       {masks.recall:8.1%}",
        f"  found where there is none    {1 - masks.precision:8.1%}",
        f"  location error, median       {locations.median_distance_px:8.2f} px",
        f"  flatfield correlation, worst {demo.score.flatfield:8.4f}",
    ]
    if not np.isnan(demo.score.cell_area):
        lines.append(f"  cell area, correlation       {demo.score.cell_area:8.4f}")
    if demo.score.effects:
        lines.append("What each treatment changes most, in deviations of the negative controls:")
        for one in demo.score.effects:
            top = ", ".join(f"{name} {value:+.1f}" for name, value in one.top[:2])
            lines.append(f"  {one.target + ':':22}{top}")
    lines += [
        f"Profiles of wells are in {demo.features.parent / demo.collected.folder.name}",
        f"The screen and its truth are in {demo.screen.folder}",
    ]
    return "\n".join(lines) + "\n"


def _rows_of(cells: pd.DataFrame, task: ImageTask) -> pd.DataFrame:
    return cells[
        (cells["Metadata_Plate"] == task.plate)
        & (cells["Metadata_Well"] == f"{task.well_number}_{task.frames[0]}")
        & (cells["Metadata_Site"].astype(str) == str(task.site))
    ]


def _flatfield_correlation(screen: SimulatedScreen, features: Path) -> float:
    from idrstream.preprocess import IlluminationModel
    from idrstream.simulate import CHANNELS, load_field_truth

    values = []
    for folder in sorted(path for path in screen.truth.iterdir() if path.is_dir()):
        truth = load_field_truth(min(folder.glob("[0-9]*.npz")))
        for channel, true in zip(CHANNELS, truth.flatfields, strict=True):
            path = features / "illumination" / channel / f"{folder.name}.npz"
            estimated = IlluminationModel.load(path).flatfield
            values.append(float(np.corrcoef(estimated.ravel(), true.ravel())[0, 1]))
    return min(values, default=float("nan"))
