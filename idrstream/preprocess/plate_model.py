"""An illumination model: how it corrects a frame, and its file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from idrstream.errors import ConfigError, FrameError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOG = logging.getLogger("idrstream.preprocess")
FORMAT = "idrstream-illumination-1"


@dataclass(frozen=True, slots=True)
class IlluminationModel:
    """Flatfield and darkfield of an imaging setup.

    Attributes
    ----------
    flatfield : NDArray
        Shape ``(Y, X)``, float32, mean 1: how much light each pixel gets.
    darkfield : NDArray
        Shape ``(Y, X)``, float32, grey levels: offset of each pixel; zeros if it was
        not estimated.
    n_frames : int
        Number of frames it was fitted on.
    context : str
        How they were chosen: ``frames``, ``movie``, ``plate`` or the caller's text.
    source : str
        Where they are from.
    scale : float
        Corrected grey levels per grey level where the flatfield is 1. Always 1: intensities
        keep their meaning from frame to frame.
    """

    flatfield: NDArray[np.float32]
    darkfield: NDArray[np.float32]
    n_frames: int
    context: str
    source: str = ""
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the fields.

        Raises
        ------
        ConfigError
            If the shapes differ or the flatfield is not positive and finite everywhere.
        """
        if self.flatfield.ndim != 2 or self.flatfield.shape != self.darkfield.shape:
            msg = (
                f"flatfield {self.flatfield.shape} and darkfield {self.darkfield.shape} of "
                f"{self.source or 'an illumination model'} must have the same shape (Y, X)"
            )
            raise ConfigError(msg)
        if not (np.isfinite(self.flatfield).all() and self.flatfield.min() > 0):
            msg = f"the flatfield of {self.source or 'an illumination model'} is not positive"
            raise ConfigError(msg)
        if not np.isfinite(self.darkfield).all():
            msg = f"the darkfield of {self.source or 'an illumination model'} is not finite"
            raise ConfigError(msg)

    @property
    def range(self) -> str:
        """Smallest and largest value of the flatfield, for messages."""
        return f"flatfield {self.flatfield.min():.3f} to {self.flatfield.max():.3f}"

    def correct(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return a frame corrected to even illumination.

        Parameters
        ----------
        pixels : NDArray
            Shape ``(Y, X)``, uint8 or uint16. Not changed.

        Returns
        -------
        NDArray
            ``(pixels - darkfield) / flatfield``, rounded and cut to the range of the same type.
            How many pixels were cut at the upper end is logged.

        Raises
        ------
        FrameError
            If the frame has another shape than the model, or its pixels are no integers.
        """
        if pixels.shape != self.flatfield.shape:
            msg = (
                f"a frame of {_size(pixels.shape)} pixels cannot be corrected with the model of "
                f"{self.source or self.context}, which is for {_size(self.flatfield.shape)}"
            )
            raise FrameError(msg)
        if pixels.dtype.kind != "u":
            msg = f"a frame has pixels of type {pixels.dtype}; uint8 and uint16 can be corrected"
            raise FrameError(msg)
        corrected = np.rint((pixels.astype(np.float32) - self.darkfield) / self.flatfield)
        highest = np.iinfo(pixels.dtype).max
        clipped = int(np.count_nonzero(corrected > highest))
        if clipped:
            _LOG.debug("%d pixels became brighter than %d and were cut", clipped, highest)
        result: NDArray[Any] = np.clip(corrected, 0, highest).astype(pixels.dtype)
        return result

    def save(self, path: Path) -> None:
        """Write the model to a file, atomically.

        Parameters
        ----------
        path : Path
            A ``.npz``; its folder is created if missing, an older file replaced. The same model
            gives the same bytes.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        from idrstream.files import atomic_file

        with atomic_file(path) as file:
            np.savez_compressed(
                file,
                format=np.array(FORMAT),
                flatfield=self.flatfield,
                darkfield=self.darkfield,
                n_frames=np.array(self.n_frames),
                context=np.array(self.context),
                source=np.array(self.source),
                scale=np.array(self.scale),
            )

    @classmethod
    def load(cls, path: Path) -> IlluminationModel:
        """Read a model that `save` wrote.

        Parameters
        ----------
        path : Path
            The file.

        Returns
        -------
        IlluminationModel
            As saved.

        Raises
        ------
        ConfigError
            If the file is missing, damaged, or of another format.
        """
        import zipfile

        from idrstream.opening import open_regular

        try:
            with open_regular(path) as opened, np.load(opened, allow_pickle=False) as file:
                found = str(file["format"])
                if found != FORMAT:
                    msg = f"its format is {found!r}, not {FORMAT!r}"
                    raise ValueError(msg)
                return cls(
                    flatfield=file["flatfield"],
                    darkfield=file["darkfield"],
                    n_frames=int(file["n_frames"]),
                    context=str(file["context"]),
                    source=str(file["source"]),
                    scale=float(file["scale"]),
                )
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            msg = (
                f"{path} is not an illumination model of this version ({error}); "
                "delete it to fit it again"
            )
            raise ConfigError(msg) from error


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
