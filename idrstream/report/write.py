"""Write the report of an output folder: one self-contained HTML file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.errors import StorageError
from idrstream.report.findings import Warned, find_warnings
from idrstream.text import short_path
from idrstream.visible import visible

if TYPE_CHECKING:
    from idrstream.report.data import FolderData
    from idrstream.report.features import FeatureOverview

REPORT = "report.html"
_KINDS = {
    "failed": "Failed",
    "empty": "Empty",
    "plate": "Plate unlike the others",
    "saturated": "Saturated",
    "vignetting": "Vignetting changed",
}
_SECTIONS = (
    ("warnings", "Warnings"),
    ("progress", "Progress"),
    ("failures", "Failures"),
    ("plates", "Plates"),
    ("large", "Large images"),
    ("illumination", "Illumination"),
    ("pictures", "Examples"),
    ("tracks", "Tracks"),
    ("distributions", "Distributions"),
    ("features", "Features"),
    ("run", "What was run"),
)


_OF_NUCLEI = ("plates", "illumination", "pictures", "distributions", "features")


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A report; a notebook displays it.

    Attributes
    ----------
    path : Path
        The HTML file.
    warnings : tuple of Warned
        Findings to check.
    """

    path: Path
    warnings: tuple[Warned, ...]

    def __repr__(self) -> str:
        """Return the file and the warnings as text."""
        lines = [f"Report: {short_path(self.path)}"]
        lines += [f"{_KINDS[item.kind]}: {item.text}" for item in self.warnings]
        return visible("\n".join(lines if self.warnings else [*lines, "No warnings."]))

    def _repr_html_(self) -> str:
        """Return the page in a frame for a notebook."""
        page = self.path.read_text(encoding="utf-8")
        return (
            '<iframe title="Report of idrstream" style="width: 100%; height: 80vh; border: 0" '
            f'srcdoc="{escape(page)}"></iframe>'
        )


def write_report(
    folder: Path | str,
    out: Path | str | None = None,
    *,
    features: bool = True,
    watch_s: int | None = None,
) -> Report:
    """Write the report of an output folder, finished or running.

    Parameters
    ----------
    folder : path
        Output folder of a stream.
    out : path, optional
        The HTML file; by default ``report.html`` in the folder.
    features : bool
        Include the features, which reads batch tables.
    watch_s : int, optional
        Seconds after which the page reloads itself; None for a page that does not.

    Returns
    -------
    Report
        The file and the warnings in it.

    Raises
    ------
    JournalError
        If the folder has no journal that can be read.
    StorageError
        If the file cannot be written.
    """
    from idrstream.files import atomic_file
    from idrstream.report.data import read_folder
    from idrstream.report.features import summarize_features

    folder = Path(folder)
    path = Path(out) if out is not None else folder / REPORT
    _refuse_other_file(path)
    data = read_folder(folder)
    warned = find_warnings(data)
    overview = summarize_features(data) if features and not data.extracts else None
    page = render(data, warned, overview, features=features, watch_s=watch_s)
    try:
        with atomic_file(path) as file:
            file.write(page.encode())
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror}); choose another file with --out"
        raise StorageError(msg) from error
    return Report(path, warned)


def _refuse_other_file(path: Path) -> None:
    """Refuse to write over a file that is no page, such as the journal."""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(64).lstrip().lower()
        if start and not start.startswith(b"<"):
            msg = f"{path} is there already and no HTML page; choose another file with --out"
            raise StorageError(msg)


def render(
    data: FolderData,
    warned: tuple[Warned, ...],
    overview: FeatureOverview | None,
    *,
    features: bool = True,
    watch_s: int | None = None,
) -> str:
    """Return the page as text."""
    from idrstream import __version__
    from idrstream.report import content
    from idrstream.text import format_moment

    shading_text, shading = content.shading(data)
    examples_text, examples = content.examples(data)
    name = data.folder.absolute().name
    large, tracks = content.large_images(data), content.tracks(data)
    optional = {"large": large, "tracks": tracks}
    if data.extracts:
        optional |= dict.fromkeys(_OF_NUCLEI)
    page: str = _template().render(
        version=__version__,
        css=_text("page.css"),
        name=name,
        folder=str(data.folder.absolute()),
        made=f"{format_moment(time.time())} UTC",
        watch_s=watch_s,
        sections=[item for item in _SECTIONS if optional.get(item[0], True)],
        extracts=data.extracts,
        large=large,
        tracks=tracks,
        kinds=_KINDS,
        warnings=warned,
        no_qc=_no_qc(data),
        tiles=content.tiles(data),
        throughput=content.throughput(data),
        failures=content.failures(data),
        measures=content.measure_words(data),
        plate_rows=content.plate_rows(data),
        channel_rows=content.channel_rows(data),
        channel_measures=content.measure_words(data, content.channel_measures(data)),
        plates=content.plates(data, warned),
        shading=shading,
        shading_text=shading_text,
        examples=examples,
        examples_text=examples_text,
        histograms=content.histograms(data),
        features=content.feature_words(overview) if overview is not None else None,
        no_features=(
            "Fewer than three wells have features."
            if features
            else "The features were skipped (--no-features)."
        ),
        runs=content.run_rows(data),
        workers=content.worker_rows(data),
        tables=content.run_tables(data),
    )
    return page


def _no_qc(data: FolderData) -> str:
    if data.extracts or not data.unmeasured:
        return ""
    return (
        f"{data.unmeasured} of {len(data.batches)} batches that are done have no quality measures: "
        "an earlier version of idrstream made them, or their files are missing. Warnings, maps "
        "and distributions leave them out."
    )


@lru_cache(maxsize=1)
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    # Messages and names come from outside: everything is escaped.
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    return made.from_string(_text("page.html.j2"))


def _text(name: str) -> str:
    return resources.files("idrstream.report").joinpath(name).read_text(encoding="utf-8")


def summary(report: Report) -> Mapping[str, Any]:
    """Return path and warnings as plain values."""
    return {
        "path": str(report.path),
        "warnings": [
            {"kind": item.kind, "subject": item.subject, "text": item.text}
            for item in report.warnings
        ],
    }
