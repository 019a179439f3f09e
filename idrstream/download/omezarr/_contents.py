"""What is at an OME-Zarr address: the fields of a plate, or an image, without their pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from idrstream.config import DownloadSettings
from idrstream.download.omezarr._image import Group, ZarrImage, open_group, open_image, top_group
from idrstream.download.omezarr._store import Store
from idrstream.download.omezarr._wells import MOST_FIELDS, Field, Well, fields_of, wells_of
from idrstream.errors import DownloadError, ImageError, MovieError, TransientDownloadError
from idrstream.text import counted, shorten_list

_AT_ONCE = 8
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class ZarrField:
    """A field: row and column of its well from 0, its site from 1, its acquisition if told."""

    position: tuple[int, int]
    site: int
    acquisition: str = ""


@dataclass(frozen=True, slots=True)
class ZarrContents:
    """What is at an address.

    Attributes
    ----------
    fields : tuple of ZarrField
        Sorted by well and site. A single image is well A1.
    columns : int
        Columns of the smallest common plate that has all wells, from 384 wells on: a plate may
        list only the columns that it uses.
    channels : tuple of str
        Names of the channels, as the first image that can be read has them.
    planes : int
        z-planes of that image.
    notes : tuple of str
        What is worth knowing: the size of that image, wells without images.
    """

    fields: tuple[ZarrField, ...]
    columns: int
    channels: tuple[str, ...]
    planes: int
    notes: tuple[str, ...]


def contents_at(address: str, settings: DownloadSettings | None = None) -> ZarrContents:
    """Read the metadata of a plate, of each of its wells, and of one image.

    Parameters
    ----------
    address : str
        As for `OmeZarrDownloader`.
    settings : DownloadSettings, optional
        Limits, and the server of ``s3://`` addresses.

    Raises
    ------
    DownloadError, MovieError
        If there is no OME-Zarr with an image, or the metadata cannot be understood.
    """
    settings = settings or DownloadSettings()
    store = Store(address, settings)
    group = top_group(store)
    if "plate" in group.attributes:
        return _of_plate(address, store, group, settings)
    first = group if "multiscales" in group.attributes else open_group(store, "0")
    if first is None:
        msg = f"{address} is OME-Zarr without an image"
        raise DownloadError(msg)
    image = open_image(store, first)
    notes = [_size_text(image)]
    n_images = 1
    try:
        while first is not group and n_images < MOST_FIELDS and _has_image(store, n_images):
            n_images += 1
    except MovieError as error:
        notes.append(f"image {n_images} cannot be understood, nor are later ones read: {error}")
    fields = tuple(ZarrField((0, 0), site) for site in range(1, n_images + 1))
    return ZarrContents(fields, 24, image.channels, image.shape[2], tuple(notes))


def _has_image(store: Store, number: int) -> bool:
    group = open_group(store, str(number))
    return group is not None and "multiscales" in group.attributes


def _of_plate(address: str, store: Store, plate: Group, settings: DownloadSettings) -> ZarrContents:
    wells = wells_of(store, plate)

    def fields(well: Well) -> list[Field] | str:
        try:
            return fields_of(Store(address, settings), well.path, plate.zarr_format)
        except TransientDownloadError:
            raise
        except ImageError as error:  # one well never sinks the plate
            return str(error)

    with ThreadPoolExecutor(min(_AT_ONCE, settings.connections_per_host)) as pool:
        listed = list(zip(wells, pool.map(fields, wells), strict=True))
    found: dict[tuple[int, int], list[ZarrField]] = {}
    paths: list[str] = []
    without: list[str] = []
    named = _acquisitions(plate)
    for well, images in listed:
        if isinstance(images, str) or not images:
            why = f" ({images})" if images else ""
            without.append(f"{well.path}{why}")
        elif well.position is None or well.position in found:
            why = "is on no row and column" if well.position is None else "comes twice"
            without.append(f"{well.path} ({why})")
        else:
            found[well.position] = [
                ZarrField(well.position, site, named.get(image.acquisition, image.acquisition))
                for site, image in enumerate(images, start=1)
            ]
            paths += [f"{well.path}/{image.path}" for image in images[:1]]
    if not found:
        why = f": {shorten_list(without, _SHOWN)}" if without else ""
        msg = f"{address}: none of the {len(wells)} wells that the plate lists has an image{why}"
        raise MovieError(msg)
    image, notes = _first_image(store, paths, plate.zarr_format)
    if without:
        of = f"{len(without)} of the {counted(len(wells), 'well')} that the plate lists"
        notes.append(f"no images of {of}: {shorten_list(without, _SHOWN)}")
    return ZarrContents(
        tuple(field for position in sorted(found) for field in found[position]),
        _columns_of(found),
        image.channels if image else (),
        image.shape[2] if image else 0,
        tuple(notes),
    )


def _first_image(
    store: Store, paths: list[str], zarr_format: int
) -> tuple[ZarrImage | None, list[str]]:
    """Return the first of some images that can be read, and what is worth knowing."""
    problems: list[str] = []
    for path in paths[:_SHOWN]:
        try:
            group = open_group(store, path, zarr_format)
            if group is not None:
                image = open_image(store, group)
                return image, [_size_text(image)]
            problems.append(f"there is no image {path}")
        except TransientDownloadError:
            raise
        except ImageError as error:
            problems.append(str(error))
    return None, [f"its images could not be looked at: {shorten_list(problems, 2)}"]


def _columns_of(positions: Iterable[tuple[int, int]]) -> int:
    rows, columns = (max(numbers) for numbers in zip(*positions, strict=True))
    return next(width for width in (24, 48, 96) if columns < width and rows < width * 2 // 3)


def _size_text(image: ZarrImage) -> str:
    c, t, z, y, x = image.shape
    named = f" ({', '.join(image.channels)})" if image.channels else ""
    planes, channels, frames = counted(z, "plane"), counted(c, "channel"), counted(t, "frame")
    return f"images of {x} x {y} pixels, {planes}, {channels}{named}, {frames}"


def _acquisitions(plate: Group) -> Mapping[str, str]:
    """Return the name of each acquisition, or its number, by its number."""
    listed: Any = plate.attributes["plate"].get("acquisitions")
    entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return {
        str(one["id"]): " ".join(str(one.get("name") or one["id"]).split())[:80]
        for one in entries
        if "id" in one
    }
