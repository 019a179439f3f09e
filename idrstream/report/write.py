"""Writes the report of an output folder: one HTML file that needs nothing else."""

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

if TYPE_CHECKING:
    from idrstream.report.data import FolderData
    from idrstream.report.features import Look

REPORT = "report.html"
_KINDS = {
    "failed": "Failed",
    "empty": "Empty well",
    "plate": "Plate unlike the others",
    "saturated": "Saturated",
    "vignetting": "Vignetting changed",
}
_SECTIONS = (
    ("warnings", "Warnings"),
    ("progress", "Progress"),
    ("failures", "Failures"),
    ("plates", "Plates"),
    ("illumination", "Illumination"),
    ("pictures", "Examples"),
    ("distributions", "Distributions"),
    ("features", "Features"),
    ("run", "What was run"),
)


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A report that was written.

    In a notebook it shows itself.

    Attributes
    ----------
    path : Path
        The HTML file.
    warnings : tuple of Warned
        What a user should look at.
    """

    path: Path
    warnings: tuple[Warned, ...]

    def __repr__(self) -> str:
        """Return the file and the warnings as text."""
        lines = [f"Report: {self.path}"]
        lines += [f"{_KINDS[item.kind]}: {item.text}" for item in self.warnings]
        return "\n".join(lines if self.warnings else [*lines, "Nothing peculiar was found."])

    def _repr_html_(self) -> str:
        """Return the page as part of a notebook."""
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
    """Write the report of an output folder; only read what is there, also while it grows.

    Parameters
    ----------
    folder : path
        Output folder of a stream.
    out : path, optional
        The HTML file; by default ``report.html`` in the folder.
    features : bool
        Whether to look at the features, too: that reads batch tables.
    watch_s : int, optional
        The page loads itself anew after so many seconds; None for a page that stays.

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
    from idrstream.files import atomic_path
    from idrstream.report.data import read_folder

    folder = Path(folder)
    path = Path(out) if out is not None else folder / REPORT
    data = read_folder(folder)
    warned = find_warnings(data)
    look = _features(data) if features else None
    page = render(data, warned, look, features=features, watch_s=watch_s)
    try:
        with atomic_path(path) as part:
            part.write_text(page, encoding="utf-8")
    except OSError as error:
        msg = f"{path} cannot be written ({error.strerror}); name another file with --out"
        raise StorageError(msg) from error
    return Report(path, warned)


def render(
    data: FolderData,
    warned: tuple[Warned, ...],
    look: Look | None,
    *,
    features: bool = True,
    watch_s: int | None = None,
) -> str:
    """Return the page as text."""
    from idrstream import __version__
    from idrstream.report import content

    shading_text, shading = content.shading(data)
    examples_text, examples = content.examples(data)
    name = data.folder.absolute().name
    page: str = _template().render(
        version=__version__,
        css=_text("page.css"),
        name=name,
        folder=str(data.folder.absolute()),
        made=f"{content.moment(time.time())} UTC",
        watch_s=watch_s,
        sections=_SECTIONS,
        kinds=_KINDS,
        warnings=warned,
        no_qc=_no_qc(data),
        tiles=content.tiles(data),
        throughput=content.throughput(data),
        failures=content.failures(data),
        measures=content.measure_words(data),
        plate_rows=content.plate_rows(data),
        plates=content.plates(data, warned),
        shading=shading,
        shading_text=shading_text,
        examples=examples,
        examples_text=examples_text,
        histograms=content.histograms(data),
        features=content.feature_words(look) if look is not None else None,
        no_features=(
            "Fewer than three wells have features."
            if features
            else "The features were not looked at (--no-features)."
        ),
        runs=content.run_rows(data),
        tables=content.run_tables(data),
    )
    return page


def _features(data: FolderData) -> Look | None:
    from idrstream.report.features import look_at_features

    return look_at_features(data)


def _no_qc(data: FolderData) -> str:
    if not data.unmeasured:
        return ""
    return (
        f"{data.unmeasured} of {len(data.batches)} batches that are done have no quality measures: "
        "they were streamed by a version of idrstream that took none, or their files are gone. "
        "Warnings, maps and distributions are without them."
    )


@lru_cache(maxsize=1)
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    # A batch's messages and a table's names come from elsewhere: everything is escaped.
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    return made.from_string(_text("page.html.j2"))


def _text(name: str) -> str:
    return resources.files("idrstream.report").joinpath(name).read_text(encoding="utf-8")


def summary(report: Report) -> Mapping[str, Any]:
    """Return what a report says as plain values."""
    return {
        "path": str(report.path),
        "warnings": [
            {"kind": item.kind, "subject": item.subject, "text": item.text}
            for item in report.warnings
        ],
    }
