"""What finds the nuclei of frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from idrstream.describe import adapt
from idrstream.errors import SegmentationError
from idrstream.records import OBJECT_KINDS

if TYPE_CHECKING:
    from idrstream.records import Frame, Objects
    from idrstream.tiles.sample import ImageSample, WholeImage


_METHODS = (
    "segment", "segment_many", "kinds", "check_channels", "needs_plate", "fit_plate",
    "for_dry_run", "whole_image", "load", "gpus", "channel", "other_channels",
)  # fmt: skip


@runtime_checkable
class Segmentor(Protocol):
    """Finds the nuclei of frames; a subclass only needs `segment`.

    A segmentor may be called from several threads. It never changes the frame's pixels, returns
    the same nuclei in the same order for the same pixels, and `Objects` of length zero when there
    are none.
    """

    channel: str = ""
    """Name of the channel that is segmented; empty for the first."""
    other_channels: tuple[str, ...] = ()
    """Names of the other channels that it looks at, whose scale a large image has, too."""

    def segment(self, frame: Frame, *, outlines: bool = False) -> Objects:
        """Return the nuclei of `frame`, with their outlines if asked for.

        Raises
        ------
        idrstream.errors.SegmentationError
            When this frame cannot be segmented; the message names plate, well and frame.
        """
        ...

    def segment_many(
        self, frames: Sequence[Frame], *, outlines: bool = False
    ) -> Sequence[Objects | SegmentationError]:
        """Return the nuclei of each frame, or the error that `segment` raises for it.

        By default the frames are segmented one after another.
        """
        found: list[Objects | SegmentationError] = []
        for frame in frames:
            try:
                found.append(self.segment(frame, outlines=outlines))
            except SegmentationError as error:
                found.append(error)
        return found

    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of objects that frames get; see `Objects.kinds`; by default nuclei."""
        return OBJECT_KINDS[:1]

    def check_channels(self, names: Sequence[str]) -> None:  # noqa: ARG002
        """Raise `ConfigError` if frames of these channels cannot be segmented; by default not."""
        return

    def whole_image(self, sample: ImageSample) -> WholeImage | None:  # noqa: ARG002
        """Return what holds for all tiles of a large image, which frames bring in `Frame.tile`.

        By default nothing: each tile is segmented by itself.
        """
        return None

    def needs_plate(self, plate: str) -> bool:  # noqa: ARG002
        """Return whether `fit_plate` must be called before frames of a plate are segmented."""
        return False

    def fit_plate(self, plate: str, frames: Sequence[Frame]) -> None:  # noqa: ARG002
        """Estimate and keep what all frames of a plate share, on uncorrected frames of some wells.

        Raises
        ------
        idrstream.errors.ImageError
            When nothing comes out of it; the message names the plate.
        """
        return

    def for_dry_run(self, folder: Path) -> Segmentor:  # noqa: ARG002
        """Return a segmentor that writes nothing outside `folder`."""
        return self

    def load(self) -> None:
        """Load the model, so that what is missing shows before the first download."""
        return

    def gpus(self) -> list[str]:
        """Return the GPUs that are used, such as ``cuda:0``; none by default."""
        return []


def as_segmentor(given: object) -> Segmentor:
    """Return an object with ``segment(frame, *, outlines=False)`` as a segmentor; see `adapt`."""
    return adapt(given, Segmentor, _METHODS)  # type: ignore[type-abstract]
