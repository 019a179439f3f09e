"""Open one real image of each kind, before a plan says that a stream can start."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from idrstream.download import limit_to_needed
from idrstream.download.locate.table import target_name
from idrstream.errors import FrameError, IdrStreamError, UserError
from idrstream.forecast.plan import Check
from idrstream.records import Frame, ImageTask
from idrstream.redact import redact
from idrstream.run.components import Components

if TYPE_CHECKING:
    import pandas as pd

_TRIES = 3  # of a kind, since single images of every screen are missing or damaged


@dataclass(frozen=True, slots=True)
class OpenedFrame:
    """A frame that was read.

    Attributes
    ----------
    name : str
        Of its file.
    shape : tuple of int
        ``(C, Y, X)`` in pixels.
    channels : tuple of str
        Names of the channels.
    dtype : str
        Type of its pixels.
    """

    name: str
    shape: tuple[int, int, int]
    channels: tuple[str, ...]
    dtype: str

    @property
    def size(self) -> str:
        """Height and width, as text."""
        return f"{self.shape[1]} x {self.shape[2]} px"

    def __str__(self) -> str:
        """Return what it is."""
        several = "s" * (len(self.channels) > 1)
        return (
            f"{self.name}, {self.size}, channel{several} {', '.join(self.channels)}, {self.dtype}"
        )


def open_images(
    components: Components,
    tasks: Sequence[ImageTask],
    table: pd.DataFrame,
    folder: Path,
    *,
    one_size: bool = False,
) -> tuple[list[Check], list[OpenedFrame]]:
    """Return for each kind of image whether one could be opened, and the frames that were read.

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
    one_size : bool
        Whether the images of a plate must have one size: a second one is opened then.
    """
    limit_to_needed(components.downloader, components.preprocessor)
    kinds: dict[str, list[ImageTask]] = {}
    places = [name for name in ("Path", "URL") if name in table.columns]
    places += [name for name in table.columns if name.startswith("Path ")]
    columns = {name: table[name].tolist() for name in places}
    rows = [task.row for task in tasks]
    for task in tasks:
        text = next((str(cells[task.row]) for cells in columns.values() if cells[task.row]), "")
        kinds.setdefault("".join(PurePosixPath(text).suffixes[-1:]).lower(), []).append(task)
    given = {row: [str(cells[row]) for cells in columns.values() if cells[row]] for row in rows}
    checks: list[Check] = []
    frames: list[OpenedFrame] = []
    for kind, of_kind in kinds.items():
        check, opened, first = _open_one_of(components, kind, of_kind, folder, given)
        checks.append(check)
        if opened is None:
            continue
        frames.append(opened)
        others = [task for task in of_kind if task.plate == first.plate and task != first]
        if one_size and others:
            checks += _other_size(components, opened, first, others[-1], folder)
    return checks, frames


def _other_size(
    components: Components, opened: OpenedFrame, first: ImageTask, other: ImageTask, folder: Path
) -> list[Check]:
    """Return a failed check if another image of a plate has another size."""
    try:
        found = _look(components, other, folder)
    except Exception:  # of any library: single images of a screen may be damaged
        return []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if found.size == opened.size:
        return []
    detail = f"{first.name} has {opened.size}, {other.name} {found.size}"
    remedy = (
        "the light of a plate is learnt from frames of one size, others are left out: set "
        'illumination_context = "frames", or take them in a stream of their own'
    )
    return [Check("images of a plate have one size", "failed", detail, remedy)]


def _open_one_of(
    components: Components,
    kind: str,
    tasks: Sequence[ImageTask],
    folder: Path,
    given: Mapping[int, Sequence[str]],
) -> tuple[Check, OpenedFrame | None, ImageTask]:
    """Return whether one of up to three images could be opened, its frame, and which it is."""
    what = f"a {kind} image opens" if kind else "an image opens"
    first: Check | None = None
    for task in tasks[:: -(-len(tasks) // _TRIES)]:
        try:
            opened = _look(components, task, folder)
            text = _with_names(str(opened), task, given[task.row])
            return Check(what, "ok", f"{task.name}: {text}"), opened, task
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
    return first, None, tasks[0]


def _with_names(text: str, task: ImageTask, given: Sequence[str]) -> str:
    """Return a text with files as the table names them, not as they are called for a moment."""
    for path in given:
        cut_out = f"{task.well_number:05d}_{task.site:02d}.ch5"  # what OME-Zarr is downloaded to
        text = text.replace(cut_out if ".zarr" in path else target_name(task, path), path)
    return text


def _look(components: Components, task: ImageTask, folder: Path) -> OpenedFrame:
    """Read the first wanted frame of an image."""
    one = replace(task, frames=task.frames[:1])
    movie = components.downloader.download(one, folder)
    preprocessor = components.preprocessor.uncorrected()
    wanted = preprocessor.resolve(movie)
    wanted = replace(wanted, frames=wanted.frames[:1], every=0)
    found = next(iter(preprocessor.iterate(replace(movie, task=wanted), 1)))[0]
    if not isinstance(found, Frame):
        raise FrameError(found.reason)
    channels, height, width = found.pixels.shape
    return OpenedFrame(
        movie.path.name, (channels, height, width), found.channels, str(found.pixels.dtype)
    )
