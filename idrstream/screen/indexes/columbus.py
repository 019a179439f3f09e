"""``MeasurementIndex.ColumbusIDX.xml`` of Columbus, with the image indexes that it names."""

from __future__ import annotations

from collections.abc import Iterator

from idrstream.screen.indexes.harmony import ImageList
from idrstream.screen.indexes.records import (
    Beside,
    ImageFile,
    PlateIndex,
    make_index,
    relative_path,
    whole,
)
from idrstream.screen.indexes.xml import elements

_IMAGES = "ImageIndex.ColumbusIDX.xml"
_MOST_INDEXES = 1000


def read_columbus(content: bytes, beside: Beside | None = None) -> PlateIndex:
    """Return what a ``MeasurementIndex.ColumbusIDX.xml`` says.

    It names image indexes (``Reference``), which list images as Harmony's index does; several of
    them, each in a folder of its own, are time points. ``BufferNo`` is the page of the file.

    Raises
    ------
    ValueError
        If it is no such index, or an image index that it names is missing or wrong.
    """
    plate = ImageList()
    names: list[str] = []
    for element in elements(content, {"Reference", "PlateColumns", "Image"}):
        if element.tag == "PlateColumns":
            plate.columns = whole(element.text, "PlateColumns")
        elif element.tag == "Reference" and (element.text or "").lower().strip().endswith(".xml"):
            names.append(relative_path(element.text or ""))
        elif element.tag == "Image" and element.get("id") is None:  # an image index itself
            files = list(plate.files(content))
            return make_index(files, plate.channels, columns=plate.columns, notes=plate.notes())
    indexes = [name for name in names if name.lower().endswith("columbusidx.xml")] or [_IMAGES]
    if len(indexes) > _MOST_INDEXES:
        msg = f"it names {len(indexes):,} other indexes"
        raise ValueError(msg)
    columns = plate.columns
    files = [
        file for number, name in enumerate(indexes) for file in _images(plate, name, number, beside)
    ]
    return make_index(files, plate.channels, columns=columns or plate.columns, notes=plate.notes())


def _images(plate: ImageList, name: str, number: int, beside: Beside | None) -> Iterator[ImageFile]:
    content = None if beside is None else beside.read(name)
    if content is None:
        msg = f"it names {name}, which is not there"
        raise ValueError(msg)
    folder = name.rpartition("/")[0]
    try:
        for file in plate.files(content, f"{folder}/" if folder else ""):
            yield file._replace(time=file.time if file.time > 1 else number + 1)
    except ValueError as error:
        msg = f"{name}, which it names, cannot be read: {error}"
        raise ValueError(msg) from error
