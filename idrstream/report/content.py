"""The parts of the page: words, tables and charts out of what the folder holds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from idrstream.report import charts
from idrstream.report.findings import plate_shading, shading_drift
from idrstream.report.pictures import picture_paths, shown_nuclei

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from idrstream.report.data import FolderData, Run
    from idrstream.report.features import Look
    from idrstream.report.findings import Warned

EXAMPLES = 36  # frames on the page at most
OPEN_PLATES = 12  # more are folded, but those with warnings
_ROWS = 200  # of a table of failures
_SOURCES = 300


class Measure(NamedTuple):
    """A measure as the page names it."""

    column: str
    title: str
    text: str
    digits: int


MEASURES = (
    Measure("Nuclei", "Nuclei", "Nuclei in a frame.", 0),
    Measure("Area", "Nucleus area", "Median area of the masks of a frame's nuclei, in pixels.", 0),
    Measure(
        "Intensity", "Intensity",
        "Median over a frame's nuclei of the mean grey level of the 5 x 5 pixels at their "
        "centroid, after the correction of the illumination, above the background.", 1,
    ),
    Measure(
        "Focus", "Focus",
        "Slope of the log power spectrum over the log spatial frequency: CellProfiler's "
        "PowerLogLogSlope, which Bray et al. 2012 recommend (doi:10.1177/1087057111420292). The "
        "more negative, the more blurred; frames without nuclei are near 0.", 2,
    ),
    Measure("Background", "Background", "25th percentile of a frame's corrected grey levels.", 1),
    Measure(
        "Saturated", "Saturated share",
        "Share of the pixels at the camera's highest grey level, before the correction.", 4,
    ),
)  # fmt: skip


def tiles(data: FolderData) -> list[tuple[str, str]]:
    """Return the numbers at the top."""
    status = data.status
    found = [
        ("State", status.state),
        ("Batches", f"{status.batches_done:,} of {status.batches:,}"),
        ("Images", f"{status.images_done:,} of {status.images:,}"),
        ("Left out", f"{status.images_failed:,}"),
        ("Nuclei", f"{status.nuclei:,}"),
        ("Tables", f"{status.bytes / 1e6:,.1f} MB"),
    ]
    if status.images_per_hour is not None:
        found.append(("Images an hour", f"{status.images_per_hour:,.0f}"))
    if status.left_s is not None:
        found.append(("Time left", duration(status.left_s)))
    return found


def throughput(data: FolderData) -> list[tuple[str, str]]:
    """Return charts of images over time, and their captions."""
    ended = data.ended
    if len(ended) < 2:
        return []
    begun = {run.number: run.started for run in data.runs}
    series, rates, before = [], [], 0
    for run, rows in ended.groupby("Run", sort=True):
        first = float(rows["Ended"].iloc[0])
        hours = (rows["Ended"].to_numpy(dtype=np.float64) - begun.get(int(str(run)), first)) / 3600
        done = rows["Images"].to_numpy().cumsum().astype(float)
        series.append((np.concatenate([[0.0], hours]), np.concatenate([[0.0], done])))
        before += int(done[-1])
        if len(rows) > 2 and hours[-1] > 0:
            rates.append(_rate(hours, done))
    words = f"Line: images published over time, {before} in {len(series)} runs."
    figures = [
        (
            charts.lines(series, words=words, label="hours since the run began", y_label="images"),
            "Images published in each run.",
        )
    ]
    if rates:
        last = rates[-1][1]
        words = f"Line: images an hour over time, last {last[-1]:.0f}, highest {last.max():.0f}."
        figures.append(
            (
                charts.lines(rates, words=words, label="hours since the run began",
                             y_label="images an hour"),
                "Rate over an eighth of each run at a time.",
            )
        )  # fmt: skip
    return figures


def _rate(
    hours: NDArray[np.float64], done: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    at = np.linspace(0, hours[-1], 49)
    reached = np.interp(at, np.concatenate([[0], hours]), np.concatenate([[0], done]))
    width = 6
    return at[width:], (reached[width:] - reached[:-width]) / (at[width] - at[0])


def failures(data: FolderData) -> list[dict[str, Any]]:
    """Return what failed by kind, with the calls that run it again."""
    from shlex import quote

    import pandas as pd

    found = []
    for kind, rows in data.failures.groupby("Kind", sort=False):
        batches = sorted(set(rows["Batch"].tolist()))
        numbers = ",".join(map(str, batches))
        shown = rows.head(_ROWS)
        cells = [
            ["" if pd.isna(value) else str(value) for value in row]
            for row in shown[
                ["Batch", "Plate", "Well", "Frame", "Stage", "Reason"]
            ].itertuples(index=False)
        ]  # fmt: skip
        more = f"; the first {_ROWS} are shown" if len(rows) > _ROWS else ""
        found.append(
            {
                "kind": kind,
                "count": len(rows),
                "caption": f"{len(rows)} in {len(batches)} batches{more}.",
                "rows": cells,
                "cli": f"idrstream rerun {quote(str(data.folder))} --batch-nums {numbers}",
                "python": f"stream.rerun_failed({str(kind)!r})  # batches {numbers}",
            }
        )
    return found


def plate_rows(data: FolderData) -> list[dict[str, Any]]:
    """Return the table of plates."""
    rows = []
    failed = _failed_wells(data)
    for plate, frames in data.frames.groupby("Plate", sort=False):
        medians = []
        for item in MEASURES:
            values = frames[item.column].dropna()
            medians.append(f"{values.median():.{item.digits}f}" if len(values) else "")
        rows.append(
            {
                "plate": plate,
                "wells": frames["Well"].nunique(),
                "medians": medians,
                "failed": len(failed.get(str(plate), ())),
            }
        )
    return rows


def scales(data: FolderData) -> dict[str, tuple[float, float]]:
    """Return the ends of each measure's colour scale: the same for all plates."""
    found = {}
    for item in MEASURES:
        values = data.frames[item.column].dropna()
        if len(values):
            low, high = np.quantile(values, (0.01, 0.99))
            found[item.column] = (float(low), float(high))
    return found


