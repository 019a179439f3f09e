"""Asks the segmentor for outlines where they are needed: in the table, or for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from idrstream.quality.pictures import picture_key

if TYPE_CHECKING:
    from idrstream.errors import SegmentationError
    from idrstream.quality.pictures import PictureStore
    from idrstream.records import Frame, Nuclei


class Segmenting:
    """The segment room of a stream.

    Parameters
    ----------
    segmentor : Segmentor
        Finds the nuclei.
    pictures : PictureStore
        Knows of which frames a picture would be kept.
    outlines : bool
        Whether the table has outlines.
    """

    def __init__(self, segmentor: Any, pictures: PictureStore, *, outlines: bool) -> None:
        self._segmentor = segmentor
        self._pictures = pictures
        self._outlines = outlines

    def one(self, frame: Frame) -> Nuclei:
        """Return the nuclei of a frame."""
        nuclei: Nuclei = self._segmentor.segment(frame, outlines=self._wants(frame))
        return nuclei

    def many(self, frames: Sequence[Frame]) -> Sequence[Nuclei | SegmentationError]:
        """Return the nuclei of several frames."""
        found: Sequence[Nuclei | SegmentationError] = self._segmentor.segment_many(
            frames, outlines=any(map(self._wants, frames))
        )
        return found

    def _wants(self, frame: Frame) -> bool:
        task = frame.task
        key = picture_key(task.plate, task.well_number, task.site, frame.number)
        return self._outlines or self._pictures.wants(key)
