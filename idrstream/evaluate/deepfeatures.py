"""Features of crops as a stream computes them, from the very checkpoint file that ships."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ConfigError

if TYPE_CHECKING:
    from idrstream.profile import FeatureEngine, ProfileConfig
    from idrstream.records import Frame, Objects

# TensorFlow samples a box of n pixels from its first to just past its last one.
_RIM_PX = 2
_CANVAS_PX = (1024, 1344)  # where the configuration says no size


def deep_features(
    crops: NDArray[Any],
    checkpoint: Path,
    config: Path,
    *,
    engine: FeatureEngine | None = None,
) -> NDArray[np.float32]:
    """Compute features of crops by an engine of the profiler.

    The crops are laid side by side, each with a rim of its own border pixels, into images of the
    configured size, and their centres are the locations.

    Parameters
    ----------
    crops : NDArray
        Shape ``(n, side, side)``, uint8 or uint16; ``side`` at least the configured box size.
    checkpoint : Path
        DeepProfiler checkpoint.
    config : Path
        DeepProfiler configuration that names it.
    engine : FeatureEngine, optional
        What computes; `TorchEngine` by default.

    Returns
    -------
    NDArray of float32
        Shape ``(n, d)``, in the order of the crops.

    Raises
    ------
    idrstream.errors.ConfigError
        When configuration, checkpoint and crops do not fit together.
    idrstream.errors.ProfileError
        When the engine fails.
    """
    from idrstream.profile import DeepModel, TorchEngine

    model = DeepModel.read(config, checkpoint)
    canvas = model.config.size or _CANVAS_PX
    _check_side(crops, model.config, canvas)
    if not len(crops):
        return np.empty((0, len(model.columns)), np.float32)
    frames, objects = zip(*_montages(crops, canvas), strict=True)
    running = engine or TorchEngine(model)
    try:
        features = running.profile(frames, objects)
    finally:
        running.close()
    return np.concatenate([one.values for one in features])


def _check_side(crops: NDArray[Any], config: ProfileConfig, canvas: tuple[int, int]) -> None:
    side = crops.shape[1]
    if crops.ndim != 3 or crops.shape[2] != side:
        raise ConfigError(f"crops must be square, not {crops.shape[1:]}")
    if side < config.box_size:
        raise ConfigError(
            f"the crops are {side} px, but {config.path.name} has dataset.locations.box_size "
            f"{config.box_size}: the missing border would be made up"
        )
    if side + 2 * _RIM_PX > min(canvas):
        raise ConfigError(f"a crop of {side} px does not fit an image as {config.path.name} says")


def _montages(crops: NDArray[Any], canvas: tuple[int, int]) -> list[tuple[Frame, Objects]]:
    from idrstream.records import OBJECT_FIELDS, Frame, ImageTask, Objects

    pitch = crops.shape[1] + 2 * _RIM_PX
    rows, columns = (side // pitch for side in canvas)
    task = ImageTask("crops", "A1", 1, ())
    montages = []
    for number, first in enumerate(range(0, len(crops), rows * columns), start=1):
        tiles = np.pad(
            crops[first : first + rows * columns],
            ((0, 0), (_RIM_PX, _RIM_PX), (_RIM_PX, _RIM_PX)),
            mode="edge",
        )
        pixels = np.zeros((1, *canvas), crops.dtype)
        labels = np.zeros(canvas, np.int32)
        table = np.zeros(len(tiles), OBJECT_FIELDS)
        for label, tile in enumerate(tiles, start=1):
            top, left = (at * pitch for at in divmod(label - 1, columns))
            box = np.s_[top : top + pitch, left : left + pitch]
            pixels[0][box], labels[box] = tile, label
            centre = top + pitch / 2, left + pitch / 2
            corners = top, left, top + pitch, left + pitch
            table[label - 1] = (label, *centre, pitch**2, *corners, 0 in (top, left))
        montages.append((Frame(pixels, number, task), Objects("Crops", labels, table)))
    return montages
