"""Features of crops as a stream computes them, from the very checkpoint file that ships."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import ConfigError

if TYPE_CHECKING:
    from idrstream.profile import DeepProfilerProject, Engine, ProfileConfig, ProjectImage
    from idrstream.records import Frame, Nuclei

# TensorFlow samples a box of n pixels from its first to just past its last one.
_RIM_PX = 2


def deep_features(
    crops: NDArray[Any],
    checkpoint: Path,
    config: Path,
    *,
    engine: Engine | None = None,
) -> NDArray[np.float32]:
    """Compute features of crops by an engine of the profiler.

    The crops are laid side by side, each with a rim of its own border pixels, into images of the
    configured size, and their centres are the locations. The temporary project is removed.

    Parameters
    ----------
    crops : NDArray
        Shape ``(n, side, side)``, uint8 or uint16; ``side`` at least the configured box size.
    checkpoint : Path
        DeepProfiler checkpoint.
    config : Path
        DeepProfiler configuration that names it.
    engine : Engine, optional
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
    from idrstream.profile import DeepProfilerProject, TorchEngine

    with tempfile.TemporaryDirectory(prefix="idrstream-evaluate-") as folder:
        project = DeepProfilerProject(Path(folder), config, checkpoint)
        _check_side(crops, project.config)
        project.prepare()
        images = [project.add(*montage) for montage in _montages(crops, project.config)]
        running = engine or TorchEngine()
        try:
            running.profile(project)
        finally:
            running.close()
        features: NDArray[np.float32] = np.concatenate(
            [_read(project, image) for image in images]
        ).astype(np.float32)
        return features


def _read(project: DeepProfilerProject, image: ProjectImage) -> NDArray[Any]:
    # DeepProfiler's own file; its metadata are a pickled dict, which is not touched here.
    with np.load(project.features_path(image), allow_pickle=False) as file:
        features: NDArray[Any] = file["features"]
    return features


def _check_side(crops: NDArray[Any], config: ProfileConfig) -> None:
    side = crops.shape[1]
    if crops.ndim != 3 or crops.shape[2] != side:
        raise ConfigError(f"crops must be square, not {crops.shape[1:]}")
    if side < config.box_size:
        raise ConfigError(
            f"the crops are {side} px, but {config.path.name} has dataset.locations.box_size "
            f"{config.box_size}: the missing border would be made up"
        )
    if side + 2 * _RIM_PX > min(config.width, config.height):
        raise ConfigError(f"a crop of {side} px does not fit an image as {config.path.name} says")


def _montages(crops: NDArray[Any], config: ProfileConfig) -> list[tuple[Frame, Nuclei]]:
    from idrstream.records import Frame, ImageTask, Nuclei

    pitch = crops.shape[1] + 2 * _RIM_PX
    columns, rows = config.width // pitch, config.height // pitch
    task = ImageTask("crops", "A1", 1, ())
    montages = []
    for number, first in enumerate(range(0, len(crops), rows * columns), start=1):
        part = np.pad(
            crops[first : first + rows * columns],
            ((0, 0), (_RIM_PX, _RIM_PX), (_RIM_PX, _RIM_PX)),
            mode="edge",
        )
        pixels = np.zeros((config.height, config.width), crops.dtype)
        row, column = np.divmod(np.arange(len(part)), columns)
        for tile, top, left in zip(part, row * pitch, column * pitch, strict=True):
            pixels[top : top + pitch, left : left + pitch] = tile
        centres = np.stack([row, column], axis=1) * float(pitch) + pitch / 2
        montages.append((Frame(pixels, number, task), Nuclei(centres, None, number, task, 0.0)))
    return montages
