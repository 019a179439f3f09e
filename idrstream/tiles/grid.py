"""The fixed grid of tiles that an image is cut into. Pure functions.

Along each axis tiles of one side begin every ``side - overlap`` pixels; the last one ends with the
image. The border between the cores of two neighbours is the middle of their overlap. Where the
segmentor's network looks through `Windows`, each tile holds whole ones and shares the last with its
neighbour: what lies around a border looks the same to both. So a grid follows from the size of the
image and of its objects alone, and no pixel is looked at more often than the overlap asks for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from idrstream.errors import ConfigError
from idrstream.records import Box, GreyLevels, Tile
from idrstream.tiles import windows
from idrstream.tiles.sample import WholeImage
from idrstream.tiles.windows import Windows

SIDE_PX = 12 * windows.STEP_PX + 32
OVERLAP_PX = windows.SIDE_PX
_OBJECTS = 4  # usual diameters between a core and the border of its tile
_Part = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Grid:
    """The tiles of an image.

    Attributes
    ----------
    image : tuple of int
        ``(Y, X)`` of the image in pixels.
    side_px : int
        Side of the tiles; those at the end of the image are smaller.
    overlap_px : int
        By how much neighbours overlap, at least.
    scale : float
        Pixels that the network sees for each of the image if it looks through `Windows`: tiles then
        hold as many whole ones as fit in their side. NaN: it does not.

    Raises
    ------
    idrstream.errors.ConfigError
        If neighbours would overlap by more than half a tile.
    """

    image: tuple[int, int]
    side_px: int = SIDE_PX
    overlap_px: int = OVERLAP_PX
    scale: float = math.nan

    def __post_init__(self) -> None:
        """Check the sizes."""
        if not 0 <= 2 * self.overlap_px <= self.side_px or min(self.image) < 1:
            raise ConfigError(
                f"tiles of {self.side_px} pixels cannot overlap by {self.overlap_px}: make tile_px "
                "at least twice tile_overlap_px"
            )
        if not math.isnan(self.scale) and 2 * self._shared > self._in_a_tile:
            least = (windows.SIDE_PX + windows.STEP_PX * (2 * self._shared - 1)) / self.scale
            raise ConfigError(
                f"tiles of {self.side_px} pixels are too small for an overlap of "
                f"{self.overlap_px} and the network, which looks at "
                f"{windows.SIDE_PX / self.scale:.0f} pixels at once: make tile_px at least "
                f"{math.ceil(least)}"
            )

    def __len__(self) -> int:
        """Return the number of tiles."""
        rows, columns = (len(self._along(length)) for length in self.image)
        return rows * columns

    @property
    def largest(self) -> tuple[int, int]:
        """The largest ``(Y, X)`` of a tile."""
        height, width = (
            max(stop - start for (start, stop), _ in self._along(length)) for length in self.image
        )
        return height, width

    def boxes(self) -> Iterator[tuple[Box, Box]]:
        """Yield region and core of each tile, row by row."""
        for (y, core_y), (x, core_x) in product(*map(self._along, self.image)):
            yield Box(y[0], x[0], y[1], x[1]), Box(core_y[0], core_x[0], core_y[1], core_x[1])

    @property
    def _in_a_tile(self) -> int:
        """How many windows a tile holds."""
        return int((self.side_px * self.scale - windows.SIDE_PX) // windows.STEP_PX) + 1

    @property
    def _shared(self) -> int:
        """How many windows neighbours share."""
        beyond = self.overlap_px * self.scale - windows.SIDE_PX
        return 1 + max(0, math.ceil(beyond / windows.STEP_PX))

    def _along(self, length: int) -> list[tuple[_Part, _Part]]:
        if math.isnan(self.scale):
            starts = range(0, max(length - self.overlap_px, 1), self.side_px - self.overlap_px)
            regions = [(start, min(start + self.side_px, length)) for start in starts]
            borders = [(before[1] + after[0]) // 2 for before, after in pairwise(regions)]
        else:
            of, shared = Windows(length, self.scale), self._shared
            firsts = range(0, max(of.count - shared, 1), self._in_a_tile - shared)
            regions = [
                of.span(first, min(first + self._in_a_tile, of.count) - 1) for first in firsts
            ]
            borders = [of.middle(first, first + shared - 1) for first in firsts[1:]]
        return list(zip(regions, zip([0, *borders], [*borders, length], strict=True), strict=True))


def overlap_for(diameter_px: float, scale: float = math.nan) -> int:
    """Return by how much tiles overlap for objects of a usual diameter.

    Four diameters from the border of a core to that of the tile: at least twice the largest
    object's, which has twice the usual diameter or less. Without `Windows`, of which neighbours
    share a whole one anyway, what a network sees otherwise at the border of a tile is added.
    """
    if math.isnan(diameter_px):
        return OVERLAP_PX
    needed = 2 * _OBJECTS * diameter_px
    if not math.isnan(scale):
        return math.ceil(needed)
    beyond = max(0.0, needed - OVERLAP_PX)
    return OVERLAP_PX + math.ceil(beyond / windows.STEP_PX) * windows.STEP_PX


def tiles_of(
    grid: Grid, whole: WholeImage | None = None, *, pixel_um: float = math.nan
) -> Iterator[Tile]:
    """Yield the tiles of an image, numbered from 1 row by row, with what holds for all of them."""
    count, whole = len(grid), whole or WholeImage()
    largest = grid.largest
    for number, (region, core) in enumerate(grid.boxes(), start=1):
        yield Tile(
            number, count, region, core, grid.image, whole.levels, whole.diameter_px, pixel_um,
            largest, whole.others, whole.cell_diameter_px,
        )  # fmt: skip


def format_tile(tile: Tile, made_of: str = "") -> str:
    """Return a tile as text for a cell of a table; `parse_tile` reads it.

    `made_of` stands for the image and the settings that it was made for; see `made_of`.
    """
    values = {
        "number": tile.number,
        "count": tile.count,
        "region": tile.region,
        "core": tile.core,
        "image": tile.image,
        "levels": tile.levels,
        "diameter_px": _known(tile.diameter_px),
        "pixel_um": _known(tile.pixel_um),
        "largest": tile.largest,
    }
    if tile.others:
        values |= {"others": tile.others, "cell_diameter_px": _known(tile.cell_diameter_px)}
    if made_of:
        values["made_of"] = made_of
    return json.dumps(values, separators=(",", ":"))


def made_of(text: str) -> str:
    """Return what a tile's text says that it was made of; empty if nothing."""
    try:
        return str(json.loads(text)["made_of"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return ""


def parse_tile(text: str) -> Tile:
    """Return the tile that `format_tile` wrote.

    Raises
    ------
    ValueError
        If it is not one, or lies outside its image.
    """
    try:
        values = json.loads(text)
        tile = Tile(
            number=int(values["number"]),
            count=int(values["count"]),
            region=Box(*map(int, values["region"])),
            core=Box(*map(int, values["core"])),
            image=(int(values["image"][0]), int(values["image"][1])),
            levels=_levels(values["levels"]),
            diameter_px=_number(values["diameter_px"]),
            pixel_um=_number(values["pixel_um"]),
            largest=_pair(values.get("largest")),
            others=tuple(map(_levels, values.get("others", ()))),
            cell_diameter_px=_number(values.get("cell_diameter_px")),
        )
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
        raise ValueError(f"{text[:80]!r} is not a tile") from error
    whole = Box(0, 0, *tile.image)
    if tile.largest is not None and not (
        tile.region.shape[0] <= tile.largest[0] <= tile.image[0]
        and tile.region.shape[1] <= tile.largest[1] <= tile.image[1]
    ):
        raise ValueError(f"{text[:80]!r} is not a tile among those of its image")
    if not (_within(tile.core, tile.region) and _within(tile.region, whole)):
        raise ValueError(f"{text[:80]!r} is not a tile within its image")
    if not 1 <= tile.number <= tile.count < 2**31:
        raise ValueError(f"{text[:80]!r} is not a tile of its image")
    return tile


def _within(inner: Box, outer: Box) -> bool:
    return (
        outer.top <= inner.top < inner.bottom <= outer.bottom
        and outer.left <= inner.left < inner.right <= outer.right
    )


def _levels(value: Any) -> GreyLevels | None:
    return GreyLevels(*map(float, value)) if value else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _pair(value: Any) -> tuple[int, int] | None:
    return None if value is None else (int(value[0]), int(value[1]))


def _number(value: object) -> float:
    return math.nan if value is None else float(value)  # type: ignore[arg-type]
