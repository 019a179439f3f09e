"""Stream a simulated screen of nuclei and score the result against its truth."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from idrstream.config.commented import SettingLine

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from idrstream.schedule.result import RunResult
    from idrstream.simulate import Score, ScreenSpec, SimulatedScreen


MARKER = ".idrstream-demo"
"""File that says that a folder is a demo's, and may be replaced."""


@dataclass(frozen=True, slots=True)
class DemoScore:
    """Agreement of a stream's results with the truth of a simulated screen.

    Nuclei at the image border are ignored, because the demo's segmentation removes them.

    Attributes
    ----------
    masks : Score
        Outlined nuclei matched to true masks at an intersection over union of 0.5.
    locations : Score
        The table's locations matched to the true nuclei.
    flatfield : float
        Smallest correlation over the plates between estimated and true flatfield.
    """

    masks: Score
    locations: Score
    flatfield: float


@dataclass(frozen=True, slots=True)
class Demo:
    """A finished demo: its screen, settings, output folder, report, result and score."""

    screen: SimulatedScreen
    settings: Path
    features: Path
    report: Path
    result: RunResult
    score: DemoScore


def run_demo(folder: Path, spec: ScreenSpec, *, progress: bool = True) -> Demo:
    """Simulate a screen, stream it to features and write a report.

    Parameters
    ----------
    folder : Path
        Gets ``screen/`` (the simulated archive and its truth), ``stream.toml`` (the settings) and
        ``features/`` (results, report and log).
    spec : ScreenSpec
        What to simulate.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    Demo
        Its files, its result and score.
    """
    from idrstream import simulate_screen
    from idrstream.report.write import write_report

    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
    screen = simulate_screen(folder / "screen", spec)
    config = config_for(spec.height, spec.width, folder)
    settings = write_settings(
        folder, screen, "idr0013",
        SettingLine("method", "local", "images come from a folder that mirrors the archive"),
        SettingLine("root", screen.folder.name),
        SettingLine("screens_path", f"{screen.folder.name}/{_name_of(screen.screens_path)}"),
        SettingLine("perform_illumination_correction", True, "BaSiC"),
        SettingLine("illumination_context", "plate", "its model is learnt for each plate"),
        SettingLine("batch_size", spec.wells_per_plate, "images of a batch"),
        *([SettingLine("dp_config", config.name)] if config.parent == folder else []),
    )  # fmt: skip
    result = run_settings_file(settings, progress=progress)
    features = folder / "features"
    report = write_report(features).path
    return Demo(screen, settings, features, report, result, score_demo(screen, features))


def write_settings(folder: Path, screen: SimulatedScreen, name: str, *others: SettingLine) -> Path:
    """Write the settings of a demo, as somebody would who has its images.

    Parameters
    ----------
    folder : Path
        Of the demo.
    screen : SimulatedScreen
        Its images.
    name : str
        Of the study.
    *others : SettingLine
        What is not as `idrstream.archive.first_settings` chooses it.

    Returns
    -------
    Path
        The file.
    """
    from idrstream.archive.first_settings import FirstSettings, image_facts
    from idrstream.screen import read_table

    path = folder / "stream.toml"
    table = screen.table_path.relative_to(folder).as_posix()
    facts = image_facts(read_table(screen.table_path))
    text = FirstSettings(name, table, made_by="idrstream demo", others=others).text(facts)
    path.write_text(text, encoding="utf-8")
    return path


def run_settings_file(path: Path, *, progress: bool) -> RunResult:
    """Run the stream of a settings file, whatever the environment says."""
    from idrstream import IdrStream
    from idrstream.config import load_settings
    from idrstream.stream.build import build_stream, run_settings

    settings = load_settings(path, environment={})
    settings = replace(settings, stream=replace(settings.stream, progress=progress))
    stream = build_stream(IdrStream, settings)
    try:
        return run_settings(stream, settings)
    finally:
        stream.close()
        shutil.rmtree(settings.stream.tmp_dir, ignore_errors=True)


def next_steps(report: Path, settings: Path, features: Path, *, collected: bool) -> str:
    """Return what to look at, and commands that work on what a demo made."""
    steps = [
        (f"idrstream report {_quoted(features)} --open", "the report, in the browser"),
        (f"idrstream plan {_quoted(settings)}", "its settings: copy the file, change it"),
    ]
    if not collected:
        collect = f"idrstream collect {_quoted(features)}"
        steps.insert(1, (collect, "one dataset of all nuclei, and profiles of wells"))
    else:
        steps.insert(1, (f"idrstream status {_quoted(features)}", "what was done, and what failed"))
    width = max(len(command) for command, _ in steps)
    lines = [f"  {command:{width}}  # {what}" for command, what in steps]
    return "\n".join([
        f"Pictures and plots: {report}", "Next:", *lines,
        "For images of your own: idrstream settings --help", "",
    ])  # fmt: skip


