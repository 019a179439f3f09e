"""The images of a TIFF file, and where each of their planes is.

What tells the axes: OME-XML; ImageJ's description; nothing, then pages are frames.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from idrstream.formats.cellh5.hdf5_guard import MAX_FRAMES
from idrstream.formats.tiff.ome import UNKNOWN_SPACING, OmeFile, OmeImage, is_ome, read_ome
from idrstream.formats.tiff.structure import Structure, TiffError

_IMAGEJ = re.compile(r"^(images|channels|slices|frames)=(\d{1,7})\s*$", re.MULTILINE)
_UIC, _LSM, _NDPI = 33629, 34412, 65420  # tags of formats that keep planes in another way


class Place(NamedTuple):
    """Where a plane is.

    Attributes
    ----------
    file : str
        Name of the file; empty for the file itself.
    page : int
        Its page, counted from 0.
    """

    file: str
    page: int


@dataclass(frozen=True, slots=True)
class TiffImage:
    """One image of a file.

    Attributes
    ----------
    shape : tuple of int
        ``(Y, X)`` in pixels.
    kind : str
        Type of the pixels.
    channels : tuple of str
        Names of the channels; empty if unknown.
    sizes : tuple of int
        Numbers of channels, z-planes and frames.
    places : Mapping
        Where the planes are, by ``(c, z, t)`` counted from 0.
    raw : bool
        Whether only the first plane has a directory and the others follow its pixels, as ImageJ
        writes large stacks.
    spacing_um : tuple of float
        Distance of planes, rows and columns in micrometres; NaN where unknown.
    """

    shape: tuple[int, int]
    kind: str
    channels: tuple[str, ...]
    sizes: tuple[int, int, int]
    places: Mapping[tuple[int, int, int], Place]
    raw: bool = False
    spacing_um: tuple[float, float, float] = UNKNOWN_SPACING

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the other files that it is in."""
        return tuple(dict.fromkeys(place.file for place in self.places.values() if place.file))

    def alone(self) -> TiffImage:
        """Return what of it is in the file itself: its channels, planes and frames."""
        own = {at: place for at, place in self.places.items() if not place.file}
        axes = [sorted({at[axis] for at in own}) for axis in range(3)]
        places = {
            tuple(axes[axis].index(at[axis]) for axis in range(3)): place
            for at, place in own.items()
        }
        names = tuple(self.channels[c] for c in axes[0]) if self.channels else ()
        sizes = tuple(map(len, axes))
        return replace(self, channels=names, sizes=sizes, places=places)  # type: ignore[arg-type]


def images_of(structure: Structure, name: str) -> tuple[TiffImage, ...]:
    """Return the images that have a plane in a file.

    Parameters
    ----------
    structure : Structure
        The file's pages.
    name : str
        Its name; a downloaded file's may have something in front of the one in the metadata.

    Raises
    ------
    TiffError
        If the file is of a kind that is not read here, or its metadata contradict its pages.
    """
    first = structure.pages[0]
    if first.tags & {_LSM, _NDPI} or (_UIC in first.tags and len(structure.pages) == 1):
        msg = 'is a LSM, NDPI or MetaMorph stack: set reader = "bioformats"'
        raise TiffError(msg)
    if is_ome(structure.description):
        ome = read_ome(structure.description)
        if ome.images or not ome.elsewhere:
            return _ome_images(ome, structure, name)
        if len(structure.pages) > 1:
            msg = (
                f"has its metadata in {ome.elsewhere[:200]!r}, which says what its pages are: name "
                "a file with metadata of its own"
            )
            raise TiffError(msg)
    if structure.description.startswith("ImageJ="):
        return (_imagej_image(structure),)
    pages = [number for number, page in enumerate(structure.pages) if not page.reduced]
    places = {(0, 0, t): Place("", page) for t, page in enumerate(pages)}
    return (TiffImage(first.shape, first.kind, (), (1, 1, len(pages)), places),)


