"""Segments frames for the scheduler, with outlines where the table or a picture needs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from idrstream.errors import SegmentationError
from idrstream.quality.pictures import picture_key
from idrstream.tiles.own import own_objects

if TYPE_CHECKING:
    from idrstream.quality.pictures import PictureStore
    from idrstream.records import Frame, Objects
    from idrstream.segment import Segmentor

    Results = Sequence[Objects | SegmentationError]


class Segmenting:
    """Calls the segmentor of a stream.

    Parameters
    ----------
    segmentor : Segmentor
        Finds the nuclei.
    pictures : PictureStore
        Knows which frames would get a picture.
    outlines : bool
        Whether the table has outlines.
    """

    def __init__(self, segmentor: Segmentor, pictures: PictureStore, *, outlines: bool) -> None:
        self._segmentor = segmentor
        self._pictures = pictures
        self._outlines = outlines

    def __call__(self, frames: Sequence[Frame]) -> Results:
        """Return the nuclei of each frame, or the error of its segmentation."""
        outlines = self._outlines or any(map(self._has_picture, frames))
        results = self._segmentor.segment_many(frames, outlines=outlines)
        return [_own(frame, found) for frame, found in zip(frames, results, strict=True)]

    def _has_picture(self, frame: Frame) -> bool:
        task = frame.task
        key = picture_key(task.plate, task.well_number, task.site, frame.number)
        return self._pictures.wants(key)


def _own(frame: Frame, found: Objects | SegmentationError) -> Objects | SegmentationError:
    """Return what a tile owns of what was found in it; of other frames everything."""
    if frame.tile is None or isinstance(found, SegmentationError):
        return found
    return own_objects(found, frame.tile)
