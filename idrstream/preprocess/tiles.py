"""Reads tiles of large images as frames."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from idrstream.errors import ConfigError, MovieError
from idrstream.preprocess.base import BasePreprocessor
from idrstream.records import Box, Frame, ImageTask, Movie, Skipped, Tile
from idrstream.screen.columns import TILE
from idrstream.tiles.grid import parse_tile
from idrstream.workers.steps import step

if TYPE_CHECKING:
    from idrstream.config import PreprocessSettings
    from idrstream.formats.large.image import LargeImage

logger = logging.getLogger("idrstream.preprocess")


class OpensImages(Protocol):
    """Where large images come from."""

    def open(self, task: ImageTask) -> LargeImage:
        """Return the image of a task, opened."""
        ...

    def close(self) -> None:
        """Close the images."""
        ...


class TilePreprocessor(BasePreprocessor):
    """Reads of each tile the channels that are used, and nothing else of its image.

    The illumination is not corrected: the fields that a slide was stitched of are not known, and a
    tile is none of them.

    Parameters
    ----------
    settings : PreprocessSettings
        Channels, plane, and the sizes of the tiles.

    Attributes
    ----------
    images : OpensImages or None
        Where the images come from; set once the downloader is known.
    keys : Mapping[str, str]
        Number or name in the file of each channel, by its name here.
    """

    def __init__(self, settings: PreprocessSettings) -> None:
        chosen = {"projection": settings.projection, "series": settings.series}
        for name, value in chosen.items():
            if value is not None:
                msg = f"preprocess.{name}: tiles of large images are read of one image and plane"
                raise ConfigError(msg)
        self.settings = settings
        self.images: OpensImages | None = None
        self.channel_keys = _keys(settings)
        self.channel_names: tuple[str, ...] = tuple(self.channel_keys)
        if settings.perform_illumination_correction:
            logger.info("Illumination is not corrected in tiles of large images")

    def describe(self) -> dict[str, object]:
        """Return what changes a result; the tiles are part of the table."""
        return {"tiles": dict(self.channel_keys), "z": self.settings.z}

    def process(self, movie: Movie) -> list[Frame | Skipped]:
        """Return the tile that a row asks for.

        Raises
        ------
        MovieError
            If the image cannot be read, is another one than the row was made for, or the row has
            no tile.
        """
        task = movie.task
        image = self.image(task)
        numbers = [image.info.channel(key, image.where) for key in self.channel_keys.values()]
        tile = tile_of(task)
        if image.info.shape != tile.image or task.frames != (tile.number,):
            raise MovieError(
                f"{task.name}: {image.where} has {image.info.shape[0]} x {image.info.shape[1]} "
                f"pixels, and the table is for {tile.image[0]} x {tile.image[1]} "
                f"(tile {tile.number}): make it anew"
            )
        with step("read"):
            pixels = image.read(numbers, tile.region, alone_in(tile))
        return [Frame(pixels, tile.number, task, (), self.channel_names, tile)]

    def image(self, task: ImageTask) -> LargeImage:
        """Return the image of a task, opened."""
        if self.images is None:
            raise ConfigError("large images need a downloader that reads by ranges")
        return self.images.open(task)

    def close(self) -> None:
        """Close the images."""
        if self.images is not None:
            self.images.close()


def tile_of(task: ImageTask) -> Tile:
    """Return the tile of a row.

    Raises
    ------
    MovieError
        If it has none.
    """
    text = task.metadata.get(TILE, "")
    if not text:
        raise MovieError(f"{task.name}: its image could not be cut into tiles; see the log")
    try:
        return parse_tile(text)
    except ValueError as error:
        raise MovieError(f"{task.name}: column {TILE}: {error}") from error


def alone_in(tile: Tile) -> Box:
    """Return the part of a tile's region that no neighbour reads."""
    (top, left, bottom, right), core = tile.region, tile.core
    return Box(
        2 * core.top - top, 2 * core.left - left, 2 * core.bottom - bottom, 2 * core.right - right
    )


def _keys(settings: PreprocessSettings) -> Mapping[str, str]:
    if not settings.image_channels:
        return {"DNA": str(settings.channel)}
    pairs = [one.partition("=") for one in settings.image_channels]
    return {name: key or str(position) for position, (name, _, key) in enumerate(pairs)}