def _quoted(path: Path) -> str:
    return quote(str(path))


def _name_of(path: Path | None) -> str:
    return path.name if path is not None else ""


def config_for(height: int, width: int, folder: Path) -> Path:
    """Return the shipped DeepProfiler config, or a copy of it in `folder` for another frame size.

    Parameters
    ----------
    height, width : int
        Size of the frames in pixels.
    folder : Path
        Folder for the copy.
    """
    from idrstream import models

    shipped = models.profiler_config_path()
    config = json.loads(shipped.read_text(encoding="utf-8"))
    images = config["dataset"]["images"]
    if (images["height"], images["width"]) == (height, width):
        return shipped
    images["height"], images["width"] = height, width
    path = folder / shipped.name
    path.write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")
    return path


def score_demo(screen: SimulatedScreen, features: Path) -> DemoScore:
    """Compare the tables and flatfields of a stream with the truth of its simulated screen.

    Parameters
    ----------
    screen : SimulatedScreen
        The screen that was streamed.
    features : Path
        Output folder, with object outlines and illumination models by plate.
    """
    import numpy as np
    import pandas as pd

    from idrstream.compile import read_batch_table
    from idrstream.screen import read_table, tasks_from_table
    from idrstream.simulate import Score, load_truth, score_locations, score_masks

    tables = [read_batch_table(path) for path in sorted(features.glob("batch_*.csv.gz"))]
    cells = pd.concat(tables, ignore_index=True)
    masks = locations = Score(0, 0, 0, np.empty(0), np.empty(0))
    for task in tasks_from_table(read_table(screen.table_path)):
        truth = load_truth(screen.truth_of(task.plate, task.well_number))
        for number in task.frames:
            here = cells[
                (cells["Metadata_Plate"] == task.plate)
                & (cells["Metadata_Well"] == f"{task.well_number}_{number}")
            ]
            true = truth.masks[number - 1]
            found_yx = here[["Location_Center_Y", "Location_Center_X"]].to_numpy()
            masks += score_masks(masks_of(here, true.shape), true, ignore_border=True)
            locations += score_locations(found_yx, true, ignore_border=True)
    return DemoScore(masks, locations, _flatfield_correlation(screen, features))


def masks_of(cells: pd.DataFrame, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Draw the outlines of a frame's nuclei as masks 1 ... n, in the order of the rows."""
    import numpy as np
    from skimage.draw import polygon

    from idrstream.segment.locations import parse_outline

    masks = np.zeros(shape, dtype=np.int64)
    for label, text in enumerate(cells["Object_Outline"], start=1):
        outline = parse_outline(text)
        rows, columns = polygon(  # type: ignore[no-untyped-call]
            outline[:, 0], outline[:, 1], shape
        )
        masks[rows, columns] = label
        masks[outline[:, 0], outline[:, 1]] = label
    return masks


def _flatfield_correlation(screen: SimulatedScreen, features: Path) -> float:
    import numpy as np

    from idrstream.preprocess import IlluminationModel
    from idrstream.simulate import load_truth

    values = []
    for path in sorted((features / "illumination").glob("*.npz")):
        some_well = min((screen.truth / path.stem).glob("*.npz"))
        true = load_truth(some_well).flatfield
        estimated = IlluminationModel.load(path).flatfield
        values.append(float(np.corrcoef(estimated.ravel(), true.ravel())[0, 1]))
    return min(values, default=float("nan"))


def verdict(demo: Demo) -> str:
    """Return how well the stream did, as text."""
    import numpy as np

    masks, locations = demo.score.masks, demo.score.locations
    apart = np.percentile(locations.distance_px, 95) if locations.n_matched else float("nan")
    lines = [
        f"Against the truth of the simulated screen ({masks.n_true} nuclei off the border):",
        f"  nuclei found (IoU 0.5)       {masks.recall:8.1%}",
        f"  found where there is none    {1 - masks.precision:8.1%}",
        f"  location error, median       {locations.median_distance_px:8.2f} px",
        f"  location error, 95 % below   {apart:8.2f} px",
        f"  flatfield correlation        {demo.score.flatfield:8.4f}",
        f"The screen and its truth are in {demo.screen.folder}",
    ]
    return "\n".join(lines) + "\n"
