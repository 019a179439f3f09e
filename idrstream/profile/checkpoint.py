"""What a DeepProfiler checkpoint holds, read without TensorFlow.

DeepProfiler loads weights by layer name and says nothing about layers it does not find: they
stay random, and so do the features. So the names are checked here, before anything runs.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.errors import ConfigError

if TYPE_CHECKING:
    import h5py
    import numpy as np
    from numpy.typing import NDArray

# EfficientNet B0 to B7: Tan and Le, ICML 2019; factors of depth and width.
_DEPTH = (1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1)
_WIDTH = (1.0, 1.0, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0)
_REPEATS = (1, 2, 2, 3, 3, 4, 1)
POOLED_WIDTH = (1280, 1280, 1408, 1536, 1792, 2048, 2304, 2560)
"""Channels of the last convolution."""

_POOLED_LAYERS = frozenset({"pool5", "top_conv", "top_bn", "top_activation"})


def block_names(conv_blocks: int) -> tuple[str, ...]:
    """Return the names of the blocks of EfficientNet B0 to B7, such as ``block2a``, in order."""
    return tuple(
        f"block{number}{letter}"
        for number, repeats in enumerate(_REPEATS, start=1)
        for letter in string.ascii_lowercase[: math.ceil(_DEPTH[conv_blocks] * repeats)]
    )


def filters(conv_blocks: int, base: int) -> int:
    """Return how many channels a layer of B0 to B7 has that has `base` in B0: a multiple of 8."""
    wanted = base * _WIDTH[conv_blocks]
    rounded = max(8, int(wanted + 4) // 8 * 8)
    # Never less than nine tenths of what was wanted.
    return rounded + 8 if rounded < 0.9 * wanted else rounded


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Names and shapes of the weights in a Keras HDF5 file.

    Attributes
    ----------
    path : Path
        The file.
    shapes : Mapping[str, tuple of int]
        For each layer with weights the shape of its first one.
    """

    path: Path
    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read the names and shapes of a checkpoint's weights.

        Raises
        ------
        idrstream.errors.ConfigError
            When the file is missing or is no Keras HDF5 file.
        """
        import h5py

        if not path.is_file():
            raise ConfigError(f"the DeepProfiler checkpoint {path} does not exist")
        try:
            with h5py.File(path, "r") as file:
                layers = file.get("model_weights", file)
                names = [_text(name) for name in layers.attrs["layer_names"]]
                shapes = {name: shape for name in names if (shape := _first_shape(layers[name]))}
        except (OSError, KeyError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"the checkpoint {path} is not a Keras weights file (.h5 or .hdf5): {error}"
            ) from error
        return cls(path, shapes)

    def weights(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        """Return all weights in single precision, by layer and by name (``kernel``, ``gamma`` ...).

        Raises
        ------
        idrstream.errors.ConfigError
            When they cannot be read.
        """
        import h5py

        try:
            with h5py.File(self.path, "r") as file:
                layers = file.get("model_weights", file)
                return {name: _layer_weights(layers[name]) for name in self.shapes}
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise ConfigError(f"the weights in {self.path} cannot be read: {error}") from error

    def check(self, *, conv_blocks: int, channels: int, feature_layer: str) -> None:
        """Check that the weights up to the feature layer are all there and fit the images.

        Parameters
        ----------
        conv_blocks : int
            Variant of EfficientNet, 0 to 7.
        channels : int
            Number of channels that the config lists.
        feature_layer : str
            Layer whose output becomes the features.

        Raises
        ------
        idrstream.errors.ConfigError
            When layers are missing or the channels differ.
        """
        missing = [name for name in _needed(conv_blocks, feature_layer) if name not in self.shapes]
        if missing:
            raise ConfigError(
                f"the checkpoint {self.path} lacks {len(missing)} layers of EfficientNet-"
                f"B{conv_blocks} (train.model.params.conv_blocks), the first is {missing[0]}; "
                "they would keep random weights"
            )
        have = self.shapes["stem_conv"][2]
        if have != channels:
            raise ConfigError(
                f"the checkpoint {self.path} was trained on {have} channels, but "
                f"dataset.images.channels lists {channels}; to feed one image to a "
                "three-channel model, list its channel three times"
            )
        if feature_layer in _POOLED_LAYERS and self.width(feature_layer) != (
            wanted := POOLED_WIDTH[conv_blocks]
        ):
            raise ConfigError(
                f"the last convolution in the checkpoint {self.path} has "
                f"{self.width(feature_layer)} channels, EfficientNet-B{conv_blocks} "
                f"(train.model.params.conv_blocks) has {wanted}"
            )

    def width(self, layer: str) -> int:
        """Return the number of channels that a layer puts out: the number of features.

        Raises
        ------
        idrstream.errors.ConfigError
            When the layer is not one of the model.
        """
        name = _layer_of_same_width(layer)
        shape = self.shapes.get(name) if name else None
        if name is None or shape is None:
            raise ConfigError(
                f"profile.feature_layer {layer!r} is not a layer of the model in {self.path}; "
                'use "pool5", or a block\'s activation such as "block6a_activation"'
            )
        return shape[2] * shape[3] if name.endswith("dwconv") else shape[-1]


def _layer_of_same_width(layer: str) -> str | None:
    if layer in _POOLED_LAYERS:
        return "top_conv"
    if not layer.startswith(("block", "stem_")):
        return None
    stem, _, last = layer.rpartition("_")
    if last == "activation":
        return f"{stem}_bn"
    if last in {"add", "drop"}:
        return f"{stem}_project_bn"
    return layer


def _needed(conv_blocks: int, feature_layer: str) -> list[str]:
    blocks = block_names(conv_blocks)
    needed = ["stem_conv", "stem_bn"]
    block = feature_layer.partition("_")[0]
    if block in blocks:
        blocks = blocks[: blocks.index(block) + 1]
        needed += [f"{name}_project_conv" for name in blocks[:-1]] + [f"{block}_dwconv"]
    elif block != "stem":
        needed += [f"{name}_project_conv" for name in blocks] + ["top_conv", "top_bn"]
    return needed


def _first_shape(group: h5py.Group) -> tuple[int, ...]:
    names = group.attrs.get("weight_names", ())
    return tuple(group[_text(names[0])].shape) if len(names) else ()


def _layer_weights(group: h5py.Group) -> dict[str, NDArray[np.float32]]:
    names = [_text(name) for name in group.attrs["weight_names"]]
    # "block1a_bn/gamma:0": the last part without its number.
    return {
        name.rpartition("/")[2].partition(":")[0]: group[name][:].astype("f4") for name in names
    }


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
