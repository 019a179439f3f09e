"""``.xdce`` of GE's IN Cell Analyzer 1000 to 6000."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from idrstream.screen.indexes.records import (
    Beside,
    ImageFile,
    PlateIndex,
    make_index,
    relative_path,
    whole,
)
from idrstream.screen.indexes.xml import elements


def read_incell(content: bytes, beside: Beside | None = None) -> PlateIndex:  # noqa: ARG001
    """Return what an ``.xdce`` says.

    Each ``Image`` has a ``filename``, a ``Row`` and a ``Column`` (``number``, from 1) and an
    ``Identifier`` with ``field_index``, ``z_index``, ``wave_index`` and ``time_index`` from 0.
    Channels are called as the ``EmissionFilter`` of their ``Wavelength``.

    Raises
    ------
    ValueError
        If it is no such index.
    """
    channels: dict[int, str] = {}
    plates: list[int] = []
    files = list(_images(content, channels, plates))
    return make_index(files, channels, columns=max(plates, default=0))


def _images(content: bytes, channels: dict[int, str], plates: list[int]) -> Iterator[ImageFile]:
    for element in elements(content, {"Image", "Wavelength", "Plate"}):
        if element.tag == "Wavelength" and element.get("fusion_wave", "false") == "false":
            emission = element.find(".//EmissionFilter")
            channels[len(channels)] = "" if emission is None else emission.get("name", "")
        elif element.tag == "Plate" and element.get("columns"):
            plates.append(whole(element.get("columns"), "columns", least=1))
        elif element.tag == "Image" and element.get("filename"):
            yield _image(element)


def _image(element: Element) -> ImageFile:
    row, column, place = (
        element.find(f".//{name}") for name in ("Row", "Column", "Identifier")
    )  # fmt: skip
    if row is None or column is None or place is None:
        msg = f"the image {element.get('filename')} has no well or place"
        raise ValueError(msg)
    field, channel, plane, time = (
        whole(place.get(f"{name}_index", missing), f"{name}_index")
        for name, missing in (("field", ""), ("wave", ""), ("z", "0"), ("time", "0"))
    )
    return ImageFile(
        whole(row.get("number"), "Row", least=1) - 1,
        whole(column.get("number"), "Column", least=1) - 1,
        field + 1,
        channel,
        plane,
        time,
        relative_path(element.get("filename", "")),
    )
