"""What a segmentor is to the rest of the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from idrstream.records import Frame, Nuclei


@runtime_checkable
class Segmentor(Protocol):
    """Finds the nuclei of one frame.

    It may offer ``segment_many(frames, *, outlines=False)``, which returns the nuclei of each
    frame or the `SegmentationError` that `segment` would have raised; a stream then hands it
    several frames at once.

    A segmentor is called once per frame, possibly from several threads. It never changes the
    frame's pixels, gives the same nuclei in the same order for the same pixels, and returns a
    `Nuclei` of length zero when there are none.
    """

    def segment(self, frame: Frame, *, outlines: bool = False) -> Nuclei:
        """Return the nuclei of `frame`, with their outlines when wanted.

        Raises
        ------
        idrstream.errors.SegmentationError
            When this frame cannot be segmented; the message names plate, well and frame.
        """
        ...
