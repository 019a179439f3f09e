"""A synthetic slide of any size: written in a stream, never whole in memory.

Every nucleus has a place on a lattice and random numbers of its own, so any rectangle of the image
and of its truth can be drawn by itself, always with the same pixels. So the truth takes no space.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ConfigError
from idrstream.records import Box
from idrstream.simulate.shapes import Look, new_look, render

TILE_PX = 256
_BLOCK_PX = 1024  # drawn at once
_MARGIN_PX = 8  # of the blur
_LOOKS = 256
_SPACING = 2.1  # of the lattice, in diameters
_JITTER = 0.42  # of the spacing
_TISSUE_PX = 1500.0  # scale of dense and empty areas


@dataclass(frozen=True, slots=True)
class SlideSpec:
    """A synthetic slide.

    Attributes
    ----------
    height, width : int
        Size in pixels.
    diameter_px : float
        Mean diameter of a nucleus.
    density : float
        Share of the lattice that has a nucleus where the tissue is densest, 0 to 1.
    empty : float
        Share of the area without tissue, 0 to 1.
    channels : int
        Channels that the file declares; only the first has pixels, the others were never written.
    pixel_um : float
        Side of a pixel.
    seed : int
        The same seed gives the same bytes.
    """

    height: int = 5000
    width: int = 5000
    diameter_px: float = 17.0
    density: float = 0.6
    empty: float = 0.25
    channels: int = 1
    pixel_um: float = 0.65
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the sizes."""
        if min(self.height, self.width, self.channels) < 1 or self.diameter_px < 4:
            raise ConfigError("a slide needs a height, a width, a channel and nuclei of 4 px")

    @property
    def spacing_px(self) -> float:
        """Distance between places on the lattice."""
        return _SPACING * self.diameter_px

    @property
    def columns(self) -> int:
        """Places on the lattice in a row."""
        return int(self.width / self.spacing_px) + 1


