"""What passes between the steps: small, frozen, typed records.

Arrays are held by reference and never changed in place by a later stage. Array coordinates
are ``(y, x)`` with the origin at the centre of the upper left pixel; tables have X and Y
columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import RemoteFileNotFoundError

USUAL_FRAMES = 93
"""Frames of a movie whose length is not known yet: as many as most of Mitocheck's have."""


@dataclass(frozen=True, slots=True)
class ImageTask:
    """One row of the table to process: a well's movie and its wanted frames.

    Attributes
    ----------
    plate, well : str
        Plate name and well name, for example ``LT0001_02`` and ``A4``.
    well_number : int
        Number of the well, counted from 1 along the rows of the plate.
    frames : tuple of int
        Wanted frames, counted from 1, in the order requested, without repeats; empty as long as
        `every` is set and the length of the movie is not known.
    site : int
        Number of the site (field of view), counted from 1.
    metadata : Mapping[str, str]
        Every other column of the row: control type, gene target and what the user added.
    row : int
        Position of the row in the table, counted from 0, for messages.
    every : int
        Every so many frames of the movie are wanted, from the first to its last, whichever that
        is; 0 if `frames` names them.
    """

    plate: str
    well: str
    well_number: int
    frames: tuple[int, ...]
    site: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict)
    row: int = 0
    every: int = 0

    @property
    def name(self) -> str:
        """The image's name in messages and the log."""
        return f"plate {self.plate} well {self.well}"

    @property
    def frames_text(self) -> str:
        """The wanted frames as a table has them; the same whether the movie was opened or not."""
        return frames_text(self.frames, self.every)

    @property
    def n_frames_expected(self) -> int:
        """How many frames are wanted; a guess as long as the length of the movie is not known."""
        return len(self.frames) or USUAL_FRAMES // max(1, self.every)

    def with_length(self, n_frames: int) -> ImageTask:
        """Return the image with its wanted frames, for a movie of so many."""
        if not self.every:
            return self
        return replace(self, frames=tuple(range(1, n_frames + 1, self.every)))


def frames_text(frames: Sequence[int], every: int = 0) -> str:
    """Return the frames that an image wants as text, ``1,50``, ``all`` or ``all:3``."""
    if every:
        return "all" if every == 1 else f"all:{every}"
    return ",".join(map(str, frames))


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows of the table that are processed, published and deleted together."""

    number: int
    tasks: tuple[ImageTask, ...]


@dataclass(frozen=True, slots=True)
class Movie:
    """A movie on disk, completely written.

    Attributes
    ----------
    path : Path
        The file.
    task : ImageTask
        The image it was fetched for.
    source : str
        Where it came from, for the log (``aspera``, ``local`` and a path or address).
    size_bytes : int or None
        Size that the file must have; None if its source states none.
    frames : tuple of int or None
        The frames in the file, counted from 1, if only some were fetched; None for the whole
        movie.
    bytes_moved : int or None
        Bytes that were transferred; None if the transport does not count them.
    requests : int or None
        Requests that were made; None if the transport does not count them.
    channels : Mapping[str, Movie]
        Where the channels are in files of their own: the file of each, by its name. `path` is the
        first of them then.
    """

    path: Path
    task: ImageTask
    source: str
    size_bytes: int | None = None
    frames: tuple[int, ...] | None = None
    bytes_moved: int | None = None
    requests: int | None = None
    channels: Mapping[str, Movie] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Movie, ...]:
        """Each of the movie's files as a movie."""
        return tuple(self.channels.values()) or (self,)


@dataclass(frozen=True, slots=True)
class RawFrameQuality:
    """Quality measures of a frame before its illumination was corrected.

    Attributes
    ----------
    saturated : float
        Share of the pixels at the camera's highest grey level, 0 to 1.
    shading : NDArray
        Shape ``(8, 8)``, float64: grey level of the background in each tile of the frame.
    source : str
        Where the movie came from.
    """

    saturated: float
    shading: NDArray[np.float64]
    source: str = ""


class Box(NamedTuple):
    """A rectangle of pixels, up to, not including, `bottom` and `right`."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """``(Y, X)`` in pixels."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rectangle as an index of an array ``(Y, X)``."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


