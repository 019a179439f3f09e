"""Small example pictures of outlined frames and single nuclei, within a size budget.

Which frames are kept does not depend on their order: each has a rank, a hash of the seed, its
plate, well, site and frame. The lowest ranks are kept, as many as fit the budget if each picture
has its maximum size. So an interrupted stream ends with the same pictures, and a picture's name
follows from plate, well, site and frame.
"""

from __future__ import annotations

import hashlib
import io
import random
import re
import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.files import atomic_file
from idrstream.opening import inside
from idrstream.text import parse_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from idrstream.records import Frame, Objects

    Shapes = Sequence[NDArray[np.int64]]
    Colour = tuple[int, int, int]

_NAME = re.compile(r"([0-9a-f]{16})_(?:frame|nuclei)\.webp")
PICTURES = "pictures"
FRAME_PX = 480  # the longer side of a frame's picture at most
CROP_PX = 64
CROPS = 8
SEED = 0
_OUTLINE = np.array([255, 210, 60], dtype=np.uint8)
_QUALITIES = (62, 40, 20, 5)
_GAP_PX = 2
PICTURE_BYTES = 30_000  # of both
_CROPS_BYTES, _ROWS_BYTES = 8_000, 18_000  # of nuclei in one channel, in several


@dataclass(frozen=True, slots=True)
class Picture:
    """The pictures of one frame.

    Attributes
    ----------
    key : str
        Its rank, in hexadecimal: see `picture_key`.
    frame : bytes
        WebP: the downscaled frame with the outlines of its nuclei.
    crops : bytes
        WebP: at most `CROPS` nuclei side by side; empty without nuclei. Of several channels each
        has a row, in their order.
    """

    key: str
    frame: bytes
    crops: bytes


