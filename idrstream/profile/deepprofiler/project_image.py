"""One frame in the DeepProfiler project, and the names under which DeepProfiler knows it."""

from __future__ import annotations

from dataclasses import dataclass

from idrstream.errors import ImageError
from idrstream.records import ImageTask

# Texts that pandas reads as "no value"; DeepProfiler's tables go through pandas.
_NO_VALUE = frozenset(
    (
        "#n/a",
        "#na",
        "-1.#ind",
        "-1.#qnan",
        "-nan",
        "1.#ind",
        "1.#qnan",
        "<na>",
        "n/a",
        "na",
        "null",
        "nan",
        "none",
    )
)


@dataclass(frozen=True, slots=True)
class ProjectImage:
    """One frame in the project.

    Attributes
    ----------
    task : ImageTask
        The image it belongs to.
    frame_number : int
        Frame number, counted from 1.
    objects : int
        Number of objects in its locations file.
    """

    task: ImageTask
    frame_number: int
    objects: int

    @property
    def name(self) -> str:
        """The frame's name in messages and the log."""
        return f"{self.task.name} frame {self.frame_number}"

    @property
    def plate_folder(self) -> str:
        """Folder of the plate; see `plate_folder`."""
        return plate_folder(self.task.plate)

    @property
    def well(self) -> str:
        """``Metadata_Well`` of the frame: ``<well number>_<frame>``."""
        return f"{self.task.well_number}_{self.frame_number}"

    def file_name(self, channel: str = "") -> str:
        """Return the name of an image file; a site other than 1 and a channel are part of it."""
        site = "" if self.task.site == 1 else f"_s{self.task.site}"
        return f"{self.task.plate}_{self.well}{site}{channel and f'_{channel}'}.tif"

    @property
    def key(self) -> tuple[str, str, str]:
        """``Metadata_Plate``, ``Metadata_Well`` and ``Metadata_Site`` in ``index.csv``."""
        return self.plate_folder, self.well, str(self.task.site)


def plate_folder(plate: str) -> str:
    """Return the name under which DeepProfiler knows a plate: its own, when that is safe.

    DeepProfiler reads ``index.csv`` with types guessed, so that a plate ``0012`` would become
    ``12`` and its locations be looked for in the wrong folder. Names that pandas would change
    get a prefix; the table that is compiled has the true name again.

    Raises
    ------
    idrstream.errors.ImageError
        When the name cannot be a folder's name.
    """
    if not plate or plate in {".", ".."} or any(c in plate for c in "/\\\0\r\n"):
        raise ImageError(f"the plate name {plate!r} cannot be the name of a folder")
    lowered = plate.strip().lower()
    if lowered in _NO_VALUE or lowered in {"true", "false"}:
        return f"plate={plate}"
    try:
        float(plate)
    except ValueError:
        return plate
    kept = plate.isascii() and plate.isdigit() and str(int(plate)) == plate and len(plate) < 18
    return plate if kept else f"plate={plate}"