class GreyLevels(NamedTuple):
    """Grey levels of one channel that hold for a whole image.

    Attributes
    ----------
    low, high : float
        What the network sees as 0 and 1.
    dark : float
        What the smoothed image exceeds wherever there is an object.
    blank : float
        What pixels of 0 are taken for, which were never recorded; 0: they are as dark as they say.
    """

    low: float
    high: float
    dark: float
    blank: float = 0.0


@dataclass(frozen=True, slots=True)
class Tile:
    """Where a frame lies that is a part of a larger image, and what holds for that whole image.

    Attributes
    ----------
    number, count : int
        Number of the tile, counted from 1 along the rows, and tiles of the image.
    region : Box
        The pixels of the frame in the image.
    core : Box
        The part of it whose objects are this tile's: those whose centroid lies in it. The cores of
        the tiles cover the image without overlap.
    image : tuple of int
        ``(Y, X)`` of the whole image in pixels.
    levels : GreyLevels or None
        Of the channel that is segmented; None: each tile by itself.
    diameter_px : float
        Usual diameter of the objects in the image; NaN if it was not estimated.
    pixel_um : float
        Side of a pixel in micrometres; NaN if unknown.
    largest : tuple of int or None
        ``(Y, X)`` of the largest tile of the image; None if all are of one size.
    others : tuple of GreyLevels or None
        Of the other channels that the segmentor looks at.
    cell_diameter_px : float
        Usual diameter of the cells around the objects; NaN if there are none, or it is unknown.
    """

    number: int
    count: int
    region: Box
    core: Box
    image: tuple[int, int]
    levels: GreyLevels | None = None
    diameter_px: float = math.nan
    pixel_um: float = math.nan
    largest: tuple[int, int] | None = None
    others: tuple[GreyLevels | None, ...] = ()
    cell_diameter_px: float = math.nan

    @property
    def first_label(self) -> int:
        """Number in the whole image that the tile's label 0 would have.

        Each tile has as many numbers as the others, so that none needs to know how many objects
        they have; all are below 2**32.
        """
        return (self.number - 1) * ((2**32 - 1) // self.count)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a movie, ready for segmentation.

    Attributes
    ----------
    pixels : NDArray
        Shape ``(C, Y, X)``; uint8 or uint16 as the movie has it, also after correction.
    number : int
        Frame number, counted from 1.
    task : ImageTask
        The image it belongs to.
    raw : tuple of RawFrameQuality
        Quality measures of each channel before the correction; empty if unknown.
    channels : tuple of str
        Name of each channel.
    tile : Tile, optional
        Where it lies in a larger image, if it is a part of one; `number` is the tile's then.

    Raises
    ------
    ValueError
        If there are not as many names as channels.
    """

    pixels: NDArray[Any]
    number: int
    task: ImageTask
    raw: tuple[RawFrameQuality, ...] = ()
    channels: tuple[str, ...] = ("DNA",)
    tile: Tile | None = None

    def __post_init__(self) -> None:
        """Check the shape."""
        if self.pixels.ndim != 3 or len(self.pixels) != len(self.channels):
            raise ValueError(
                f"pixels of shape {self.pixels.shape} are not (channel, y, x) of the channels "
                f"{', '.join(self.channels)}"
            )

    @property
    def name(self) -> str:
        """The frame's name in messages and the log."""
        return f"{self.task.name} frame {self.number}"

    @property
    def shape(self) -> tuple[int, int]:
        """``(Y, X)`` in pixels."""
        _, height, width = self.pixels.shape
        return height, width

    def plane(self, channel: str = "") -> NDArray[Any]:
        """Return one channel, by default the first, shape ``(Y, X)``.

        Raises
        ------
        KeyError
            If there is no such channel.
        """
        if channel and channel not in self.channels:
            raise KeyError(channel)
        plane: NDArray[Any] = self.pixels[self.channels.index(channel) if channel else 0]
        return plane


OBJECT_FIELDS = np.dtype(
    [
        ("label", np.int32),
        ("y", np.float64),
        ("x", np.float64),
        ("area", np.float64),
        ("top", np.int32),
        ("left", np.int32),
        ("bottom", np.int32),
        ("right", np.int32),
        ("touches_border", np.bool_),
    ]
)
"""Columns of `Objects.table`."""

OBJECT_KINDS = ("Nuclei", "Cells", "Cytoplasm")
"""Names that `Objects` have: CellProfiler's and pycytominer's."""


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one kind in one frame; `idrstream.segment.objects_in` makes them of labels.

    Attributes
    ----------
    name : str
        Kind of the objects, for example ``Nuclei``: the beginning of the names of their columns.
    labels : NDArray
        Shape ``(Y, X)``, int32: 0 is background, every other value an object.
    table : NDArray
        Shape ``(n,)``, structured, a row per object: its label, the centroid ``y``, ``x`` and the
        area of its mask in pixels, the bounding box from ``top``, ``left`` up to, not including,
        ``bottom``, ``right``, and whether it touches the border of the image.
    outlines : tuple of NDArray, optional
        For each object its outline, shape ``(k, 2)``, int, ``(y, x)``; None if not requested.
    diameter_px : float
        Diameter that was given or estimated, in pixels; NaN if unknown.
    channel : str
        Channel that they were found in; empty for the first.
    related : tuple of Objects
        Other kinds of objects of the same frame, such as ``Cells`` and ``Cytoplasm``. They have
        the same rows: what has the same label belongs together. One that has no pixel has a row,
        too, with an area of 0 and NaN as centroid.
    children : NDArray, optional
        Shape ``(n,)``, int32: the nuclei in the cell of each object, if it has a cell found on
        its own; 0 where it has none.
    match_counts : Mapping[str, int]
        Where cells were found on their own: ``Cells_Without_Nucleus`` and
        ``Nuclei_In_Larger_Ones_Cell``, which have no row, and ``Nuclei_Without_Cell``, which have.
    of_neighbours : NDArray, optional
        In a tile of a larger image: like `table`, the objects that other tiles own.
    """

    name: str
    labels: NDArray[np.int32]
    table: NDArray[Any]
    outlines: tuple[NDArray[np.int64], ...] | None = None
    diameter_px: float = math.nan
    channel: str = ""
    related: tuple[Objects, ...] = ()
    children: NDArray[np.int32] | None = None
    match_counts: Mapping[str, int] = field(default_factory=dict)
    of_neighbours: NDArray[Any] | None = None

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.table)

    @property
    def kinds(self) -> tuple[Objects, ...]:
        """All kinds of objects of the frame, these first."""
        return (self, *self.related)

    def kind(self, name: str) -> Objects:
        """Return the objects of one kind.

        Raises
        ------
        KeyError
            If there are none of that name.
        """
        found = next((of for of in self.kinds if of.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    @property
    def locations(self) -> NDArray[np.float64]:
        """Centroids, shape ``(n, 2)``, float64, ``(y, x)`` in pixels."""
        return np.stack([self.table["y"], self.table["x"]], axis=1)


@dataclass(frozen=True, slots=True)
class Features:
    """The features of the objects of one frame.

    Attributes
    ----------
    object : str
        Kind of the objects, as `Objects.name`.
    columns : tuple of str
        Names of the features.
    values : NDArray
        Shape ``(n, d)``, float32: a row per object in the order of its table.
    """

    object: str
    columns: tuple[str, ...]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Skipped:
    """An image or frame that is left out of its batch, and why.

    Attributes
    ----------
    task : ImageTask
        The image.
    frame_number : int or None
        The frame, counted from 1; None when the whole movie is skipped.
    stage : str
        Stage where it happened (``download``, ``preprocess``, ``segment``, ``profile``).
    kind : str
        Name of the error class.
    reason : str
        The error message.
    """

    task: ImageTask
    frame_number: int | None
    stage: str
    kind: str
    reason: str

    @property
    def is_missing(self) -> bool:
        """Whether the source has no such movie: a result, which no later attempt changes."""
        return self.kind == RemoteFileNotFoundError.__name__


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """A folder that was kept beside a table.

    Attributes
    ----------
    size_bytes : int
        Size of its files.
    sha256 : str
        Digest of their names and contents.
    """

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Published:
    """A batch whose table is in the output folder under its final name.

    Attributes
    ----------
    path : Path
        The file.
    rows : int
        Its rows: nuclei.
    sha256 : str
        Digest of the file.
    columns : int
        Its columns, without the unnamed one of csv.gz.
    columns_sha256 : str
        Digest of their names, joined by line ends.
    masks : KeptFolder, optional
        Its label images, if they are kept.
    tracks : KeptFolder, optional
        The tables of its tracks, if objects were tracked.
    """

    path: Path
    rows: int
    sha256: str
    columns: int = 0
    columns_sha256: str = ""
    masks: KeptFolder | None = None
    tracks: KeptFolder | None = None
