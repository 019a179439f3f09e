"""Cuts the large images of a table into tiles, and puts their label images together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from idrstream.compile.pyramid import labels_path, write_pyramid
from idrstream.describe import describe_part
from idrstream.errors import ConfigError
from idrstream.files import own_folder
from idrstream.folder.names import TABLES
from idrstream.preprocess.tiles import TilePreprocessor, tile_of
from idrstream.redact import redact
from idrstream.screen import checked_rows
from idrstream.screen.columns import TILE
from idrstream.tiles.grid import format_tile
from idrstream.tiles.table import Row, cut_image, known_tiles, tile_table
from idrstream.workers.steps import step

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from idrstream.config import PreprocessSettings, RunOptions
    from idrstream.formats.large.image import LargeImage
    from idrstream.records import ImageTask
    from idrstream.run.components import Components, StreamPaths
    from idrstream.run.session import Session
    from idrstream.schedule.events import Listener
    from idrstream.schedule.result import RunResult


def with_tiles(
    components: Components, table: pd.DataFrame, folder: Path, *, ignore_invalid: bool = False
) -> pd.DataFrame:
    """Return the table with a row for each tile, if the stream cuts its images into tiles.

    Grey levels and diameter of each image are measured on a sample of it, unless a table that the
    output folder kept has its tiles, made of the same image with the same settings.
    """
    reader = components.preprocessor
    if not isinstance(reader, TilePreprocessor):
        return table
    segmentor, settings = components.segmentor, reader.settings
    segmentor.check_channels(reader.channel_names)
    known = known_tiles(sorted((folder / TABLES).glob("*.csv.gz")))
    parts = json.dumps([describe_part(reader), describe_part(segmentor)], sort_keys=True)

    def cut(task: ImageTask) -> list[Row]:
        with step("read"):
            image = reader.image(task)
        for key in reader.channel_keys.values():  # all of them are there
            image.info.channel(key, image.where)
        number, *others = (
            image.info.channel(reader.channel_keys[one or reader.channel_names[0]], image.where)
            for one in (segmentor.channel, *segmentor.other_channels)
        )
        made_of = _digest(image, number, settings, parts)
        if made_of in known:
            return known[made_of]
        with step("load"):
            segmentor.load()
        with step("whole image"):
            tiles = cut_image(
                image,
                number,
                segmentor.whole_image,
                side_px=settings.tile_px,
                overlap_px=settings.tile_overlap_px,
                others=others,
            )
        return [Row(str(tile.number), format_tile(tile, made_of)) for tile in tiles]

    return tile_table(table, cut, ignore_invalid=ignore_invalid)


def _digest(image: LargeImage, channel: int, settings: PreprocessSettings, parts: str) -> str:
    """Return what stands for an image and all settings that its tiles depend on."""
    sizes = image.info.shape, image.info.dtype, settings.tile_px, settings.tile_overlap_px
    text = json.dumps([redact(image.where), channel, *sizes, parts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def for_tiles(components: Components, options: RunOptions) -> RunOptions:
    """Return the options of a run; of large images the label images are kept.

    One tile is segmented at a time unless the user says otherwise: the network itself uses all
    processors, or fills a GPU, and the flows of a single tile are in memory.

    Raises
    ------
    ConfigError
        If objects are to be tracked: the tiles of an image are no frames of a movie.
    """
    if not isinstance(components.preprocessor, TilePreprocessor):
        return options
    if options.track:
        msg = (
            "track = true does not work with tiles: objects of large images cannot be followed "
            "through time; set track = false, or tile_px = 0 if the frames fit into memory"
        )
        raise ConfigError(msg)
    return replace(options, keep_masks=True, frames_at_once=options.frames_at_once or 1)


def run_in_tiles(
    session: Session,
    paths: StreamPaths,
    components: Components,
    options: RunOptions,
    table: pd.DataFrame,
    listeners: Sequence[Listener] = (),
    *,
    begun: Callable[[], None] | None = None,
) -> RunResult:
    """Run a table, of large images by tiles, and put their label images together."""
    table = with_tiles(
        components, table, paths.folder, ignore_invalid=options.ignore_invalid_inputs
    )
    result = session.run(table, listeners, begun=begun)
    if isinstance(components.preprocessor, TilePreprocessor):
        with step("labels"):
            _write_label_images(paths, table, changed=bool(result.batches))
    return result


def _write_label_images(paths: StreamPaths, table: pd.DataFrame, *, changed: bool) -> None:
    images: dict[tuple[str, int, int], dict[int, ImageTask]] = {}
    for task in checked_rows(table, ignore_invalid=True).tasks:
        if task.metadata.get(TILE):
            key = (task.plate, task.well_number, task.site)
            images.setdefault(key, {})[task.frames[0]] = task
    with own_folder(paths.work_dir) as work:
        for tasks in images.values():
            one = next(iter(tasks.values()))
            if changed or not labels_path(paths.folder, one).is_dir():
                tiles = {number: tile_of(task) for number, task in tasks.items()}
                write_pyramid(paths.folder, one, tiles, work)
