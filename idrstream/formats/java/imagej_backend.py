"""ImageJ inside the Java process, by pyimagej.

With a local Fiji.app the JVM is started here on Fiji's own jars, before ``imagej.init``: that
keeps scyjava from fetching a JDK and from resolving the Maven coordinates it has collected. Only
a Maven coordinate is downloaded.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np

from idrstream.formats.java.bioformats_backend import INSTALL_JAVA
from idrstream.formats.java.protocol import ImageProblemError, MissingError, identity

_INSTALL = 'pip install "idrstream[imagej]"'
# Names pyimagej gives to axes, by what they are here.
_AXES = {
    "t": ("t", "time", "frame"),
    "z": ("pln", "z"),
    "y": ("row", "y"),
    "x": ("col", "x"),
    "c": ("ch", "channel", "c"),
}


class ImageJ:
    """Opens movies with ImageJ; keeps the last one as an array.

    Parameters
    ----------
    location : str
        A Fiji.app folder or a Maven coordinate.
    folder : str
        Folder for Java's temporary files.
    """

    def __init__(self, location: str, folder: str) -> None:
        try:
            import imagej
            import scyjava
        except ImportError as error:
            msg = f"pyimagej is not installed ({error}): {_INSTALL}"
            raise MissingError(msg) from error
        scyjava.config.add_option(f"-Djava.io.tmpdir={folder}")
        if os.path.isdir(location):  # noqa: PTH112, a location may also be a coordinate
            _start_on_fiji(scyjava, location)
            # As imagej.init does itself when it starts Java: Java 17 forbids reflection.
            unlock = getattr(imagej, "_unlock_modules", None)
            if unlock is not None:
                unlock(logging.getLogger("imagej"))
            self._ij = imagej.init(mode=imagej.Mode.HEADLESS)
        else:
            scyjava.config.set_java_constraints(fetch="auto")
            self._ij = imagej.init(location, mode=imagej.Mode.HEADLESS)
        if not self._ij:
            msg = f"{location} has no ImageJ2: give a complete Fiji.app"
            raise MissingError(msg)
        self._opened: tuple[str, int, int, int] | None = None
        self._movie: Any = None

    def info(self, path: str, image: int) -> dict[str, Any]:  # noqa: ARG002, always the first
        """Return what a movie has; how many images its file has ImageJ does not say."""
        n_frames, n_channels, n_planes, height, width = self._open(path).shape
        return {
            "n_images": 1,
            "n_frames": n_frames,
            "n_planes": n_planes,
            "n_channels": n_channels,
            "height": height,
            "width": width,
            "dtype": self._movie.dtype.name,
        }

    def plane(self, path: str, image: int, t: int, channel: int, z: int) -> bytes:  # noqa: ARG002
        """Return one plane, little-endian."""
        plane = self._open(path)[t, channel, z]
        return bytes(plane.astype(plane.dtype.newbyteorder("<"), copy=False).tobytes())

    def close(self) -> None:
        """Let go of the movie that is held."""
        self._opened = self._movie = None

    def _open(self, path: str) -> Any:
        wanted = identity(path)
        if self._opened != wanted:
            self.close()
            opened = self._ij.io().open(path)
            if opened is None:
                msg = "ImageJ does not know this format"
                raise ImageProblemError(msg)
            image = self._ij.py.from_java(opened)
            self._movie = to_tczyx(np.asarray(image), tuple(getattr(image, "dims", ())))
            self._opened = wanted
        return self._movie


def to_tczyx(array: Any, dims: tuple[str, ...]) -> Any:
    """Return an array with its axes in the order t, c, z, y, x.

    Parameters
    ----------
    array : ndarray
        As pyimagej hands it over.
    dims : tuple of str
        Its axes, for example ``('t', 'row', 'col', 'ch')``.

    Returns
    -------
    ndarray
        Five axes; those that were not there have length 1.
    """
    names = [
        next((axis for axis, known in _AXES.items() if str(dim).lower() in known), None)
        for dim in dims
    ]
    if None in names or len(set(names)) != array.ndim or not {"y", "x"} <= set(names):
        msg = f"ImageJ gives axes {dims} that are not understood"
        raise ImageProblemError(msg)
    order = [names.index(axis) for axis in "tczyx" if axis in names]
    shape = [array.shape[names.index(axis)] if axis in names else 1 for axis in "tczyx"]
    return array.transpose(order).reshape(shape)


def _start_on_fiji(scyjava: Any, fiji: str) -> None:
    """Start Java on the jars of a Fiji.app, without looking at the network."""
    config = scyjava.config
    jars = [jar for part in ("jars", "plugins") for jar in config.find_jars(f"{fiji}/{part}")]
    if not jars:
        msg = f"{fiji} has no jars: give a complete Fiji.app (https://fiji.sc)"
        raise MissingError(msg)
    config.endpoints.clear()
    config.set_java_constraints(fetch="never")
    for option in (
        "-Djava.awt.headless=true",
        f"-Dplugins.dir={fiji}/plugins",
        f"-Dij.dir={fiji}",
        "--add-opens=java.base/java.lang=ALL-UNNAMED",
        "--add-opens=java.base/java.util=ALL-UNNAMED",
    ):
        config.add_option(option)
    config.add_classpath(*jars)
    try:
        scyjava.start_jvm()
    # Java that is missing and jars that are missing come as many kinds of exceptions.
    except Exception as error:
        missing = INSTALL_JAVA
        if scyjava.jvm_started():
            missing = f"{fiji} has no complete ImageJ2: give a complete Fiji.app (https://fiji.sc)"
        msg = f"Java could not be started on {fiji} ({error}): {missing}"
        raise MissingError(msg) from error