def measure_words(data: FolderData) -> list[dict[str, Any]]:
    """Return the measures with the ends of their scales."""
    ends = scales(data)
    found = []
    for item in MEASURES:
        low, high = ends.get(item.column, (None, None))
        found.append(
            {
                "title": item.title,
                "text": item.text,
                "low": None if low is None else f"{low:.{item.digits}f}",
                "high": None if high is None else f"{high:.{item.digits}f}",
            }
        )
    return found


def plates(data: FolderData, warned: Iterable[Warned]) -> list[dict[str, Any]]:
    """Return the maps of each plate."""
    ends = scales(data)
    subjects = " ".join(item.subject for item in warned)
    failed = _failed_wells(data)
    shape = _plate_shape(data.images)
    found = []
    names = [plate for plate in data.plates if plate in set(data.frames["Plate"]) | set(failed)]
    for plate in names:
        frames = data.frames[data.frames["Plate"] == plate]
        crosses = failed.get(plate, set())
        maps = []
        for item in MEASURES:
            if item.column not in ends or frames[item.column].isna().all():
                continue
            wells = frames.groupby(["Row", "Column"], sort=False)[item.column].median()
            values = np.full(shape, np.nan)
            at = wells.index.to_frame(index=False).to_numpy(dtype=np.intp)
            values[at[:, 0], at[:, 1]] = wells.to_numpy(dtype=np.float64)
            words = _map_words(plate, item, frames, len(crosses))
            maps.append(
                (item.title, charts.plate_map(values, *ends[item.column], words=words,
                                              crosses=sorted(crosses)))
            )  # fmt: skip
        if not maps:
            empty = np.full(shape, np.nan)
            words = f"Plate {plate}: nothing measured, {len(crosses)} wells with failures."
            maps = [("Failures", charts.plate_map(empty, 0, 1, words=words, crosses=crosses))]
        is_open = len(names) <= OPEN_PLATES or plate in subjects
        found.append({"name": plate, "maps": maps, "open": is_open})
    return found


def _map_words(plate: str, item: Measure, frames: pd.DataFrame, failed: int) -> str:
    wells = frames.groupby("Well", sort=False)[item.column].median().dropna()
    crosses = f"; {failed} wells with failures" if failed else ""
    return (
        f"{item.title} of plate {plate} by well: median {wells.median():.{item.digits}f}, lowest "
        f"{wells.min():.{item.digits}f} in {wells.idxmin()}, highest "
        f"{wells.max():.{item.digits}f} in {wells.idxmax()}{crosses}."
    )


