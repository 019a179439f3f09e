"""OME-XML in a TIFF file: its images, and which page of which file each plane is in.

See "OME-TIFF specification", https://docs.openmicroscopy.org/ome-model/. XML with a document type
is refused: it could define entities that grow without end or name files of this machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from idrstream.formats.cellh5.hdf5_guard import MAX_FRAMES
from idrstream.formats.tiff.structure import TiffError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_MOST_IMAGES = 2**17
_UM = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "": 1.0}
UNKNOWN_SPACING = (math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Planes:
    """Pages of one file that hold planes of an image, in the image's order.

    Attributes
    ----------
    file : str
        Name of the file; empty for the file itself.
    uuid : str
        Identifier of the file; empty if not stated.
    page : int
        The first page, counted from 0.
    start : tuple of int
        ``(c, z, t)`` of the first plane, counted from 0.
    count : int or None
        How many planes; None for all that are left.
    """

    file: str
    uuid: str
    page: int
    start: tuple[int, int, int]
    count: int | None


@dataclass(frozen=True, slots=True)
class OmeImage:
    """An image as the metadata state it.

    Attributes
    ----------
    sizes : tuple of int
        Numbers of channels, z-planes and frames.
    shape : tuple of int
        ``(Y, X)`` in pixels.
    kind : str
        Type of the pixels.
    order : str
        The axes c, z and t, the fastest first, for example ``czt``.
    channels : tuple of str
        Names of the channels; empty if not all have one.
    samples : int
        Values of a pixel; 3 for colours.
    planes : tuple of Planes
        Where its planes are.
    spacing_um : tuple of float
        Distance of planes, rows and columns in micrometres; NaN where unknown.
    """

    sizes: tuple[int, int, int]
    shape: tuple[int, int]
    kind: str
    order: str
    channels: tuple[str, ...]
    samples: int
    planes: tuple[Planes, ...]
    spacing_um: tuple[float, float, float] = UNKNOWN_SPACING

    def positions(self, planes: Planes) -> Iterator[tuple[tuple[int, int, int], int]]:
        """Yield ``(c, z, t)`` and page of each of some planes."""
        at = dict(zip("czt", planes.start, strict=True))
        sizes = dict(zip("czt", self.sizes, strict=True))
        steps, step, first = {}, 1, 0
        for axis in self.order:
            steps[axis] = step
            first += at[axis] * step
            step *= sizes[axis]
        left = step - first
        count = left if planes.count is None else min(planes.count, left)
        for number in range(count):
            where = tuple((first + number) // steps[axis] % sizes[axis] for axis in "czt")
            yield where, planes.page + number  # type: ignore[misc]  # three axes


@dataclass(frozen=True, slots=True)
class OmeFile:
    """The metadata of a file.

    Attributes
    ----------
    uuid : str
        Identifier of the file itself; empty if not stated.
    images : tuple of OmeImage
        All images, of which some may be in other files.
    elsewhere : str
        Name of the file that has the metadata instead; usually empty.
    """

    uuid: str
    images: tuple[OmeImage, ...]
    elsewhere: str = ""


def is_ome(description: str) -> bool:
    """Return whether the description of a page is OME-XML."""
    return description.rstrip()[-4:] == "OME>" and "<" in description[:16]


def read_ome(description: str) -> OmeFile:
    """Read OME-XML.

    Raises
    ------
    TiffError
        If it cannot be understood, or states more than a microscope's file has.
    """
    if "<!DOCTYPE" in description or "<!ENTITY" in description:
        msg = "has OME-XML with a document type, which is not read"
        raise TiffError(msg)
    try:
        root = ElementTree.fromstring(description)  # noqa: S314, entities were refused
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        binary_only = root.find("BinaryOnly")
        elsewhere = "" if binary_only is None else binary_only.get("MetadataFile", "another file")
        found = root.findall("Image/Pixels")
        if len(found) > _MOST_IMAGES:
            msg = f"has OME-XML of {len(found):,} images"
            raise TiffError(msg)
        images = tuple(_image(pixels) for pixels in found)
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        msg = f"has OME-XML that cannot be understood: {type(error).__name__}: {error}"
        raise TiffError(msg) from error
    return OmeFile(root.get("UUID", ""), images, elsewhere)


def _image(pixels: Element) -> OmeImage:
    sizes = (_size(pixels, "C"), _size(pixels, "Z"), _size(pixels, "T"))
    if prod(sizes) > MAX_FRAMES:
        msg = f"has OME-XML of {prod(sizes):,} planes in one image"
        raise TiffError(msg)
    order = pixels.attrib["DimensionOrder"].lower()
    if sorted(order) != sorted("xyczt"):
        msg = f"its DimensionOrder is {order[:20]!r}"
        raise ValueError(msg)
    channels = pixels.findall("Channel")
    names = tuple(channel.get("Name", "").strip() for channel in channels)
    samples = max((int(one.get("SamplesPerPixel", 1)) for one in channels), default=1)
    entries = pixels.findall("TiffData")
    if len(entries) > MAX_FRAMES:
        msg = f"has OME-XML of {len(entries):,} blocks of planes in one image"
        raise TiffError(msg)
    return OmeImage(
        sizes,
        (_size(pixels, "Y"), _size(pixels, "X")),
        pixels.attrib["Type"],
        "".join(axis for axis in order if axis in "czt"),
        names if all(names) and len(names) == sizes[0] else (),
        samples,
        tuple(map(_planes, entries)),
        (_length_um(pixels, "Z"), _length_um(pixels, "Y"), _length_um(pixels, "X")),
    )


def _length_um(pixels: Element, axis: str) -> float:
    """Return the size of a pixel along an axis, X, Y or Z, in micrometres; NaN if unknown."""
    try:
        size = float(pixels.get(f"PhysicalSize{axis}", "nan"))
    except ValueError:
        return math.nan
    found = size * _UM.get(pixels.get(f"PhysicalSize{axis}Unit", ""), math.nan)
    return found if 0 < found < math.inf else math.nan


def _planes(entry: Element) -> Planes:
    uuid = entry.find("UUID")
    file, identifier = "", ""
    if uuid is not None:
        file, identifier = uuid.get("FileName", ""), (uuid.text or "").strip()
    page, count = entry.get("IFD"), entry.get("PlaneCount")
    start = tuple(int(entry.get(f"First{axis}", 0)) for axis in "CZT")
    numbers = (int(page or 0), *start, int(count or 0))
    if min(numbers) < 0:
        msg = f"a TiffData counts from {min(numbers)}"
        raise ValueError(msg)
    # Without a page all planes are meant, with one only its own (OME-TIFF specification).
    several = None if page is None and count is None else int(count or 1)
    return Planes(file, identifier, int(page or 0), start, several)  # type: ignore[arg-type]


def _size(pixels: Element, axis: str) -> int:
    size = int(pixels.attrib[f"Size{axis}"])
    if size < 1:
        msg = f"Size{axis} is {size}"
        raise ValueError(msg)
    return size
