"""Preprocessors from names and paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from idrstream.errors import ConfigError
from idrstream.formats.make import make_reader
from idrstream.formats.reader import MovieReader
from idrstream.preprocess.illumination import (
    FrameContext,
    Illumination,
    NoIllumination,
    PerPlate,
    WholeMovie,
)
from idrstream.preprocess.preprocessor import Preprocessor

IlluminationName = Literal["off", "frames", "movie", "plate"]


def make_illumination(
    name: IlluminationName, models_folder: Path | None = None, *, darkfield: bool = False
) -> Illumination:
    """Return the illumination correction that a name means.

    Parameters
    ----------
    name : {"off", "frames", "movie", "plate"}
        No correction; a model of the frame and its neighbours; of the whole movie; of the
        plate.
    models_folder : Path, optional
        For ``plate``: where the models are kept, beside the results.
    darkfield : bool
        Estimate the darkfield, too.

    Returns
    -------
    Illumination
        Nothing is fitted yet.

    Raises
    ------
    ConfigError
        If there is none of that name, or ``plate`` has no folder.
    """
    makers: dict[str, Callable[[], Illumination]] = {
        "off": NoIllumination,
        "frames": lambda: FrameContext(darkfield),
        "movie": lambda: WholeMovie(darkfield),
        "plate": lambda: PerPlate(_given(models_folder), darkfield=darkfield),
    }
    if name not in makers:
        msg = f"illumination must be one of {', '.join(makers)}, not {name!r}"
        raise ConfigError(msg)
    return makers[name]()


def make_preprocessor(
    reader: str | Path | MovieReader | None = None,
    illumination: IlluminationName | Illumination = "frames",
    *,
    models_folder: Path | None = None,
) -> Preprocessor:
    """Build a preprocessor.

    Parameters
    ----------
    reader : str, Path, MovieReader or None
        As for `make_reader`.
    illumination : str or Illumination
        As for `make_illumination`, or an object.
    models_folder : Path, optional
        For ``plate``: where the models are kept.

    Returns
    -------
    Preprocessor
        Nothing is started or opened yet.

    Raises
    ------
    ConfigError
        If a name means nothing.
    """
    if isinstance(illumination, str):
        illumination = make_illumination(illumination, models_folder)
    return Preprocessor(make_reader(reader), illumination)


def _given(models_folder: Path | None) -> Path:
    if models_folder is None:
        msg = "illumination 'plate' needs models_folder, where the plates' models are kept"
        raise ConfigError(msg)
    return models_folder