def _failed_wells(data: FolderData) -> dict[str, set[tuple[int, int]]]:
    places = {
        (plate, well): (row, column)
        for plate, well, row, column in data.images[
            ["Plate", "Well", "Row", "Column"]
        ].itertuples(index=False)
    }  # fmt: skip
    found: dict[str, set[tuple[int, int]]] = {}
    for plate, well in zip(data.failures["Plate"], data.failures["Well"], strict=True):
        if (plate, well) in places:
            found.setdefault(plate, set()).add(places[plate, well])
    return found


def _plate_shape(images: pd.DataFrame) -> tuple[int, int]:
    """Return rows and columns of the smallest usual plate that has all wells."""
    rows, columns = int(images["Row"].max()) + 1, int(images["Column"].max()) + 1
    for shape in ((8, 12), (16, 24), (32, 48)):
        if rows <= shape[0] and columns <= shape[1]:
            return shape
    return rows, columns


def shading(data: FolderData) -> tuple[str, list[dict[str, Any]]]:
    """Return pictures of each plate's illumination, and what they are."""
    measured = plate_shading(data.frames)
    drift = shading_drift(measured)
    models = {plate: field for plate, field in data.models.items() if plate in data.plates}
    shown = models or measured
    if not shown:
        return "", []
    low = min(float(field.min()) for field in shown.values())
    high = max(float(field.max()) for field in shown.values())
    text = (
        "BaSiC's flatfield of each plate." if models else
        "The correction keeps no models of plates here. Shown is the background of each plate's "
        "frames before the correction, in 8 x 8 parts: the median over its frames."
    )  # fmt: skip
    text += (
        f" Dark is {low:.2f}, light is {high:.2f} of the mean brightness. The drift is how far the "
        "background before the correction is from the median of all plates (root mean square)."
    )
    found = []
    for plate, field in shown.items():
        away = f"drift {drift[plate]:.1%}" if plate in drift else "drift not known"
        height, width = field.shape
        found.append(
            {
                "plate": plate,
                "uri": charts.data_uri(charts.coloured(field, low, high)),
                "width": 160,
                "height": round(160 * height / width) if models else 120,
                "caption": f"{field.min():.2f} to {field.max():.2f}, {away}",
                "words": f"Illumination of plate {plate}: darkest {field.min():.2f}, brightest "
                f"{field.max():.2f} of the mean, {away}.",
            }
        )
    return text, found


def examples(data: FolderData) -> tuple[str, list[dict[str, Any]]]:
    """Return pictures of frames: those of the lowest ranks, plate by plate in turn."""
    ordered = data.frames.sort_values("Key")
    ordered = ordered.assign(Turn=ordered.groupby("Plate").cumcount())
    ordered = ordered.sort_values(["Turn", "Key"])
    found: list[dict[str, Any]] = []
    for row in ordered.itertuples(index=False):
        if len(found) >= EXAMPLES:
            break
        example = _example(data.folder, row)
        if example is not None:
            found.append(example)
    text = (
        f"{len(found)} frames drawn at random, each plate in turn, with the outlines of the nuclei "
        "found; below them nuclei of the same frame in original size. Which ones depends only on "
        "plate, well, site and frame. Numbers of nuclei count the frame's rows in its batch table "
        "from 1."
    )
    return text, found


def _example(folder: Path, row: Any) -> dict[str, Any] | None:
    frame_path, crops_path = picture_paths(folder, row.Key)
    try:
        frame = frame_path.read_bytes()
    except OSError:
        return None
    crops = crops_path.read_bytes() if crops_path.is_file() else b""
    numbers = ", ".join(map(str, shown_nuclei(row.Key, int(row.Nuclei))))
    site = f", site {row.Site}" if int(row.Site) != 1 else ""
    place = f"Plate {row.Plate}, well {row.Well}{site}, frame {row.Frame}"
    caption = f"{place}: {row.Nuclei} nuclei, batch {row.Batch}"
    if crops:
        caption += f"; below: nuclei {numbers}"
    width, height = _webp_size(frame)
    found = {
        "frame": charts.data_uri(frame, "image/webp"), "width": width, "height": height,
        "words": f"{place} with {row.Nuclei} outlined nuclei", "caption": f"{caption}.",
        "crops": "",
    }  # fmt: skip
    if crops:
        width, height = _webp_size(crops)
        found |= {
            "crops": charts.data_uri(crops, "image/webp"), "crop_width": width,
            "crop_height": height, "crop_words": f"{place}: nuclei {numbers}",
        }  # fmt: skip
    return found


