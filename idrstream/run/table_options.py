"""What a batch's table has, what is kept beside it, and how much space that takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.compile.masks import BYTES_A_ROW
from idrstream.quality.pictures import pictures_bytes
from idrstream.records import OBJECT_KINDS
from idrstream.track import NucleusTracker
from idrstream.track.batch import FILMS

if TYPE_CHECKING:
    from idrstream.config import RunOptions
    from idrstream.profile import DeepModel
    from idrstream.run.components import Components
    from idrstream.track import Tracker

FILE_BYTES = 4096
"""Of a file beside its content: headers, its entry in tables."""
_ROWS = 20  # of pixels of an object


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """What a batch's table has, and what is kept beside it.

    Attributes
    ----------
    extra_metadata : tuple of str
        Extra columns.
    output_format : str
        ``csv.gz`` or ``parquet``.
    kept : Path or None
        Output folder, where masks and projects are kept.
    masks, project : bool
        Whether they are kept.
    channels : tuple of str
        Channels that frames will have; by default those of the model.
    kinds : tuple of str
        Kinds of objects that they will have.
    tracker : Tracker, optional
        Follows the objects of each movie.
    films : int
        Batches of which a film of one movie is made.
    """

    extra_metadata: tuple[str, ...] = ()
    output_format: str = "csv.gz"
    kept: Path | None = None
    masks: bool = False
    project: bool = False
    channels: tuple[str, ...] = ()
    kinds: tuple[str, ...] = OBJECT_KINDS[:1]
    tracker: Tracker | None = None
    films: int = 0

    @classmethod
    def of(cls, options: RunOptions, folder: Path, components: Components) -> TableOptions:
        """Return what the options of a run and its components say, for an output folder."""
        return cls(
            extra_metadata=options.extra_metadata,
            output_format=options.output_format,
            kept=folder,
            masks=options.keep_masks,
            project=options.keep_project,
            channels=tuple(components.preprocessor.channel_names),
            kinds=components.segmentor.kinds(),
            tracker=(
                NucleusTracker(options.track_max_step, options.track_max_gap)
                if options.track
                else None
            ),
            films=FILMS if pictures_bytes(options.pictures) else 0,
        )


def kept_bytes(
    options: TableOptions,
    model: DeepModel,
    objects: int,
    pixels: int,
    itemsize: int = 2,
    *,
    rows: int | None = None,
) -> int:
    """Return the size of what is kept of a frame beside its table.

    Parameters
    ----------
    options : TableOptions
        What is kept.
    model : DeepModel
        Its channels and features.
    objects, pixels, itemsize : int
        Objects and pixels of the frame, and bytes of a pixel.
    rows : int, optional
        Rows of pixels of all objects together, if they are known.
    """
    rows = objects * _ROWS * len(options.kinds) if rows is None else rows
    files = 6 * len(options.kinds)
    masks = rows * BYTES_A_ROW + files * FILE_BYTES if options.masks else 0
    images = len(model.config.image_columns) * (pixels * itemsize + FILE_BYTES)
    features = objects * len(model.columns) * 4 + FILE_BYTES
    return masks + (images + features if options.project else 0)
