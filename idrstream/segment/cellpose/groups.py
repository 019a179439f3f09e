"""Several frames at once: side by side on a processor, pooled on a GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import SegmentationError, UserError
from idrstream.records import Frame, Objects
from idrstream.segment.network.image_part import ImagePart
from idrstream.workers.threads import in_threads

_log = logging.getLogger("idrstream.segment")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame ready for the network.

    Attributes
    ----------
    frame : Frame
        The frame.
    image : NDArray of float32 or ImagePart
        Its pixels as the network wants them, shape ``(Y, X)``, or ``(2, Y, X)``.
    diameter_px : float
        Diameter of its nuclei.
    """

    frame: Frame
    image: NDArray[np.float32] | ImagePart
    diameter_px: float


@dataclass(frozen=True, slots=True)
class Stages:
    """The three stages of a group of frames; only the middle one needs the GPU.

    Attributes
    ----------
    prepare : callable
        Frame to `Prepared`, in threads.
    run_network : callable
        Several `Prepared` to the flows of each, together.
    finish : callable
        `Prepared` and its flows to `Objects`, in threads.
    """

    prepare: Callable[[Frame], Prepared]
    run_network: Callable[[Sequence[Prepared]], list[Any]]
    finish: Callable[[Prepared, Any], Objects]

    def run(self, frames: Sequence[Frame], threads: int) -> list[Objects | SegmentationError]:
        """Return the nuclei of each frame, or its error."""
        prepared = in_threads(lambda frame: _try(self.prepare, frame), frames, threads)
        good = [one for one in prepared if isinstance(one, Prepared)]
        flows = dict(zip(map(id, good), self._flows(good), strict=True))

        def finish(one: Prepared | SegmentationError) -> Objects | SegmentationError:
            found = one if isinstance(one, SegmentationError) else flows.pop(id(one))
            if isinstance(one, SegmentationError) or isinstance(found, SegmentationError):
                return found
            return _try(lambda _: self.finish(one, found), one.frame)

        return in_threads(finish, prepared, threads)

    def _flows(self, group: Sequence[Prepared]) -> list[Any]:
        """Run the frames together, and one by one when that fails, to know which one it is."""
        try:
            return self.run_network(group) if group else []
        except SegmentationError as error:
            if len(group) > 1:
                _log.warning("%d frames go through the network one by one: %s", len(group), error)
                return [flows for one in group for flows in self._flows([one])]
            return [named(error, group[0].frame)]


def side_by_side(
    work: Callable[[Frame], Result], frames: Sequence[Frame], threads: int
) -> list[Result | SegmentationError]:
    """Call something for each frame with one thread, several at once."""

    def call(frame: Frame) -> Result | SegmentationError:
        try:
            return work(frame)
        except SegmentationError as error:
            return error

    return in_threads(call, frames, threads)


def check_pixels(pixels: NDArray[Any]) -> None:
    """Refuse what is no frame.

    Raises
    ------
    idrstream.errors.SegmentationError
        When the shape is not ``(Y, X)`` or a pixel is not finite.
    """
    if pixels.ndim != 2 or pixels.size == 0:
        raise SegmentationError(f"a frame has shape (Y, X), not {pixels.shape}")
    if not np.isfinite(pixels).all():
        raise SegmentationError("the frame has pixels that are not finite numbers")


@contextmanager
def one_frames_errors() -> Iterator[None]:
    """Turn whatever another library raises into an error of the frames it was about."""
    try:
        yield
    except (SegmentationError, UserError):
        raise
    except Exception as error:
        raise SegmentationError(f"Cellpose failed: {type(error).__name__}: {error}") from error


def named(error: SegmentationError, frame: Frame) -> SegmentationError:
    """Return the error with the name of its frame."""
    said = SegmentationError(f"{frame.name}: {error}")
    said.__cause__ = error
    return said


def _try(call: Callable[[Frame], Result], frame: Frame) -> Result | SegmentationError:
    try:
        return call(frame)
    except SegmentationError as error:
        return named(error, frame)
