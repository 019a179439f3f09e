"""Segments frames for the scheduler, with outlines where the table or a picture needs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from idrstream.errors import SegmentationError
from idrstream.quality.pictures import picture_key

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
        return self._segmentor.segment_many(frames, outlines=outlines)

    def _has_picture(self, frame: Frame) -> bool:
        task = frame.task
        key = picture_key(task.plate, task.well_number, task.site, frame.number)
        return self._pictures.wants(key)
