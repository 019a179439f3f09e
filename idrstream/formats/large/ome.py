"""What OME-XML says of the channels and pixels of a TIFF."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

from idrstream.errors import MovieError

_MOST_CHARACTERS = 16 << 20
_DECLARES = re.compile(r"<!(?:DOCTYPE|ENTITY)", flags=re.IGNORECASE)
_UM = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6, "": 1.0}


@dataclass(frozen=True, slots=True)
class OmePixels:
    """The first image of an OME-XML.

    Attributes
    ----------
    sizes : Mapping[str, int]
        By axis: Z, C and T.
    channels : tuple of str
        Name of each channel; empty where there is none.
    order : str
        Axes of the planes, the fastest first, such as ``CZT``.
    planes : Mapping
        Position of the planes ``(c, z, t)`` that it names.
    pixel_um : float
        Side of a pixel in micrometres; NaN if unknown.
    """

    sizes: dict[str, int]
    channels: tuple[str, ...]
    order: str
    planes: dict[tuple[int, int, int], int] = field(default_factory=dict)
    pixel_um: float = math.nan

    def position(self, c: int, z: int, t: int = 0) -> int:
        """Return which plane of the file one is, counted from 0."""
        at, step = 0, 1
        for axis in self.order:
            at += {"C": c, "Z": z, "T": t}[axis] * step
            step *= self.sizes[axis]
        return self.planes.get((c, z, t), at)


def read_ome(text: str, where: str) -> OmePixels | None:
    """Return what an OME-XML says of its first image; None if it is no OME-XML.

    Raises
    ------
    idrstream.errors.MovieError
        If it cannot be understood, declares entities, or its pixels are in other files.
    """
    if "<OME" not in text[:4096]:
        return None
    if len(text) > _MOST_CHARACTERS or _DECLARES.search(text):
        raise MovieError(f"{where}: its OME-XML is too long or declares entities")
    try:
        root = ET.fromstring(text)  # noqa: S314, no document type: nothing to expand
        pixels = next(node for node in root.iter() if _tag(node) == "Pixels")
        sizes = {axis: int(pixels.get(f"Size{axis}", "1")) for axis in "ZCT"}
        order = "".join(a for a in pixels.get("DimensionOrder", "XYCZT") if a in "CZT")
    except (ET.ParseError, ValueError, StopIteration) as error:
        raise MovieError(f"{where}: its OME-XML cannot be understood: {error}") from error
    if sorted(order) != ["C", "T", "Z"] or not all(0 < n < 1 << 20 for n in sizes.values()):
        raise MovieError(f"{where}: its OME-XML states the axes {order} of the sizes {sizes}")
    names: list[str] = []
    for node in pixels:
        if _tag(node) == "Channel":
            # A channel of three samples is RGB: so many of the size.
            names += [node.get("Name", "")] * _int(node.get("SamplesPerPixel"), 1)
    names += [""] * (sizes["C"] - len(names))
    return OmePixels(
        sizes, tuple(names[: sizes["C"]]), order, _planes(pixels, where), length_um(pixels, "X")
    )


def _planes(pixels: ET.Element, where: str) -> dict[tuple[int, int, int], int]:
    found: dict[tuple[int, int, int], int] = {}
    files = {node.get("FileName", "") for node in pixels.iter() if _tag(node) == "UUID"} - {""}
    if len(files) > 1:
        raise MovieError(f"{where}: its planes are in {len(files)} files; only one is read")
    for node in pixels:
        single = _tag(node) == "TiffData" and _int(node.get("PlaneCount"), 1) == 1
        if single and node.get("IFD") is not None:
            key = tuple(_int(node.get(f"First{axis}"), 0) for axis in "CZT")
            found[key[0], key[1], key[2]] = _int(node.get("IFD"), 0)
    return found


def length_um(pixels: ET.Element, axis: str) -> float:
    """Return the size of a pixel along an axis, X, Y or Z, in micrometres; NaN if unknown."""
    try:
        size = float(pixels.get(f"PhysicalSize{axis}", "nan"))
    except ValueError:
        return math.nan
    found = size * _UM.get(pixels.get(f"PhysicalSize{axis}Unit", ""), math.nan)
    return found if 0 < found < math.inf else math.nan


def _int(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 10 else default


def _tag(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]
