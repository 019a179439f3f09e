"""``.companion.ome``: OME-XML of a plate whose images are in TIFFs beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from idrstream.screen.indexes.records import (
    MAX_FILES,
    Beside,
    ImageFile,
    PlateIndex,
    make_index,
    relative_path,
    whole,
)
from idrstream.screen.indexes.xml import elements
from idrstream.text import counted


@dataclass(slots=True)
class _Plates:
    places: dict[str, tuple[int, int, int]] = field(
        default_factory=dict
    )  # image: row, column, field
    columns: int = 0


def read_companion(content: bytes, beside: Beside | None = None) -> PlateIndex:  # noqa: ARG001
    """Return what a ``.companion.ome`` says.

    ``Well`` has ``Row`` and ``Column`` from 0 and a ``WellSample`` for each field, in their order,
    with the ``ImageRef``; ``TiffData`` of the image has ``FirstC``, ``FirstZ``, ``FirstT``, ``IFD``
    and the file's name.

    Raises
    ------
    ValueError
        If it is no such index.
    """
    plates = _Plates()
    channels: dict[int, str] = {}
    images: dict[str, Element] = {}
    for element in elements(content, {"Well", "Plate", "Image"}):
        if element.tag == "Well":
            _note_well(plates, element)
        elif element.tag == "Plate":
            plates.columns = whole(element.get("Columns", "0"), "Columns")
        elif element.get("ID") and len(images) < MAX_FILES:
            images[element.get("ID", "")] = element
    if not plates.places:
        msg = "it has no wells"
        raise ValueError(msg)
    files = [
        file
        for image, place in plates.places.items()
        if image in images
        for file in _planes(images[image], place, channels)
    ]
    absent = sum(image not in images for image in plates.places)
    notes = [f"{counted(absent, 'field')} without an image"] if absent else []
    return make_index(files, channels, columns=plates.columns, notes=notes)


def _note_well(plates: _Plates, well: Element) -> None:
    row, column = (whole(well.get(key), key) for key in ("Row", "Column"))
    for number, sample in enumerate(well.findall("WellSample"), start=1):
        image = sample.find("ImageRef")
        if image is not None:
            plates.places[image.get("ID", "")] = (row, column, number)


def _planes(
    image: Element, place: tuple[int, int, int], channels: dict[int, str]
) -> Iterator[ImageFile]:
    pixels = image.find("Pixels")
    if pixels is None:
        return
    for number, channel in enumerate(pixels.findall("Channel")):
        channels.setdefault(number, channel.get("Name", ""))
    order = pixels.get("DimensionOrder", "XYCZT")[2:]
    sizes = [whole(pixels.get(f"Size{axis}", "1"), f"Size{axis}", least=1) for axis in order]
    for data in pixels.findall("TiffData"):
        name = data.find("UUID")
        if name is None or not name.get("FileName"):
            msg = f"an image ({image.get('ID')}) does not say which file it is in"
            raise ValueError(msg)
        path = relative_path(name.get("FileName", ""))
        first = [whole(data.get(f"First{axis}", "0"), f"First{axis}") for axis in order]
        page = whole(data.get("IFD", "0"), "IFD")
        alone = "IFD" in data.attrib or len(pixels.findall("TiffData")) > 1
        missing = "1" if alone else str(sizes[0] * sizes[1] * sizes[2])
        for step in range(whole(data.get("PlaneCount", missing), "PlaneCount")):
            at = dict(zip(order, _place(first, sizes, step), strict=True))
            yield ImageFile(*place, at["C"], at["Z"], at["T"], path, page + step)


def _place(first: list[int], sizes: list[int], step: int) -> list[int]:
    """Return where a plane is that comes `step` planes after the first."""
    number = first[0] + sizes[0] * (first[1] + sizes[1] * first[2]) + step
    if any(at >= size for at, size in zip(first, sizes, strict=True)) or number >= (
        sizes[0] * sizes[1] * sizes[2]
    ):
        msg = "it names planes beyond the size of its image"
        raise ValueError(msg)
    rest, inner = divmod(number, sizes[0])
    return [inner, rest % sizes[1], rest // sizes[1]]
