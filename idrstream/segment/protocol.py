"""What finds the nuclei of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from idrstream.describe import describe_part, take_over
from idrstream.errors import ConfigError, SegmentationError

if TYPE_CHECKING:
    from idrstream.records import Frame, Nuclei


@runtime_checkable
class Segmentor(Protocol):
    """Finds the nuclei of one frame.

    A segmentor may be called from several threads. It never changes the frame's pixels, returns
    the same nuclei in the same order for the same pixels, and a `Nuclei` of length zero when there
    are none. `BaseSegmentor` has defaults for everything but `segment`.
    """

    def segment(self, frame: Frame, *, outlines: bool = False) -> Nuclei:
        """Return the nuclei of `frame`, with their outlines when wanted.

        Raises
        ------
        idrstream.errors.SegmentationError
            When this frame cannot be segmented; the message names plate, well and frame.
        """
        ...

    def segment_many(
        self, frames: Sequence[Frame], *, outlines: bool = False
    ) -> Sequence[Nuclei | SegmentationError]:
        """Return the nuclei of each frame, or the error that `segment` would raise for it."""
        ...

    def load(self) -> None:
        """Load the model, so that what is missing shows before the first download."""
        ...

    def gpus(self) -> list[str]:
        """Return the GPUs that the segmentor uses, such as ``cuda:0``."""
        ...


class BaseSegmentor:
    """Defaults for a segmentor that takes frame by frame, loads nothing and uses no GPU."""

    def segment(self, frame: Frame, *, outlines: bool = False) -> Nuclei:
        """Return the nuclei of `frame`; see `Segmentor.segment`."""
        raise NotImplementedError

    def segment_many(
        self, frames: Sequence[Frame], *, outlines: bool = False
    ) -> Sequence[Nuclei | SegmentationError]:
        """Segment the frames one after another."""
        found: list[Nuclei | SegmentationError] = []
        for frame in frames:
            try:
                found.append(self.segment(frame, outlines=outlines))
            except SegmentationError as error:
                found.append(error)
        return found

    def load(self) -> None:
        """Load nothing before the first frame."""

    def gpus(self) -> list[str]:
        """Return no GPU."""
        return []


@runtime_checkable
class _HasSegment(Protocol):
    def segment(self, frame: Frame, *, outlines: bool = False) -> Nuclei: ...


class _Adapted(BaseSegmentor):
    """A segmentor made of an object that has ``segment`` but not all methods."""

    def __init__(self, given: _HasSegment) -> None:
        self.given = given
        take_over(self, given, ("segment_many", "load", "gpus"))

    def segment(self, frame: Frame, *, outlines: bool = False) -> Nuclei:
        return self.given.segment(frame, outlines=outlines)

    def describe(self) -> Mapping[str, Any]:
        return describe_part(self.given)


def as_segmentor(given: object) -> Segmentor:
    """Return an object as a segmentor.

    Parameters
    ----------
    given : object
        A `Segmentor`, or an object with ``segment(frame, *, outlines=False)``, which gets the
        defaults of `BaseSegmentor` for the methods that it lacks.

    Raises
    ------
    idrstream.errors.ConfigError
        When it has no ``segment``.
    """
    if isinstance(given, Segmentor):
        return given
    if isinstance(given, _HasSegment):
        return _Adapted(given)
    msg = f"{type(given).__name__} is not a segmentor: it has no segment(frame, *, outlines=False)"
    raise ConfigError(msg)
