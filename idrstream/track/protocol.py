"""What goes into a tracker and comes out of it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from idrstream.track.measure import intensities

if TYPE_CHECKING:
    from idrstream.records import Frame, Objects


@dataclass(frozen=True, slots=True)
class PackedLabels:
    """A label image, compressed: some 30 kB instead of 5 MB for a frame of Mitocheck."""

    shape: tuple[int, int]
    content: bytes

    @classmethod
    def of(cls, labels: NDArray[np.int32]) -> PackedLabels:
        """Return a label image, shape ``(Y, X)``, int32, compressed."""
        height, width = labels.shape
        rows = np.ascontiguousarray(labels, dtype=np.int32)
        return cls((height, width), zlib.compress(rows.data, level=1))

    def array(self) -> NDArray[np.int32]:
        """Return the label image."""
        return np.frombuffer(zlib.decompress(self.content), np.int32).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Detections:
    """The objects of one frame.

    Attributes
    ----------
    number : int
        The frame, counted from 1.
    table : NDArray
        Shape ``(n,)``, as `idrstream.records.Objects.table`.
    labels : PackedLabels, optional
        Their label image, with which their overlap counts.
    intensity : NDArray, optional
        Shape ``(n,)``: mean grey level of each above the background, as
        `idrstream.track.measure.intensities` gives it; with it brightness counts.
    """

    number: int
    table: NDArray[Any]
    labels: PackedLabels | None = None
    intensity: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, frame: Frame, objects: Objects) -> Self:
        """Return the objects of a frame with their labels and how bright they are."""
        labels = PackedLabels.of(objects.labels)
        return cls(frame.number, objects.table, labels, intensities(frame, objects))


@dataclass(frozen=True, slots=True)
class Tracks:
    """Who is who in a movie: one entry for each object, frame by frame in the order of its table.

    Attributes
    ----------
    frame, label : NDArray
        Shape ``(n,)``, int32: the frame, counted from 1, and the object's label in it.
    track : NDArray
        Shape ``(n,)``, int32: its track, counted from 1 in the order in which tracks begin. A
        track ends where its nucleus divides; each daughter begins one.
    parent : NDArray
        Shape ``(n,)``, int32: the track that its track was born from; 0 for none.
    generation : NDArray
        Shape ``(n,)``, int32: divisions since its line was first seen, from 0.
    """

    frame: NDArray[np.int32]
    label: NDArray[np.int32]
    track: NDArray[np.int32]
    parent: NDArray[np.int32]
    generation: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.track)

    def parents(self) -> dict[int, int]:
        """Return the parent of each track, 0 for none, by track."""
        tracks, first = np.unique(self.track, return_index=True)
        return dict(zip(tracks.tolist(), self.parent[first].tolist(), strict=True))


@runtime_checkable
class Tracker(Protocol):
    """Follows the objects of a movie."""

    def track(self, frames: Sequence[Detections]) -> Tracks:
        """Follow objects from frame to frame.

        Parameters
        ----------
        frames : sequence of Detections
            The frames of one movie, by number.

        Returns
        -------
        Tracks
            Depends on the frames alone.
        """
        ...