def images_of_companion(text: str) -> tuple[TiffImage, ...]:
    """Return the images of an OME-XML file beside the files of its planes.

    Raises
    ------
    TiffError
        If it cannot be understood, or an image does not say which files it is in.
    """
    found = tuple(
        _ome_image(image, None, lambda file, _uuid: file, MAX_FRAMES)
        for image in read_ome(text).images
    )
    if not found or not all(p.file for image in found for p in image.places.values()):
        msg = "has no image, or one that does not say which files it is in"
        raise TiffError(msg)
    return found


def _imagej_image(structure: Structure) -> TiffImage:
    """Return the one image of a file of ImageJ: channels are fastest, then planes, then frames."""
    stated = {key: int(value) for key, value in _IMAGEJ.findall(structure.description)}
    c, z, t = (stated.get(axis, 1) for axis in ("channels", "slices", "frames"))
    count, pages = stated.get("images", 1), len(structure.pages)
    if c * z * t != count:  # a plain stack: its images are frames
        c, z, t = 1, 1, count
    if not 1 <= count <= MAX_FRAMES:
        msg = f"has a description of {count:,} images"
        raise TiffError(msg)
    raw = pages == 1 < count
    if not raw and pages < count:
        msg = f"has {pages} of {count} pages"
        raise TiffError(msg, cut=True)
    first = structure.pages[0]
    end = first.data_start + count * first.n_bytes
    if raw and structure.size < end:
        msg = f"is truncated: has {structure.size:,} bytes, its {count} planes reach to {end:,}"
        raise TiffError(msg, cut=True)
    order = [(i, j, k) for k in range(t) for j in range(z) for i in range(c)]
    places = {at: Place("", number) for number, at in enumerate(order)}
    return TiffImage(first.shape, first.kind, (), (c, z, t), places, raw)


def _ome_images(ome: OmeFile, structure: Structure, name: str) -> tuple[TiffImage, ...]:
    files = {planes.file for image in ome.images for planes in image.planes if planes.file}
    uuids = {planes.uuid for image in ome.images for planes in image.planes}
    own = {file for file in files if name == file or name.endswith(f"_{file}")}

    def other(file: str, uuid: str) -> str:
        """Return the name of the file that planes are in; empty for the file itself."""
        known = ome.uuid in uuids if ome.uuid else False
        is_own = uuid == ome.uuid if known else file in own
        return "" if not file or is_own or len(files) < 2 else file

    found: list[TiffImage] = []
    left = MAX_FRAMES
    for image in ome.images:
        if any(not other(planes.file, planes.uuid) for planes in image.planes):
            found.append(_ome_image(image, structure, other, left))
            left -= len(found[-1].places)
    if not found:
        msg = f"has OME-XML of other files only: {', '.join(sorted(files))[:200] or 'none'}"
        raise TiffError(msg)
    return tuple(found)


def _ome_image(
    image: OmeImage, structure: Structure | None, other: Callable[[str, str], str], most: int
) -> TiffImage:
    places: dict[tuple[int, int, int], Place] = {}
    for planes in image.planes:
        file = other(planes.file, planes.uuid)
        for at, page in image.positions(planes):
            places[at] = Place(file, page)
            if (most := most - 1) < 0:
                msg = f"has OME-XML of more than {MAX_FRAMES:,} planes"
                raise TiffError(msg)
    own = [place.page for place in places.values() if not place.file]
    if structure is not None and own and max(own) >= len(structure.pages):
        msg = f"has {len(structure.pages)} of {max(own) + 1} pages"
        raise TiffError(msg, cut=True)
    if image.samples > 1:
        msg = "is a colour (RGB) image; only separate channels are read"
        raise TiffError(msg)
    return TiffImage(
        image.shape, image.kind, image.channels, image.sizes, places, spacing_um=image.spacing_um
    )
