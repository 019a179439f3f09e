"""Look at one step of a stream: a page of pictures, and numbers for each image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.errors import ConfigError, StorageError, UserError, storage_error
from idrstream.files import atomic_file, own_folder
from idrstream.folder.locks import folder_lock
from idrstream.preprocess.tiles import TilePreprocessor
from idrstream.redact import redact
from idrstream.report.charts import data_uri
from idrstream.step.chain import Chain
from idrstream.step.kept import Kept
from idrstream.step.show import STEPS, Shown, Step, compare, show
from idrstream.text import short_path
from idrstream.visible import visible

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.records import ImageTask
    from idrstream.run.components import Components

PAGE, NUMBERS, DIFFERENCES, KEPT = "index.html", "images.csv", "differences.csv", "kept"

_UNITS = {"px2": "px²", "px": "px", "MB": "MB"}
_TOTALS = ("In_Both", "Only_In_First", "Only_In_Second")
_DONE = {
    "download": "movies downloaded",
    "decoded": "frames decoded",
    "plate": "estimates of plates made",
    "preprocess": "frames corrected",
    "segment": "frames segmented",
    "profile": "frames profiled",
}


@dataclass(frozen=True, slots=True)
class Side:
    """A stream that is looked at, one of two if settings are compared.

    Attributes
    ----------
    name : str
        What is different in it, such as ``diameter = 20``; empty if there is but one.
    study : str
        Accession of the study.
    components : Components
        Its components.
    complete_timeout_s : float
        See `DownloadSettings`.
    """

    name: str
    study: str
    components: Components
    complete_timeout_s: float


@dataclass(frozen=True, slots=True, repr=False)
class StepLook:
    """What a step makes of some images; a notebook displays its page.

    Attributes
    ----------
    path : Path
        The page.
    numbers : pandas.DataFrame
        A row for each image and setting: ``Plate, Well, Site, Frame, Settings``, the measures of
        the step, ``Seconds`` that it took when it was made, and ``Problem``, empty without one.
    differences : pandas.DataFrame
        A row for each image of which both settings made something; empty unless two are compared.
    made, taken : Mapping[str, int]
        How often each step was run for this page, and how often its result was there.
    """

    path: Path
    numbers: pd.DataFrame
    differences: pd.DataFrame
    made: Mapping[str, int]
    taken: Mapping[str, int]

    @property
    def failed(self) -> int:
        """Number of images, times settings, with a problem."""
        return int((self.numbers["Problem"] != "").sum())

    def work(self) -> str:
        """Return what was done for the page, and what was there."""
        names = [name for name in _DONE if self.made.get(name) or self.taken.get(name)]
        return "; ".join(
            f"{self.made.get(name, 0)} {_DONE[name]}, {self.taken.get(name, 0)} kept from before"
            for name in names
        )

    def __repr__(self) -> str:
        """Return the page, the work and the numbers as text."""
        page, numbers = short_path(self.path), self.numbers.to_string(index=False, na_rep="")
        lines = [f"Page: {page}", self.work(), numbers]
        if len(self.differences):
            lines += ["Differences:", self.differences.to_string(index=False, na_rep="")]
        return visible("\n".join(lines))

    def _repr_html_(self) -> str:
        """Return the page in a frame for a notebook."""
        page = self.path.read_text(encoding="utf-8")
        return (
            '<iframe title="A step of idrstream" style="width: 100%; height: 80vh; border: 0" '
            f'srcdoc="{escape(page)}"></iframe>'
        )


def look(step: Step, sides: Sequence[Side], sample: Sequence[ImageTask], out: Path) -> StepLook:
    """Run one step over a sample of images, from what was kept, and write a page about it.

    Parameters
    ----------
    step : {"download", "preprocess", "segment", "profile"}
        The step; those before it are run where nothing was kept of them.
    sides : sequence of Side
        One stream, or two whose settings are compared.
    sample : sequence of ImageTask
        The images; of each one frame is shown.
    out : Path
        Folder for ``index.html``, ``images.csv``, ``differences.csv`` and ``kept/``.

    Raises
    ------
    ConfigError
        If there is no such step, or the images are cut into tiles.
    StorageError
        If the folder cannot be written.
    UserError
        If a step cannot be run at all.
    """
    import pandas as pd

    if step not in STEPS:
        raise ConfigError(f"there is no step {step!r}; there are {', '.join(STEPS)}")
    if any(isinstance(side.components.preprocessor, TilePreprocessor) for side in sides):
        msg = "a step is looked at in whole frames: use tile_px = 0, on images that fit in memory"
        raise ConfigError(msg)
    _make(out)
    with own_folder(out / KEPT) as folder, folder_lock(folder, "--out"):
        kept = Kept(folder)
        chains = [
            Chain(side.study, side.components, side.complete_timeout_s, kept, sample)
            for side in sides
        ]
        images = [_Image.of(step, task, sides, chains) for task in sample]
    rows = [row for image in images for row in image.rows]
    found = StepLook(
        out / PAGE,
        pd.DataFrame(rows).assign(Problem=lambda table: table.pop("Problem")),
        pd.DataFrame([image.difference for image in images if image.difference]),
        {step: len(keys) for step, keys in kept.made.items() if keys},
        {step: len(keys) for step, keys in kept.taken.items() if keys},
    )
    _write(found, step, sides, images)
    return found


@dataclass(frozen=True, slots=True)
class _Image:
    """An image on the page: its rows of numbers, and pictures for each side and differences."""

    name: str
    rows: list[dict[str, Any]]
    columns: list[tuple[str, list[tuple[str, bytes]], str]]
    difference: dict[str, Any]

    @classmethod
    def of(
        cls, step: Step, task: ImageTask, sides: Sequence[Side], chains: Sequence[Chain]
    ) -> _Image:
        place = {"Plate": task.plate, "Well": task.well, "Site": task.site}
        shown = [_shown(step, task, chain) for chain in chains]
        rows, columns = [], []
        for side, one in zip(sides, shown, strict=True):
            settings = {"Settings": side.name} if len(sides) > 1 else {}
            if isinstance(one, Shown):
                row = {**place, "Frame": one.frame, **settings, **one.numbers, "Problem": ""}
                columns.append((side.name, list(one.pictures.items()), _words(one.numbers)))
            else:
                row = {**place, **settings, "Problem": one}
                columns.append((side.name, [], one))
            rows.append(row)
        frames = {one.frame for one in shown if isinstance(one, Shown)}
        difference: dict[str, Any] = {}
        if len(shown) == 2 and isinstance(shown[0], Shown) and isinstance(shown[1], Shown):
            pictures, numbers = compare(step, shown[0], shown[1])
            columns.append(("Differences", list(pictures.items()), _words(numbers)))
            difference = {**place, "Frame": shown[0].frame, **numbers}
        site = f", site {task.site}" if task.site != 1 else ""
        frame = f", frame {frames.pop()}" if len(frames) == 1 else ""
        return cls(f"Plate {task.plate}, well {task.well}{site}{frame}", rows, columns, difference)


def _shown(step: Step, task: ImageTask, chain: Chain) -> Shown | str:
    """Return what a step made of an image, or why nothing."""
    try:
        return show(chain, step, task)
    except UserError:
        raise
    # The boundary of one image: whatever it is, the others are shown.
    except Exception as error:
        stops = storage_error(error)
        if stops is not None:
            raise stops from error
        return f"{type(error).__name__}: {redact(str(error))}"


def _words(numbers: Mapping[str, Any]) -> str:
    """Return numbers as words, such as ``Nuclei 32, Median Area 221 px²``."""
    said = []
    for name, value in numbers.items():
        if math.isnan(value):
            continue
        words = [part for part in name.split("_") if part not in _UNITS]
        unit = [_UNITS[part] for part in name.split("_") if part in _UNITS]
        sign = "+" if words[-1] == "Change" and value else ""
        said.append(" ".join([*words, f"{value:{sign}.4g}", *unit]))
    return ", ".join(said)


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the folder {out} cannot be made: {error.strerror}"
        raise StorageError(msg) from error


def _write(found: StepLook, step: Step, sides: Sequence[Side], images: Sequence[_Image]) -> None:
    from idrstream import __version__

    of = found.differences
    css = resources.files("idrstream.report").joinpath("page.css").read_text(encoding="utf-8")
    page = _template().render(
        version=__version__,
        css=css,
        step=step,
        sides=[side.name for side in sides if side.name],
        failed=found.failed,
        work=found.work(),
        totals=_words({name: int(of[name].sum()) for name in _TOTALS if name in of}),
        images=[
            (
                image.name,
                [
                    (
                        title,
                        [(name, data_uri(webp, "image/webp")) for name, webp in pictures],
                        words,
                    )
                    for title, pictures, words in image.columns
                ],
            )
            for image in images
        ],
    )
    folder = found.path.parent
    tables = {NUMBERS: found.numbers, DIFFERENCES: found.differences}
    contents = {PAGE: page.encode()} | {
        name: table.to_csv(index=False).encode() for name, table in tables.items() if len(table)
    }
    try:
        for name, content in contents.items():
            with atomic_file(folder / name) as file:
                file.write(content)
        if not len(found.differences):
            (folder / DIFFERENCES).unlink(missing_ok=True)
    except OSError as error:
        msg = f"{folder} cannot be written ({error.strerror}); choose another folder"
        raise StorageError(msg) from error


@lru_cache(maxsize=1)
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    # Messages and names come from outside: everything is escaped.
    made = Environment(autoescape=True, undefined=StrictUndefined)
    text = resources.files("idrstream.step").joinpath("page.html.j2").read_text(encoding="utf-8")
    return made.from_string(text)