def _webp_size(content: bytes) -> tuple[int, int]:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        width, height = picture.size
    return int(width), int(height)


def histograms(data: FolderData) -> list[tuple[str, str]]:
    """Return charts of how the measures are distributed over frames."""
    found = []
    for item in MEASURES:
        values = data.frames[item.column].dropna().to_numpy(dtype=np.float64)
        if len(values) < 2:
            continue
        low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
        words = (
            f"Histogram of {item.title.lower()} over {len(values)} frames: median "
            f"{middle:.{item.digits}f}, 90 % from {low:.{item.digits}f} to {high:.{item.digits}f}."
        )
        found.append((charts.histogram(values, words=words, label=item.title), words))
    return found


def feature_words(look: Look) -> dict[str, Any]:
    """Return the section on features."""
    from idrstream.report.features import NULL

    groups = []
    for group, rows in look.wells.groupby("Group", sort=True):
        groups.append((str(group) or "other wells", rows[["PC1", "PC2"]].to_numpy()))
    words = "Scatter of wells in the first two principal components: " + ", ".join(
        f"{len(points)} of {name}" for name, points in groups
    )
    part = (
        f" of {look.batches:,} of {look.of_batches:,} batches, evenly spread"
        if look.batches < look.of_batches
        else ""
    )
    text = (
        f"Mean features of {len(look.wells):,} wells ({look.nuclei:,} nuclei{part}), centred on "
        "each plate's negative controls, or on all its wells where it has none, and scaled by "
        "their median absolute deviation. A look, not an analysis."
    )
    precise: list[tuple[str, ...]] | None = None
    if look.precision is not None:
        precise = [
            (str(target), str(wells), f"{precision:.3f}", f"{p:.3f}")
            for target, wells, precision, p in look.precision.itertuples(index=False)
        ]
    first, second = look.explained
    return {
        "text": text,
        "figure": charts.scatter(
            groups, words=words, labels=(f"PC 1 ({first:.0%})", f"PC 2 ({second:.0%})")
        ),
        "legend": [
            (charts.symbol(charts.SYMBOLS[at % len(charts.SYMBOLS)], 7, 7), name, len(points))
            for at, (name, points) in enumerate(groups)
        ],
        "explained": f"{first + second:.0%}",
        "precision": precise,
        "why": look.why_no_precision,
        "null": f"{NULL:,}",
    }


def run_rows(data: FolderData) -> list[tuple[str, ...]]:
    """Return the table of runs."""
    return [
        (
            str(run.number), moment(run.started), duration(run.elapsed_s),
            f"{run.state}{': ' if run.stopped_by else ''}{run.stopped_by}", run.host, run.log,
        )
        for run in data.runs
    ]  # fmt: skip


def run_tables(data: FolderData) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return settings, parts with their digests, versions and sources of the last run."""
    last: Run | None = data.runs[-1] if data.runs else None
    tables = []
    if last is not None:
        parts = list(_flat(last.parts))
        options = list(_flat(last.options))
        versions = [(name, str(value)) for name, value in last.versions.items()]
        tables += [
            ("Parts and models", "Of the last run; digests are SHA-256 of files.", parts),
            ("Settings", "What the last run was called with.", options),
            ("Versions", "What the last run worked with.", versions),
        ]
    sources = _sources(data)
    if sources:
        tables.append(
            (
                "Where the movies came from",
                "Number of frames from each place; the file of each frame is in qc/batch_N.csv.",
                sources,
            )
        )
    return tables


def _sources(data: FolderData) -> list[tuple[str, str]]:
    """Return places of movies and how many frames came from each."""
    named = data.frames["Source"].astype(str)
    counts = named[named != ""].str.rsplit("/", n=1).str[0].value_counts()
    found = [(str(place), f"{count} frames") for place, count in counts.head(_SOURCES).items()]
    if len(counts) > _SOURCES:
        found.append(("others", f"{int(counts.iloc[_SOURCES:].sum())} frames"))
    return found


def _flat(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{before}{name}", text


def moment(seconds: float) -> str:
    """Return a time as text, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def duration(seconds: float) -> str:
    """Return a length of time as text."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"
