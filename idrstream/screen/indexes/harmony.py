"""``Index.idx.xml`` of Harmony: Operetta, Opera Phenix, Sonata."""

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
from idrstream.screen.indexes.xml import child_texts, elements
from idrstream.text import counted


def read_harmony(content: bytes, beside: Beside | None = None) -> PlateIndex:  # noqa: ARG001
    """Return what an ``Index.idx.xml`` (or ``Index.xml``, ``Index.ref.xml``) says.

    Every image is an element ``Image`` with ``URL``, ``Row`` and ``Col`` (from 1), ``FieldID``,
    ``PlaneID``, ``TimepointID`` and ``ChannelID``. From Harmony 6 on the names of channels stand in
    a map of their own. An image without an ``URL`` was not taken.

    Raises
    ------
    ValueError
        If it is no such index.
    """
    plate = ImageList()
    files = list(plate.files(content))
    return make_index(files, plate.channels, columns=plate.columns, notes=plate.notes())


class ImageList:
    """Reads the images of an index of Harmony or Columbus."""

    def __init__(self) -> None:
        self.channels: dict[int, str] = {}
        self.columns = 0
        self.without_file = 0

    def files(self, content: bytes, folder: str = "") -> Iterator[ImageFile]:
        """Yield the images; channels and the plate's size are noted on the way."""
        for element in elements(content, {"Image", "Entry", "PlateColumns"}):
            if element.tag == "PlateColumns":
                self.columns = whole(element.text, "PlateColumns")
            elif element.tag == "Entry":
                name = child_texts(element).get("ChannelName", "")
                if name:
                    self.channels[whole(element.get("ChannelID"), "ChannelID")] = name
            elif element.get("id") is None:
                image = self._image(element, folder)
                if image is not None:
                    yield image

    def notes(self) -> list[str]:
        """Return what is worth knowing."""
        return [f"{counted(self.without_file, 'image')} not taken"] if self.without_file else []

    def _image(self, element: Element, folder: str) -> ImageFile | None:
        texts = child_texts(element)
        if "Row" not in texts and "Col" not in texts:
            return None
        if not texts.get("URL"):
            self.without_file += 1
            return None
        channel = whole(texts.get("ChannelID"), "ChannelID")
        self.channels.setdefault(channel, texts.get("ChannelName", ""))
        url = element.find("URL")
        return ImageFile(
            whole(texts.get("Row"), "Row", least=1) - 1,
            whole(texts.get("Col"), "Col", least=1) - 1,
            whole(texts.get("FieldID"), "FieldID"),
            channel,
            whole(texts.get("PlaneID", "1"), "PlaneID"),
            whole(texts.get("TimepointID", "0"), "TimepointID"),
            folder + relative_path(texts["URL"]),
            whole("0" if url is None else url.get("BufferNo", "0"), "BufferNo"),
        )
