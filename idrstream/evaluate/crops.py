"""Single-cell crops in folders named after their class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ConfigError

_ENDINGS = (".png", ".tif", ".tiff")
_SEPARATOR = "___"


@dataclass(frozen=True, slots=True)
class LabelledCrops:
    """Crops of one size with what is known about them, all in the same order.

    Attributes
    ----------
    pixels : NDArray
        Shape ``(n, Y, X)``, uint8 or uint16.
    classes : tuple of str
        Name of each crop's folder.
    groups : tuple of str
        What each crop came from; crops of one group are never on both sides of a split.
    names : tuple of str
        Path below the folder that was read, with ``/``.
    """

    pixels: NDArray[Any]
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.names)

    def take(self, index: NDArray[Any]) -> LabelledCrops:
        """Return some of the crops; ``index`` holds positions or is a mask."""
        positions = np.arange(len(self))[index]
        return LabelledCrops(
            self.pixels[positions],
            tuple(self.classes[i] for i in positions),
            tuple(self.groups[i] for i in positions),
            tuple(self.names[i] for i in positions),
        )

    def listed_in(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return which crops are named in a list.

        Raises
        ------
        idrstream.errors.ConfigError
            When a name in the list is not among the crops.
        """
        wanted = set(names)
        if missing := sorted(wanted - set(self.names)):
            raise ConfigError(
                f"{len(missing)} of the listed crops are not there, the first is {missing[0]}"
            )
        return np.array([name in wanted for name in self.names])


def read_crops(folder: Path, group_by: str = "movie") -> LabelledCrops:
    """Read crops from ``<folder>/<class>/<name>.png`` (or TIFF).

    Parameters
    ----------
    folder : Path
        Folder of the classes.
    group_by : {"movie", "screen", "none"}
        What belongs together. File names begin ``<screen>___<position>___``: "movie" takes both
        parts, "screen" the first; "none" lets every crop stand alone.

    Returns
    -------
    LabelledCrops
        Sorted by class and name.

    Raises
    ------
    idrstream.errors.ConfigError
        When there are no crops, their sizes differ, or a name has too few parts.
    """
    paths = sorted(p for p in folder.glob("*/*") if p.suffix.lower() in _ENDINGS)
    if not paths:
        raise ConfigError(f"no <class>/<name>.png or .tif below {folder}")
    pixels = [_read(path) for path in paths]
    shapes = {crop.shape for crop in pixels}
    if len(shapes) > 1:
        raise ConfigError(f"the crops below {folder} have several sizes: {sorted(shapes)}")
    return LabelledCrops(
        np.stack(pixels),
        tuple(path.parent.name for path in paths),
        tuple(_group(path, group_by) for path in paths),
        tuple(path.relative_to(folder).as_posix() for path in paths),
    )


def _group(path: Path, group_by: str) -> str:
    if group_by == "none":
        return str(path)
    parts = path.name.split(_SEPARATOR)
    wanted = {"movie": 2, "screen": 1}.get(group_by)
    if wanted is None:
        raise ConfigError(f"--group-by must be movie, screen or none, not {group_by!r}")
    if len(parts) <= wanted:
        raise ConfigError(
            f"{path.name} does not begin <screen>{_SEPARATOR}<position>{_SEPARATOR}; "
            "use --group-by none"
        )
    return _SEPARATOR.join(parts[:wanted])


def _read(path: Path) -> NDArray[Any]:
    from skimage.io import imread

    try:
        crop = np.asarray(imread(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as an image: {error}") from error
    if crop.ndim != 2 or crop.dtype not in (np.uint8, np.uint16):
        raise ConfigError(
            f"{path} is {crop.dtype} of shape {crop.shape}; grey crops of 8 or 16 bits are needed"
        )
    return crop
