"""Movies by ImageJ, as the first IDR_stream read them."""

from __future__ import annotations

from pathlib import Path

from idrstream.errors import MissingToolError
from idrstream.formats.java.coordinates import is_coordinate
from idrstream.formats.java.process import JavaReader


class ImageJReader(JavaReader):
    """Reads movies with ImageJ through pyimagej, in a Java process of its own.

    ImageJ loads a whole movie at once: 130 MB for 93 frames of 1344 x 1024 pixels. Needs Java
    (11 or later) and pyimagej (``pip install "idrstream[imagej]"``).

    Parameters
    ----------
    location : Path or str
        A complete Fiji.app folder, used without the network; or a Maven coordinate such as
        ``sc.fiji:fiji:2.14.0``, which is downloaded at the first use.
    channel : int
        Channel to read, counted from 0.
    z : int, optional
        Plane to read, counted from 0; needed only for movies with several.
    start_timeout_s : float
        Time limit for starting Java with the library.
    request_timeout_s : float
        Time limit for one request.
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
