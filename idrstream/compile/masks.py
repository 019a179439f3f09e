"""Label images kept beside the tables, as OME-NGFF labels (version 0.5, on Zarr 3).

A batch has one hierarchy, ``masks/batch_<n>.zarr``; the labels of a site are in
``<plate>/<row>/<column>/<site>/labels/<objects>``, an image with the axes t, y and x at one scale
(https://ngff.openmicroscopy.org/0.5/#labels-md). Position t is frame t + 1 of the movie; frames
that were not segmented have no chunk, and are not in ``idrstream.frames``.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ImageError, JournalError, StorageError
from idrstream.files import delete_folder, move_folder
from idrstream.profile.deepprofiler.project_image import plate_folder
from idrstream.records import KeptFolder

if TYPE_CHECKING:
    from idrstream.records import Frame, ImageTask, Objects

MASKS = "masks"
"""Folder of the masks in the output folder."""
BYTES_A_ROW = 8
"""Of each row of pixels of an object, packed: measured up to 7 with ragged nuclei of 10 to 160."""

_VERSION = "0.5"
_WELL = re.compile(r"([A-Za-z]{1,2})0*([1-9]\d*)", flags=re.ASCII)


class MaskFolder:
    """The masks of a batch in progress.

    Parameters
    ----------
    root : Path
        Where they are until the batch is published.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, frame: Frame, objects: Objects) -> None:
        """Write the labels of a frame, of all kinds of objects.

        Raises
        ------
        ImageError
            If the frame has another size than those of its site before.
        StorageError
            If they cannot be written.
        """
        import zarr

        try:
            site: Any = zarr.open_group(self.root, mode="a").require_group(site_path(frame.task))
            labels = site.require_group("labels")
            names = [kind.name.lower() for kind in objects.kinds]
            labels.attrs["ome"] = {"version": _VERSION, "labels": names}
            for kind in objects.kinds:
                _add_labels(labels, frame, kind)
        except OSError as error:
            msg = f"{self.root} cannot be written: {error}"
            raise StorageError(msg) from error

    def publish(self, target: Path) -> KeptFolder | None:
        """Move the masks to their final place; None if there are none.

        Those that were there are replaced or deleted.

        Raises
        ------
        StorageError
            If they cannot be moved.
        """
        if not self.root.is_dir():
            delete_folder(target)
            return None
        kept = kept_folder(self.root)
        move_folder(self.root, target)
        return kept

    def clear(self) -> None:
        """Delete what there is."""
        shutil.rmtree(self.root, ignore_errors=True)


def masks_path(folder: Path, number: int) -> Path:
    """Return where the masks of a batch are in an output folder."""
    return folder / MASKS / f"batch_{number}.zarr"


def site_path(task: ImageTask) -> str:
    """Return the group of a site, for example ``LT0001_02/A/4/1``."""
    found = _WELL.fullmatch(task.well)
    row, column = (found[1].upper(), found[2]) if found else ("well", str(task.well_number))
    plate = plate_folder(task.plate)
    if plate == "zarr.json":  # the file of every group
        plate = f"plate={plate}"
    return f"{plate}/{row}/{column}/{task.site}"


def read_masks(
    folder: Path | str, plate: str, well: str, frame: int, *, site: int = 1, name: str = "Nuclei"
) -> NDArray[np.int32]:
    """Return the label image of a frame that a stream kept.

    Parameters
    ----------
    folder : path
        Output folder.
    plate, well : str
        As in the table, for example ``LT0001_02`` and ``A4``.
    frame, site : int
        Frame and site, counted from 1.
    name : str
        Kind of the objects.

    Returns
    -------
    NDArray of int32
        Shape ``(Y, X)``; 0 is background. Labels are in the order of the rows of the table. A tile
        at the end of a large image is filled up to the size of the others.

    Raises
    ------
    JournalError
        If the folder has no masks of that frame.
    """
    from idrstream.records import ImageTask

    task = ImageTask(plate, well, 0, (frame,), site)
    for array, frames in _label_images(Path(folder), f"{site_path(task)}/labels/{name.lower()}"):
        if frame in frames:
            labels: NDArray[np.int32] = array[frame - 1]
            return labels
    msg = f"{folder} has no masks of plate {plate} well {well} site {site} frame {frame}"
    raise JournalError(msg)


def kept_folder(root: Path) -> KeptFolder:
    """Return size and digest of all files of a folder and their names."""
    digest, size_bytes = hashlib.sha256(), 0
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        content = path.read_bytes()
        size_bytes += len(content)
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return KeptFolder(size_bytes, digest.hexdigest())


def _label_images(folder: Path, path: str) -> Iterator[tuple[Any, list[int]]]:
    import zarr

    for store in sorted((folder / MASKS).glob("batch_*.zarr")):
        if (store / path / "zarr.json").is_file():
            image: Any = zarr.open_group(store / path, mode="r")
            yield image["0"], list(image.attrs["idrstream"]["frames"])


def _add_labels(labels: Any, frame: Frame, objects: Objects) -> None:
    """Write the labels of one kind of objects into the group of a site."""
    image, t = labels.require_group(objects.name.lower()), frame.number - 1
    if "0" not in image:
        _create(image, frame, objects)
    array = image["0"]
    size = _size(frame)
    if array.shape[1:] != size:
        msg = (
            f"{frame.name} has {_pixels(size)}, and the site's frames before "
            f"{_pixels(array.shape[1:])}: their masks do not fit into one image"
        )
        raise ImageError(msg)
    if array.shape[0] <= t:
        array.resize((t + 1, *array.shape[1:]))
    height, width = frame.shape
    array[t, :height, :width] = objects.labels
    about = dict(image.attrs["idrstream"])
    image.attrs["idrstream"] = {**about, "frames": sorted({*about["frames"], t + 1})}


def _size(frame: Frame) -> tuple[int, int]:
    """Return ``(Y, X)`` of its place in the image: of a tile that of the largest of its image."""
    return frame.shape if frame.tile is None or frame.tile.largest is None else frame.tile.largest


def _pixels(shape: Sequence[int]) -> str:
    return f"{shape[0]} x {shape[1]} pixels"


def _create(image: Any, frame: Frame, objects: Objects) -> None:
    from zarr.codecs import ZstdCodec

    height, width = _size(frame)
    image.create_array(
        "0",
        shape=(0, height, width),
        chunks=(1, height, width),
        dtype="int32",
        compressors=ZstdCodec(level=3),
        dimension_names=("t", "y", "x"),
    )
    axes = [{"name": "t", "type": "time"}, *({"name": n, "type": "space"} for n in "yx")]
    scale = {"type": "scale", "scale": [1.0, 1.0, 1.0]}
    image.attrs["ome"] = {
        "version": _VERSION,
        "multiscales": [
            {
                "name": objects.name.lower(),
                "axes": axes,
                "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
            }
        ],
        "image-label": {"version": _VERSION},
    }
    task = frame.task
    image.attrs["idrstream"] = {
        "plate": task.plate, "well": task.well, "site": task.site, "frames": [],
    }  # fmt: skip
