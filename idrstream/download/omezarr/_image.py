"""OME-NGFF metadata: the image of a well's field, and the meaning of its axes.

Versions 0.1 to 0.5 of https://ngff.openmicroscopy.org: the last on Zarr 3, with the metadata under
the attribute ``ome``, those before on Zarr 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from numpy.typing import NDArray

from idrstream.download.omezarr._array import ZarrArray
from idrstream.download.omezarr._limits import (
    MOST_CHUNKS,
    MOST_PIXELS,
    MOST_PLANE_BYTES,
    MOST_POSITIONS,
)
from idrstream.download.omezarr._store import Store
from idrstream.errors import DownloadError, MovieError, RemoteFileNotFoundError

_AXES = "ctzyx"
# Versions whose images have the axes t, c, z, y, x and do not say so.
_WITHOUT_AXES = ("0.1", "0.2")


@dataclass(frozen=True, slots=True)
class Group:
    """A group of a hierarchy.

    Attributes
    ----------
    path : str
        Path under the store's root.
    zarr_format : int
        2 or 3.
    attributes : Mapping[str, Any]
        Its OME attributes.
    """

    path: str
    zarr_format: int
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ZarrImage:
    """An image at full resolution.

    Attributes
    ----------
    array : ZarrArray
        Its pixels.
    axes : tuple of str
        Name of each axis of the array; any of c, t, z, y and x, in the array's order.
    channels : tuple of str
        Names of the channels in its OMERO metadata; empty if not all have one.
    """

    array: ZarrArray
    axes: tuple[str, ...]
    channels: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """``(c, t, z, y, x)``; 1 for a missing axis."""
        found = dict(zip(self.axes, self.array.shape, strict=True))
        c, t, z, y, x = (found.get(name, 1) for name in _AXES)
        return c, t, z, y, x

    def plane(self, c: int, t: int, z: int) -> NDArray[Any]:
        """Return one plane of shape ``(y, x)``, in native byte order; see `ZarrArray.read`."""
        positions = {"c": c, "t": t, "z": z}
        fixed = {i: positions[name] for i, name in enumerate(self.axes) if name in positions}
        plane = self.array.read(fixed)
        return plane if self.axes.index("y") < self.axes.index("x") else plane.T


def open_group(store: Store, path: str = "", zarr_format: int | None = None) -> Group | None:
    """Read the OME attributes of a group, by default of either Zarr version; None if there is none.

    Raises
    ------
    MovieError
        If its metadata cannot be understood.
    """
    nonsense: MovieError | None = None
    if zarr_format in (None, 3):
        try:
            metadata = store.read_json(f"{path}/zarr.json".lstrip("/"))
            if metadata is not None:
                attributes = _mapping(metadata.get("attributes"))
                attributes = _mapping(attributes.get("ome")) or attributes
                if zarr_format == 3 or metadata.get("zarr_format") == 3:
                    return Group(path, 3, attributes)
                msg = f"{store.root}/{path}/zarr.json says nothing of Zarr 3"
                raise MovieError(msg)
        except MovieError as error:  # some servers answer everything that they lack with a page
            if zarr_format == 3:
                raise
            nonsense = error
    if zarr_format in (None, 2):
        metadata = store.read_json(f"{path}/.zattrs".lstrip("/"))
        if metadata is not None:
            return Group(path, 2, metadata)
    if nonsense is not None:
        raise nonsense
    return None


def top_group(store: Store) -> Group:
    """Return the group at the root of a store.

    Raises
    ------
    DownloadError
        If there is none, or something else stands in its place; `RemoteFileNotFoundError` if
        the source says that it has none.
    """
    try:
        group = open_group(store)
    except MovieError as error:  # such as a web page that stands for "not found"
        msg = f"no OME-Zarr found: {error}"
        raise DownloadError(msg) from error
    if group is not None:
        return group
    msg = f"no OME-Zarr found: {store.root} has neither .zattrs nor zarr.json"
    if store.refused:
        msg = f"{msg}; the server refuses what it does not have or does not show"
        raise DownloadError(msg)
    raise RemoteFileNotFoundError(msg)


def open_image(store: Store, group: Group, *, fill: bool = False) -> ZarrImage:
    """Open the full resolution of an image; `fill` fills missing chunks.

    Raises
    ------
    MovieError
        If the group is not an image, or its axes are not supported.
    """
    where = f"{store.root}/{group.path}".rstrip("/")
    try:
        multiscale = group.attributes["multiscales"][0]
        level = str(multiscale["datasets"][0]["path"])
        if "axes" not in multiscale and multiscale.get("version", "0.1") in _WITHOUT_AXES:
            names = list("tczyx")
        else:
            names = [_axis_name(axis) for axis in multiscale["axes"]]
    except (LookupError, TypeError, AttributeError) as error:
        msg = f"{where} is not an OME-Zarr image: its multiscales metadata lack {error}"
        raise MovieError(msg) from error
    if len(set(names)) != len(names) or set(names) - set(_AXES) or not {"y", "x"} <= set(names):
        msg = f"{where} has the axes {names}; known are t, c, z, y and x, and y and x are needed"
        raise MovieError(msg)
    array = ZarrArray(store, f"{group.path}/{level}".strip("/"), group.zarr_format, fill=fill)
    if len(array.shape) != len(names):
        msg = f"{where} has {len(names)} axes, but level {level} has {len(array.shape)} dimensions"
        raise MovieError(msg)
    image = ZarrImage(array, tuple(names))
    problem = _size_problem(image)
    if problem:
        msg = f"{where}: {problem}: not a microscope's image"
        raise MovieError(msg)
    channels = channels_of(group)
    return replace(image, channels=channels if len(channels) == image.shape[0] else ())


def channels_of(group: Group) -> tuple[str, ...]:
    """Return the names of an image's channels in its OMERO metadata; empty if one has none."""
    listed = _mapping(group.attributes.get("omero")).get("channels")
    labels = [_mapping(one).get("label") for one in listed] if isinstance(listed, list) else []
    names = tuple(str(label).strip() for label in labels if isinstance(label, str))
    return names if len(names) == len(labels) and all(names) else ()


def _size_problem(image: ZarrImage) -> str:
    """Return what is larger than in images of microscopes; the metadata may state anything."""
    sizes = dict(zip(image.axes, image.array.shape, strict=True))
    chunks = dict(zip(image.axes, image.array.chunks, strict=True))
    for name, most in MOST_POSITIONS.items():
        if sizes.get(name, 1) > most:
            return f"its axis {name} has {sizes[name]:,} positions, more than {most:,}"
    if sizes["y"] * sizes["x"] > MOST_PIXELS:
        return f"it states planes of {sizes['y']} x {sizes['x']} pixels"
    n_chunks = -(-sizes["y"] // chunks["y"]) * -(-sizes["x"] // chunks["x"])
    if n_chunks > MOST_CHUNKS:
        return f"it keeps a plane in {n_chunks:,} chunks, more than {MOST_CHUNKS:,}"
    n_bytes = n_chunks * prod(image.array.chunks) * image.array.dtype.itemsize
    too_many = n_bytes > MOST_PLANE_BYTES
    return f"the chunks that a plane is in have {n_bytes:,} bytes" if too_many else ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _axis_name(axis: Any) -> str:
    # Version 0.3 has plain names.
    return str(axis["name"] if isinstance(axis, Mapping) else axis).lower()