def slide_region(spec: SlideSpec, box: Box) -> tuple[NDArray[np.uint16], NDArray[np.uint32]]:
    """Draw a rectangle of a slide and of its truth.

    Returns
    -------
    pixels : NDArray of uint16
        Shape ``(Y, X)``.
    labels : NDArray of uint32
        Shape ``(Y, X)``: 0 is background; a nucleus has the same number in all rectangles.
    """
    pixels = np.zeros(box.shape, np.uint16)
    labels = np.zeros(box.shape, np.uint32)
    for y in range(box.top // _BLOCK_PX * _BLOCK_PX, box.bottom, _BLOCK_PX):
        for x in range(box.left // _BLOCK_PX * _BLOCK_PX, box.right, _BLOCK_PX):
            drawn, numbered = _block(spec, y, x)
            top, left = max(y, box.top), max(x, box.left)
            bottom, right = min(y + _BLOCK_PX, box.bottom), min(x + _BLOCK_PX, box.right)
            here = np.s_[top - y : bottom - y, left - x : right - x]
            there = np.s_[top - box.top : bottom - box.top, left - box.left : right - box.left]
            pixels[there], labels[there] = drawn[here], numbered[here]
    return pixels, labels


def slide_centres(spec: SlideSpec, box: Box) -> NDArray[np.float64]:
    """Return where the nuclei of a rectangle were put, shape ``(n, 2)``, ``(y, x)``."""
    return np.array([(y, x) for _, y, x, _ in _places(spec, box)]).reshape(-1, 2)


def write_slide(path: Path, spec: SlideSpec) -> Path:
    """Write a slide as tiled OME-BigTIFF, row by row of tiles.

    Tiles without tissue, and all of the channels beyond the first, have no bytes in the file.
    """
    import tifffile

    with tifffile.TiffWriter(path, bigtiff=True, ome=False) as writer:
        for channel in range(spec.channels):
            writer.write(
                _tiles(spec) if channel == 0 else _never_written(spec),
                shape=(spec.height, spec.width),
                dtype=np.uint16,
                tile=(TILE_PX, TILE_PX),
                compression="zlib",
                photometric="minisblack",
                description=_ome(spec) if channel == 0 else None,
                metadata=None,
                contiguous=False,
            )
    return path


def _tiles(spec: SlideSpec) -> Iterator[bytes]:
    """Yield the tiles, packed; those without a pixel are empty."""
    for top in range(0, spec.height, TILE_PX):
        band, _ = slide_region(spec, Box(top, 0, min(top + TILE_PX, spec.height), spec.width))
        for left in range(0, spec.width, TILE_PX):
            part = band[:, left : left + TILE_PX]
            tile = np.zeros((TILE_PX, TILE_PX), np.uint16)
            tile[: part.shape[0], : part.shape[1]] = part
            yield zlib.compress(tile.tobytes(), 1) if part.any() else b""


def _never_written(spec: SlideSpec) -> Iterator[bytes]:
    for _ in range(-(-spec.height // TILE_PX) * -(-spec.width // TILE_PX)):
        yield b""


@lru_cache(maxsize=40)  # a row of blocks of the widest slides
def _block(spec: SlideSpec, top: int, left: int) -> tuple[NDArray[np.uint16], NDArray[np.uint32]]:
    from scipy import ndimage

    margin = _MARGIN_PX + int(2 * spec.diameter_px)
    box = Box(top - margin, left - margin, top + _BLOCK_PX + margin, left + _BLOCK_PX + margin)
    signal = np.zeros(box.shape, np.float32)
    labels = np.zeros(box.shape, np.uint32)
    looks = _looks(spec)
    for number, y, x, rng in _places(spec, box):
        look = looks[int(rng.integers(_LOOKS))]
        patch = render(look, "interphase", (y - box.top, x - box.left), rng.uniform(0, np.pi), 1.0)
        _put(patch, signal, labels, number)
    inner = np.s_[margin:-margin, margin:-margin]
    tissue = _tissue(spec, top, left, _BLOCK_PX) > 0
    light = ndimage.gaussian_filter(signal, 0.9)[inner] * 20 + 150
    rng = np.random.default_rng([spec.seed, 1, top, left])
    light += rng.standard_normal(light.shape, np.float32) * np.sqrt(light) * 0.9
    seen = ndimage.maximum_filter(labels, 5)[inner] > 0
    pixels = np.where(tissue | seen, np.clip(np.rint(light), 1, 65535), 0).astype(np.uint16)
    return pixels, np.ascontiguousarray(labels[inner])


def _put(patch: Any, signal: NDArray[np.float32], labels: NDArray[np.uint32], number: int) -> None:
    height, width = patch.cover.shape
    top, left = max(patch.top, 0), max(patch.left, 0)
    bottom = min(patch.top + height, signal.shape[0])
    right = min(patch.left + width, signal.shape[1])
    if top >= bottom or left >= right:
        return
    part = np.s_[top - patch.top : bottom - patch.top, left - patch.left : right - patch.left]
    here = np.s_[top:bottom, left:right]
    np.maximum(signal[here], patch.signal[part], out=signal[here])
    labels[here][(patch.cover[part] > 0.5) & (labels[here] == 0)] = number


def _places(spec: SlideSpec, box: Box) -> Iterator[tuple[int, float, float, np.random.Generator]]:
    """Yield number, position and random numbers of the nuclei whose centre lies in a rectangle."""
    spacing = spec.spacing_px
    rows = range(
        max(0, int(box.top / spacing) - 1), int(min(box.bottom, spec.height) / spacing) + 2
    )
    columns = range(
        max(0, int(box.left / spacing) - 1), int(min(box.right, spec.width) / spacing) + 2
    )
    for row in rows:
        for column in columns:
            if column >= spec.columns:
                continue
            rng = np.random.default_rng([spec.seed, 0, row, column])
            chance, dy, dx = rng.random(3)
            y = (row + 0.5 + _JITTER * (2 * dy - 1)) * spacing
            x = (column + 0.5 + _JITTER * (2 * dx - 1)) * spacing
            inside = box.top <= y < box.bottom and box.left <= x < box.right
            if not inside or not (0 <= y < spec.height and 0 <= x < spec.width):
                continue
            if chance < spec.density * max(0.0, float(_tissue_at(spec, y, x))):
                yield row * spec.columns + column + 1, y, x, rng


def _tissue_at(spec: SlideSpec, y: Any, x: Any) -> Any:
    """Return how dense the tissue is, up to 1; 0 and less outside of it."""
    rng = np.random.default_rng([spec.seed, 2])
    total = 0.0
    for _ in range(4):
        angle, phase, scale = (
            rng.uniform(0, 2 * np.pi),
            rng.uniform(0, 2 * np.pi),
            rng.uniform(0.6, 1.6),
        )
        along = (np.cos(angle) * y + np.sin(angle) * x) * 2 * np.pi / (_TISSUE_PX * scale)
        total = total + np.sin(along + phase)
    if spec.empty <= 0:
        return 1.0 + 0.0 * total
    # The sum of four waves is about normal with a variance of 2.
    from scipy.special import ndtri

    return np.clip((total / np.sqrt(2) - ndtri(min(spec.empty, 0.999))) * 2, -1, 1)


def _tissue(spec: SlideSpec, top: int, left: int, side: int) -> NDArray[np.float64]:
    y, x = np.mgrid[top : top + side : 16, left : left + side : 16]
    coarse = np.asarray(_tissue_at(spec, y, x))
    return np.repeat(np.repeat(coarse, 16, 0), 16, 1)


@lru_cache(maxsize=4)
def _looks(spec: SlideSpec) -> tuple[Look, ...]:
    rng = np.random.default_rng([spec.seed, 3])
    return tuple(new_look(rng, spec.diameter_px, 75.0) for _ in range(_LOOKS))


def _ome(spec: SlideSpec) -> str:
    names = ["DNA", *(f"C{number}" for number in range(1, spec.channels))]
    channels = "".join(
        f'<Channel ID="Channel:0:{at}" Name={quoteattr(name)} SamplesPerPixel="1"/>'
        for at, name in enumerate(names)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="{spec.width}" '
        f'SizeY="{spec.height}" SizeZ="1" SizeC="{spec.channels}" SizeT="1" '
        f'PhysicalSizeX="{spec.pixel_um}" PhysicalSizeXUnit="um" '
        f'PhysicalSizeY="{spec.pixel_um}" PhysicalSizeYUnit="um">{channels}'
        "<TiffData/></Pixels></Image></OME>"
    )
