"""Preprocessors from settings, and illumination corrections from names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from idrstream.errors import ConfigError
from idrstream.formats.make import READER_NAMES, make_reader
from idrstream.formats.reader import BaseReader, MovieReader, as_reader
from idrstream.plugins import load_plugin
from idrstream.preprocess.base import BasePreprocessor, as_preprocessor
from idrstream.preprocess.channels import ChannelPreprocessor
from idrstream.preprocess.illumination import (
    FrameContext,
    Illumination,
    NoIllumination,
    PerPlate,
    WholeMovie,
)
from idrstream.preprocess.preprocessor import Preprocessor
from idrstream.preprocess.tiles import TilePreprocessor

if TYPE_CHECKING:
    from idrstream.config.sections import PreprocessSettings

IlluminationName = Literal["off", "frames", "movie", "plate"]


def make_illumination(
    name: IlluminationName, models_folder: Path | None = None, *, darkfield: bool = False
) -> Illumination:
    """Return the illumination correction of a name.

    Parameters
    ----------
    name : {"off", "frames", "movie", "plate"}
        No correction; a model of the frame and its neighbours; of the whole movie; of the
        plate.
    models_folder : Path, optional
        For ``plate``: where the models are kept, beside the results.
    darkfield : bool
        Also estimate the darkfield.

    Returns
    -------
    Illumination
        Nothing is fitted yet.

    Raises
    ------
    ConfigError
        If the name is unknown, or ``plate`` has no folder.
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
    settings: PreprocessSettings, models_folder: Path, *, reader: MovieReader | None = None
) -> BasePreprocessor:
    """Build a preprocessor from its settings.

    Parameters
    ----------
    settings : PreprocessSettings
        Reader and illumination.
    models_folder : Path
        Where models of plates are kept.
    reader : MovieReader, optional
        A reader to use instead of the one that the settings name.

    Returns
    -------
    BasePreprocessor
        For one channel, for several, or for tiles of large images; or of an installed package.
        Nothing is opened yet.

    Raises
    ------
    ConfigError
        If the chosen reader's location is missing, or no installed package has the preprocessor.
    """
    if settings.preprocessor != "idrstream":
        return as_preprocessor(load_plugin("preprocessor", settings.preprocessor, ("idrstream",)))
    if settings.tile_px:
        return TilePreprocessor(settings)
    if reader is not None or not settings.image_channels:
        return _one_channel(settings, models_folder, reader or _reader(settings, settings.channel))
    pairs = [one.partition("=") for one in settings.image_channels]
    keys = {name: key or str(position) for position, (name, _, key) in enumerate(pairs)}
    first = _reader(settings, 0)  # the channels share what it holds, such as a process
    return ChannelPreprocessor(
        {
            name: _one_channel(settings, models_folder / name, first.at(channel=_number(key)), name)
            for name, key in keys.items()
        },
        keys=keys,
    )


def _number(key: str) -> int:
    """Return the number of a channel; the first until the table tells it."""
    return int(key) if key.isdecimal() else 0


def _one_channel(
    settings: PreprocessSettings, models_folder: Path, reader: MovieReader, channel: str = "DNA"
) -> Preprocessor:
    name: IlluminationName = "off"
    if settings.perform_illumination_correction:
        name = settings.illumination_context
    illumination = make_illumination(name, models_folder, darkfield=settings.illumination_darkfield)
    return Preprocessor(reader, illumination, channel=channel)


def _reader(settings: PreprocessSettings, channel: int) -> BaseReader:
    name = "imagej" if settings.fiji_path else settings.reader
    if name not in READER_NAMES:
        return _plugin(name, settings, channel)
    option, location = {
        "imagej": ("fiji_path", settings.fiji_path),
        "bioformats": ("bioformats_jar", settings.bioformats_jar),
    }.get(name, ("", None))
    if option and not location:
        msg = f'preprocess.{option} is missing: preprocess.reader = "{name}" needs it'
        raise ConfigError(msg)
    return make_reader(
        name,
        location,
        channel=channel,
        z=settings.z,
        projection=settings.projection,
        series=settings.series,
    )


def _plugin(name: str, settings: PreprocessSettings, channel: int) -> BaseReader:
    """Return a reader of an installed package; it is told what is chosen, or refuses that."""
    reader = as_reader(load_plugin("reader", name, READER_NAMES))
    chosen = {"z": settings.z, "projection": settings.projection, "series": settings.series}
    wanted = {key: value for key, value in chosen.items() if value is not None}
    return reader.at(**wanted, **({"channel": channel} if channel else {}))


def _given(models_folder: Path | None) -> Path:
    if models_folder is None:
        msg = "illumination 'plate' needs models_folder, where the plates' models are kept"
        raise ConfigError(msg)
    return models_folder
