"""Whether the rows of a table tell their images apart, as far as the reader reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from idrstream.errors import TableError
from idrstream.formats.reader import selects_sites
from idrstream.screen.columns import PLACE_COLUMNS

if TYPE_CHECKING:
    from idrstream.records import ImageTask


def check_selectors(preprocessor: object, tasks: Iterable[ImageTask]) -> None:
    """Refuse rows of different images that would be given the same pixels.

    Parameters
    ----------
    preprocessor : object
        Its ``reader``, if it has one, says whether it finds several sites in one file.
    tasks : iterable of ImageTask
        The images.

    Raises
    ------
    idrstream.errors.TableError
        When rows of different wells or sites name the same file, frame and image of it.
    """
    reader = getattr(preprocessor, "reader", None)
    if reader is None:
        return
    by_site = selects_sites(reader)
    seen: dict[tuple[str, str, int, int], ImageTask] = {}
    for task in tasks:
        column, address = _place(task)
        if not address or ".zarr" in address:  # of a plate of OME-Zarr the image is downloaded
            continue
        for frame in task.frames:
            key = (column, address, task.site if by_site else 0, frame)
            other = seen.setdefault(key, task)
            if _image(other) != _image(task):
                raise TableError(_message(other, task, frame, f"{column} {address}", reader))


def _place(task: ImageTask) -> tuple[str, str]:
    """Return the column that says where a movie is, and what it says; a URL comes first."""
    for column in reversed(PLACE_COLUMNS):
        address = task.metadata.get(column, "").strip()
        if address:
            return column, address
    return "", ""


def _image(task: ImageTask) -> tuple[str, int, int]:
    return task.plate, task.well_number, task.site


def _message(one: ImageTask, other: ImageTask, frame: int, place: str, reader: object) -> str:
    name = getattr(reader, "name", "") or type(reader).__name__
    images = " and ".join(
        f"{task.name} site {task.site} (row {task.row + 1})" for task in (one, other)
    )
    reads = "the image that Site numbers" if selects_sites(reader) else "one image"
    return (
        f"{images} would get the same pixels: both name frame {frame} of {place}, of which the "
        f"reader {name} reads {reads}. Give each image a file of its own, or, where the sites of a "
        'well are the images of one file, use reader = "bioformats" without series'
    )
