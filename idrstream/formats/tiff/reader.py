"""TIFF and OME-TIFF by tifffile, page by page, without Java."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from idrstream.errors import FrameError, MovieError, StorageError, storage_error
from idrstream.formats.cellh5.hdf5_guard import MAX_FRAME_PIXELS, MAX_FRAMES
from idrstream.formats.movie_checks import (
    channel_to_read,
    check_pixel_type,
    frame_problem,
    hole,
    image_to_read,
    planes_to_read,
)
from idrstream.formats.projection import Projection, projected
from idrstream.formats.reader import BaseReader, ImageSizes, MovieInfo, Pixels
from idrstream.formats.tiff.images import Place, TiffImage, images_of, images_of_companion
from idrstream.formats.tiff.pages import DAMAGED, TiffFile, check_page, check_storage
from idrstream.formats.tiff.structure import Structure, TiffError, is_tiff, read_structure
from idrstream.opening import inside, open_regular, read_regular

_OPEN_FILES = 16
_KEPT = 4  # structures: of the movies that are read at the same time
_MOST_XML_BYTES = 2**26


def is_companion(path: Path) -> bool:
    """Return whether a file is OME-XML beside the files of its planes, by its name."""
    return path.name.lower().endswith(".companion.ome")


def images_in(path: Path) -> tuple[TiffImage, ...]:
    """Return the images of a TIFF file or companion; none of what is not read here."""
    try:
        if is_companion(path):
            return images_of_companion(_text_of(path))
        if is_tiff(path):
            with open_regular(path) as file:
                return images_of(read_structure(file), path.name)
    except TiffError:  # the reader says what is wrong, or another one reads it
        pass
    return ()


def _text_of(companion: Path) -> str:
    return read_regular(companion, _MOST_XML_BYTES).decode("utf-8", "replace")


class TiffReader(BaseReader):
    """Reads TIFF, BigTIFF and OME-TIFF, also of several files; needs no Java.

    Channels, planes, frames and sites are those of the OME-XML or of ImageJ's description;
    without either the pages are frames. A file's images are those that have a plane in it: of a
    plate in many files, the wells that are in this one. Planes in other files are read from those
    beside it. A ``.companion.ome`` names them all.

    Parameters
    ----------
    channel, z, projection
        See `BaseReader`.
    series : int, optional
        Image of a file to read, counted from 0; by default that of the site.
    """

    name = "tiff"
    selects = BaseReader.selects | {"series", "site", "alone"}

    def __init__(
        self,
        *,
        channel: int = 0,
        z: int | None = None,
        projection: Projection | None = None,
        series: int | None = None,
    ) -> None:
        super().__init__(channel=channel, z=z, projection=projection)
        self.selection = replace(self.selection, series=series)
        self._last: list[tuple[object, Structure]] = []

    def info(self, path: Path) -> MovieInfo:
        """Return what the movie has; see `MovieReader.info`."""
        with self._open(path) as stored:
            return stored.info

    def sizes(self, path: Path) -> ImageSizes:
        """Return how many images, channels and planes a file has; see `BaseReader.sizes`."""
        with self._open(path) as stored:
            image = stored.image
            n_channels, n_planes, _ = image.sizes
            n_files = len({place.file for place in image.places.values()} | {""})
            return ImageSizes(stored.n_images, n_channels, n_planes, n_files, image.spacing_um)

    def read(self, path: Path, numbers: Sequence[int]) -> dict[int, Pixels | FrameError]:
        """Read frames; see `MovieReader.read`."""
        with self._open(path) as stored:
            return {number: stored.frame(number) for number in numbers}

    @contextmanager
    def _open(self, path: Path) -> Iterator[_Stored]:
        path = Path(path)
        files = _Files(path.parent)
        try:
            if is_companion(path):
                images = self._companion_images(path)
                image = images[image_to_read(path, len(images), self.selection)]
            else:
                structure = self._structure(files.add("", open_regular(path)))
                images = self._images(path, structure)
                image = images[image_to_read(path, len(images), self.selection)]
                first = next((at.page for at in image.places.values() if not at.file), 0)
                check_storage(structure.pages[0 if image.raw else first])
            channel = channel_to_read(path, image.sizes[0], self.selection)
            planes = planes_to_read(path, image.sizes[1], self.selection)
            info = _info(path, image)
            how = self.selection.projection
            yield _Stored(path, image, info, files, channel, planes, how, len(images))
        except TiffError as error:
            msg = f"{path} {error}"
            raise MovieError(msg) from error
        except OSError as error:
            if (stops := storage_error(error)) is not None:
                raise stops from error
            msg = f"{path} cannot be read: {error.strerror or error}"
            raise MovieError(msg) from error
        finally:
            files.close()

    def _structure(self, file: TiffFile) -> Structure:
        """Return the structure of a file, which is not walked again for every group of frames."""
        status = os.fstat(file.file.fileno())
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        known = next((kept for key, kept in list(self._last) if key == identity), None)
        if known is None:
            self._last[:] = [*self._last[1 - _KEPT :], (identity, file.structure)]
        else:
            file.structure = known
        return file.structure

    def _images(self, path: Path, structure: Structure) -> tuple[TiffImage, ...]:
        images = images_of(structure, path.name)
        if self.selection.alone:
            own = [one.alone() for one in images]
            images = tuple(one for one in own if one.places)
        return images

    @staticmethod
    def _companion_images(path: Path) -> tuple[TiffImage, ...]:
        return images_of_companion(_text_of(path))


def _info(path: Path, image: TiffImage) -> MovieInfo:
    check_pixel_type(path, image.kind)
    height, width = image.shape
    n_frames = image.sizes[2]
    if height * width > MAX_FRAME_PIXELS:
        msg = f"{path} states frames of {height:,} x {width:,} pixels: too many to read at once"
        raise MovieError(msg)
    if n_frames > MAX_FRAMES:
        msg = f"{path} states {n_frames:,} frames: not a microscope's movie"
        raise MovieError(msg)
    return MovieInfo(n_frames, image.shape, image.kind, (True,) * n_frames, image.channels)


@dataclass(frozen=True, slots=True)
class _Stored:
    """One image of an open file."""

    path: Path
    image: TiffImage
    info: MovieInfo
    files: _Files
    channel: int
    planes: range
    projection: Projection | None
    n_images: int

    def frame(self, number: int) -> Pixels | FrameError:
        problem = frame_problem(self.info, number, self.path)
        if problem is not None:
            return problem
        return projected((self._plane(number, z) for z in self.planes), self.projection)

    def _plane(self, number: int, z: int) -> Pixels | FrameError:
        place = self.image.places.get((self.channel, z, number - 1))
        what = f"frame {number} of {self.path}"
        if place is None:
            return FrameError(f"{what}: its channel {self.channel}, plane {z} is in no page")
        try:
            pixels = self._pixels(place)
        except (TiffError, StorageError, *DAMAGED) as error:
            if isinstance(error, OSError) and (stops := storage_error(error)) is not None:
                raise stops from error
            where = f" ({place.file})" if place.file else ""
            return FrameError(f"{what} cannot be decoded{where}: {error}")
        return hole(pixels, number, self.path) or pixels

    def _pixels(self, place: Place) -> Pixels:
        file = self.files.open(place.file)
        if self.image.raw:
            return file.raw(self.info, place.page)
        if place.page >= len(file.structure.pages):
            msg = f"it has {len(file.structure.pages)} pages, not {place.page + 1}"
            raise TiffError(msg, cut=True)
        page = file.structure.pages[place.page]
        check_page(page, self.info)
        pixels = file.decode(page, place.page)
        if pixels.shape != self.info.shape:
            msg = f"it decodes to the shape {pixels.shape}"
            raise TiffError(msg)
        return np.ascontiguousarray(pixels.astype(self.info.dtype, copy=False))


class _Files:
    """The open files of an image, at most some at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: OrderedDict[str, TiffFile] = OrderedDict()

    def add(self, name: str, file: BinaryIO) -> TiffFile:
        try:
            self._open[name] = found = TiffFile(file)
        except BaseException:
            file.close()
            raise
        return found

    def open(self, name: str) -> TiffFile:
        """Return a file beside the first; nothing outside its folder is opened."""
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        path = inside(self.folder, name)
        if not path.exists():
            msg = f"the file {name[:200]!r} that its metadata name is not beside it"
            raise TiffError(msg)
        if len(self._open) > _OPEN_FILES:
            oldest = next(known for known in self._open if known)  # the first file stays
            self._open.pop(oldest).file.close()
        return self.add(name, open_regular(path))

    def close(self) -> None:
        for one in self._open.values():
            one.file.close()
