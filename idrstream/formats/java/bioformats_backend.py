"""Bio-Formats inside the Java process.

Uses ``loci.formats.ImageReader`` of the ``bioformats_package.jar`` directly through JPype: the
jar is complete, so nothing is ever fetched. Its series are the images of a file; CellH5 files have
their label images as further series. Smaller copies of an image (pyramids) are none.
"""

from __future__ import annotations

from typing import Any

from idrstream.formats.java.protocol import ImageProblemError, MissingError, identity

INSTALL_JAVA = (
    "no Java was found: install one (Debian: apt-get install default-jre-headless; conda: "
    "conda install openjdk) or set JAVA_HOME"
)
_PIXEL_NAMES = {
    "INT8": "int8",
    "UINT8": "uint8",
    "INT16": "int16",
    "UINT16": "uint16",
    "INT32": "int32",
    "UINT32": "uint32",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "BIT": "bit",
}


def start_jvm(classpath: list[str], folder: str) -> Any:
    """Start Java with a class path; temporary files of Java go to `folder`.

    Returns
    -------
    module
        ``jpype``.
    """
    try:
        import jpype
    except ImportError as error:
        msg = f'JPype is not installed ({error}): pip install "idrstream[imagej]"'
        raise MissingError(msg) from error
    try:
        jpype.getDefaultJVMPath()
        jpype.startJVM(
            "-Djava.awt.headless=true",
            f"-Djava.io.tmpdir={folder}",
            "-XX:-UsePerfData",
            classpath=classpath,
            convertStrings=False,
        )
    except (jpype.JVMNotFoundException, jpype.JVMNotSupportedException) as error:
        msg = f"{INSTALL_JAVA} ({error})"
        raise MissingError(msg) from error
    return jpype


class BioFormats:
    """Reads planes with Bio-Formats; keeps the last file open.

    Parameters
    ----------
    jar : str
        ``bioformats_package.jar``.
    folder : str
        Folder for Java's temporary files.
    """

    def __init__(self, jar: str, folder: str) -> None:
        self._jpype = start_jvm([jar], folder)
        try:
            java = self._jpype.JClass
            java("loci.common.DebugTools").setRootLevel("OFF")
            level = java("loci.formats.in.MetadataLevel").MINIMUM
            self._reader = java("loci.formats.ImageReader")()
            self._reader.setFlattenedResolutions(False)
            self._reader.setMetadataOptions(java("loci.formats.in.DynamicMetadataOptions")(level))
            self._types = java("loci.formats.FormatTools")
        except TypeError as error:
            msg = f"{jar} is not a complete bioformats_package.jar: {error}"
            raise MissingError(msg) from error
        self._opened: tuple[str, int, int, int] | None = None

    def info(self, path: str, image: int) -> dict[str, Any]:
        """Return what a series of a file has."""
        reader = self._open(path, image)
        if reader.getRGBChannelCount() > 1:
            msg = "it is a colour (RGB) image; only separate channels are read"
            raise ImageProblemError(msg)
        return {
            "n_files": len(reader.getUsedFiles()),
            "n_images": int(reader.getSeriesCount()),
            "n_frames": int(reader.getSizeT()),
            "n_planes": int(reader.getSizeZ()),
            "n_channels": int(reader.getSizeC()),
            "height": int(reader.getSizeY()),
            "width": int(reader.getSizeX()),
            "dtype": self._dtype(),
        }

    def plane(self, path: str, image: int, t: int, channel: int, z: int) -> bytes:
        """Return one plane of a series, little-endian."""
        reader = self._open(path, image)
        pixels = bytes(reader.openBytes(reader.getIndex(z, channel, t)))
        if self._dtype() == "uint16" and not reader.isLittleEndian():
            import numpy as np

            return np.frombuffer(pixels, dtype=">u2").astype("<u2").tobytes()
        return pixels

    def _dtype(self) -> str:
        name = str(self._types.getPixelTypeString(self._reader.getPixelType())).upper()
        return _PIXEL_NAMES.get(name, name.lower())

    def close(self) -> None:
        """Let go of the file that is open."""
        self._opened = None
        self._reader.close()

    def _open(self, path: str, image: int) -> Any:
        wanted = identity(path)
        if self._opened != wanted:
            self.close()
            self._reader.setId(path)
            self._opened = wanted
        self._reader.setSeries(image)
        return self._reader