def picture_key(plate: str, well_number: int, site: int, frame: int, seed: int = SEED) -> str:
    """Return the rank of a frame, 16 hexadecimal digits, which names its pictures."""
    text = "\n".join(map(str, (seed, plate, well_number, site, frame)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shown_nuclei(key: str, count: int) -> tuple[int, ...]:
    """Return which nuclei are in the picture of a frame's nuclei, from left to right.

    Parameters
    ----------
    key : str
        As of `picture_key`.
    count : int
        Nuclei of the frame.

    Returns
    -------
    tuple of int
        Numbers of nuclei, counted from 1, in the order of the frame's rows in the batch table.
    """
    drawn = random.Random(key)  # noqa: S311, nothing secret
    return tuple(sorted(drawn.sample(range(1, count + 1), min(count, CROPS))))


def draw(frame: Frame, nuclei: Objects, key: str) -> Picture:
    """Draw the pictures of a frame; centroids are marked if the nuclei have no outlines."""
    grey = _grey(frame.plane(nuclei.channel))
    shapes = nuclei.outlines
    if shapes is None:
        shapes = tuple(_cross(point) for point in nuclei.locations)
    outlined = _outlined(grey, [(shapes, _OUTLINE)])
    numbers = shown_nuclei(key, len(nuclei))
    planes = [_grey(plane) for plane in frame.pixels] if len(frame.channels) > 1 else [grey]
    # Rows of channels take more of the same space.
    crops_bytes = _CROPS_BYTES if len(planes) == 1 else _ROWS_BYTES
    crops = b""
    if numbers:
        side = _crop_side(nuclei)
        points = np.rint(nuclei.locations[np.array(numbers) - 1]).astype(int)
        points = np.clip(points, 0, np.array(grey.shape) - 1)
        strips = [_strip(plane, points, side) for plane in planes]
        gap = np.zeros((_GAP_PX, strips[0].shape[1]), np.uint8)
        stacked = [part for strip in strips for part in (strip, gap)][:-1]
        crops = _webp(np.concatenate(stacked), crops_bytes)
    return Picture(key, _webp(outlined, PICTURE_BYTES - crops_bytes), crops)


def draw_shapes(pixels: NDArray[Any], coloured: Sequence[tuple[Shapes, Colour]] = ()) -> bytes:
    """Return a picture (WebP) of a plane ``(Y, X)`` with outlines, each group in its colour."""
    drawn = [(shapes, np.array(colour, dtype=np.uint8)) for shapes, colour in coloured]
    return _webp(_outlined(_grey(pixels), drawn), PICTURE_BYTES)


def _crop_side(nuclei: Objects) -> int:
    """Return the side of the square around a nucleus that holds most cells, if there are any."""
    for of in nuclei.related:
        if of.name == "Cells" and len(of):
            box = of.table
            sides = np.maximum(box["bottom"] - box["top"], box["right"] - box["left"])
            return max(CROP_PX, int(1.2 * np.percentile(sides, 90)))
    return CROP_PX


def _strip(plane: NDArray[np.uint8], points: NDArray[np.int_], side: int) -> NDArray[np.uint8]:
    """Return the surroundings of some points side by side, each `CROP_PX` wide."""
    from PIL import Image

    padded = np.pad(plane, side // 2 + 1)
    strip = np.zeros((CROP_PX, len(points) * (CROP_PX + _GAP_PX) - _GAP_PX), dtype=np.uint8)
    for at, (y, x) in enumerate(points + 1):
        crop = padded[y : y + side, x : x + side]
        if side > CROP_PX:
            small = Image.fromarray(crop).resize((CROP_PX, CROP_PX), Image.Resampling.BOX)
            crop = np.asarray(small)
        left = at * (CROP_PX + _GAP_PX)
        strip[:, left : left + CROP_PX] = crop
    return strip


class PictureStore:
    """Keeps the pictures of the lowest ranks in the output folder; threads may share it.

    Parameters
    ----------
    folder : Path
        The output folder; pictures are in ``pictures/`` there.
    budget_bytes : int
        Size limit of all pictures together; 0 for none.
    """

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self.folder = folder
        self.budget_bytes = budget_bytes
        self._most = max(0, budget_bytes) // PICTURE_BYTES
        self._lock = threading.Lock()
        found = inside(folder, PICTURES).glob("*.webp")
        names = (_NAME.fullmatch(path.name) for path in found)
        self._kept = sorted({name[1] for name in names if name})

    def wants(self, key: str) -> bool:
        """Return whether a picture of this rank would be kept now."""
        with self._lock:
            return bisect_left(self._kept, key) < self._most

    def keep(self, pictures: Iterable[Picture]) -> None:
        """Write pictures within the budget and delete those beyond it.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        with self._lock:
            new = {picture.key: picture for picture in pictures}
            ranks = sorted({*self._kept, *new})
            kept, out = ranks[: self._most], ranks[self._most :]
            for key in kept:
                if key in new:
                    self._write(new[key])
            for key in out:
                self._delete(key)
            self._kept = kept

    def forget(self, keys: Iterable[str]) -> None:
        """Delete pictures."""
        with self._lock:
            for key in keys:
                if key in self._kept:
                    self._kept.remove(key)
                    self._delete(key)

    def _write(self, picture: Picture) -> None:
        for name, content in zip(_names(picture.key), (picture.frame, picture.crops), strict=True):
            path = inside(self.folder, f"{PICTURES}/{name}")
            if not content:
                path.unlink(missing_ok=True)
                continue
            with atomic_file(path) as file:
                file.write(content)

    def _delete(self, key: str) -> None:
        for name in _names(key):
            inside(self.folder, f"{PICTURES}/{name}").unlink(missing_ok=True)


def pictures_bytes(size: str | int | None) -> int:
    """Return the space for example pictures that an option names; 0 for none."""
    return 0 if size in (0, "0") else parse_size(size) or 0


def picture_paths(folder: Path, key: str) -> tuple[Path, Path]:
    """Return the paths of a frame's pictures, frame and nuclei; they may not exist.

    Raises
    ------
    StorageError
        If one is a link, or their folder.
    """
    frame, crops = _names(key)
    return inside(folder, f"{PICTURES}/{frame}"), inside(folder, f"{PICTURES}/{crops}")


def _names(key: str) -> tuple[str, str]:
    return f"{key}_frame.webp", f"{key}_nuclei.webp"


def _grey(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a frame in 8 bits, stretched between percentiles."""
    low, high = np.percentile(pixels, (1, 99.8)) if pixels.size else (0, 1)
    scaled = (pixels.astype(np.float32) - low) * (255 / max(high - low, 1))
    grey: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return grey


def _outlined(
    grey: NDArray[np.uint8], coloured: Sequence[tuple[Shapes, NDArray[np.uint8]]]
) -> NDArray[np.uint8]:
    """Return a downscaled frame in colour with outlines one pixel wide."""
    from PIL import Image

    scale = min(1.0, FRAME_PX / max(grey.shape))
    height, width = (max(1, round(length * scale)) for length in grey.shape)
    small = Image.fromarray(grey).resize((width, height), Image.Resampling.BOX)
    picture = np.repeat(np.asarray(small)[:, :, None], 3, axis=2)
    for shapes, colour in coloured:
        if shapes:
            points = (np.concatenate(shapes) + 0.5) * scale - 0.5
            rows, columns = np.rint(points).astype(int).T
            picture[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)] = colour
    return picture


def _cross(point: NDArray[np.float64]) -> NDArray[np.int64]:
    y, x = np.rint(point).astype(np.int64)
    along = np.arange(-3, 4)
    return np.concatenate(
        [np.stack([along + y, along * 0 + x], 1), np.stack([along * 0 + y, along + x], 1)]
    )


def _webp(pixels: NDArray[np.uint8], most_bytes: int) -> bytes:
    """Return a picture as WebP of at most so many bytes, reducing quality as needed."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    while True:
        for quality in _QUALITIES:
            packed = io.BytesIO()
            picture.save(packed, "WEBP", quality=quality, method=4)
            if packed.tell() <= most_bytes:
                return packed.getvalue()
        picture = picture.resize((picture.width // 2, picture.height // 2))
