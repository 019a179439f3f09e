"""Open one real image of each kind, before a plan says that a stream can start."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from idrstream.download.locate.table import target_name
from idrstream.errors import FrameError, IdrStreamError, UserError
from idrstream.forecast.plan import Check
from idrstream.records import Frame, ImageTask
from idrstream.redact import redact
from idrstream.run.components import Components

if TYPE_CHECKING:
    import pandas as pd

_TRIES = 3  # of a kind, since single images of every screen are missing or damaged


def open_images(
    components: Components, tasks: Sequence[ImageTask], table: pd.DataFrame, folder: Path
) -> list[Check]:
    """Return for each kind of image whether one could be opened, and what it is.

    Parameters
    ----------
    components : Components
        Those of the stream; nothing is written outside `folder`.
    tasks : sequence of ImageTask
        The images that the stream would process.
    table : pandas.DataFrame
        The table that they come from.
    folder : Path
        A temporary folder; what is downloaded into it is deleted again.
    """
    kinds: dict[str, list[ImageTask]] = {}
    places = [name for name in ("Path", "URL") if name in table.columns]
    places += [name for name in table.columns if name.startswith("Path ")]
    columns = {name: table[name].tolist() for name in places}
    rows = [task.row for task in tasks]
    for task in tasks:
        text = next((str(cells[task.row]) for cells in columns.values() if cells[task.row]), "")
        kinds.setdefault("".join(PurePosixPath(text).suffixes[-1:]).lower(), []).append(task)
    given = {row: [str(cells[row]) for cells in columns.values() if cells[row]] for row in rows}
    return [
        _open_one_of(components, kind, of_kind, folder, given) for kind, of_kind in kinds.items()
    ]


def _open_one_of(
    components: Components,
    kind: str,
    tasks: Sequence[ImageTask],
    folder: Path,
    given: Mapping[int, Sequence[str]],
) -> Check:
    what = f"a {kind} image opens" if kind else "an image opens"
    first: Check | None = None
    for task in tasks[:: -(-len(tasks) // _TRIES)]:
        try:
            text = _look(components, task, folder)
            return Check(what, "ok", f"{task.name}: {_with_names(text, task, given[task.row])}")
        except Exception as error:  # of any library that reads images; a plan reports errors
            ours = isinstance(error, IdrStreamError)
            text = str(error) if ours else f"{type(error).__name__}: {redact(str(error))}"
            text = _with_names(text.replace(f"{folder}/", ""), task, given[task.row])
            remedy = error.explained_by() if isinstance(error, IdrStreamError) else ""
            first = first or Check(what, "failed", f"{task.name}: {text}", remedy)
            if isinstance(error, UserError):
                break
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    assert first is not None  # noqa: S101, a kind has images
    return first


def _with_names(text: str, task: ImageTask, given: Sequence[str]) -> str:
    """Return a text with files as the table names them, not as they are called for a moment."""
    for path in given:
        text = text.replace(target_name(task, path), path)
    return text


def _look(components: Components, task: ImageTask, folder: Path) -> str:
    """Read the first wanted frame of an image and say what it is."""
    one = replace(task, frames=task.frames[:1])
    movie = components.downloader.download(one, folder)
    preprocessor = components.preprocessor.uncorrected()
    wanted = preprocessor.resolve(movie)
    wanted = replace(wanted, frames=wanted.frames[:1], every=0)
    found = next(iter(preprocessor.iterate(replace(movie, task=wanted), 1)))[0]
    if not isinstance(found, Frame):
        raise FrameError(found.reason)
    _, height, width = found.pixels.shape
    names = ", ".join(found.channels)
    return (
        f"{movie.path.name}, {height} x {width} px, channel{'s' * (len(found.channels) > 1)} "
        f"{names}, {found.pixels.dtype}"
    )
