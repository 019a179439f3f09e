"""Cuts the large images of a table into tiles before a stream starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from idrstream.preprocess.tiles import TilePreprocessor
from idrstream.tiles.table import cut_image, tile_table

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.records import ImageTask, Tile
    from idrstream.run.components import Components


def with_tiles(
    components: Components, table: pd.DataFrame, *, ignore_invalid: bool = False
) -> pd.DataFrame:
    """Return the table with a row for each tile, if the stream cuts its images into tiles.

    Grey levels and diameter of each image are measured on a sample of it; see `tile_table`.
    """
    reader = components.preprocessor
    if not isinstance(reader, TilePreprocessor):
        return table
    segmentor, settings = components.segmentor, reader.settings
    segmentor.check_channels(reader.channel_names)

    def cut(task: ImageTask) -> list[Tile]:
        image = reader.image(task)
        name = segmentor.channel or reader.channel_names[0]
        for key in reader.channel_keys.values():  # all of them are there
            image.info.channel(key, image.where)
        return cut_image(
            image,
            image.info.channel(reader.channel_keys[name], image.where),
            segmentor.whole_image,
            side_px=settings.tile_px,
            overlap_px=settings.tile_overlap_px,
        )

    return tile_table(table, cut, ignore_invalid=ignore_invalid)
