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
from typing import TYPE_CHECKING, Any

from idrstream.errors import ConfigError, MovieError
from idrstream.formats.cellh5.hdf5_guard import check_chunk, check_chunks, refuse_link

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

# What h5py raises on a file whose structure is damaged or another one.
_DAMAGED = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, MemoryError)
_MOST_NAMES = 2000
_MOST_WEIGHT_BYTES = 2**28

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
                layers = _layers(file, path)
                names = _names(layers, "layer_names")
                shapes = {
                    name: tuple(weights[0].shape)
                    for name in names
                    if (weights := list(_weights(layers, name, path).values()))
                }
        except MovieError as error:
            raise ConfigError(f"the checkpoint is refused: {error}") from error
        except _DAMAGED as error:
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
                layers = _layers(file, self.path)
                return {name: _layer_weights(layers, name, self.path) for name in self.shapes}
        except MovieError as error:
            raise ConfigError(f"the checkpoint is refused: {error}") from error
        except _DAMAGED as error:
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


def _layers(file: h5py.File, path: Path) -> h5py.Group:
    """Return the group with the layers: of weights alone, or of a whole model."""
    return _inside(file, "model_weights", path) if "model_weights" in file else file


def _inside(group: h5py.Group, name: str, path: Path) -> Any:
    """Return what has a name under a group, in this file and reached through no link."""
    for part in name.split("/"):
        refuse_link(group, part, path)
        group = group[part]
    return group


def _weights(layers: h5py.Group, layer: str, path: Path) -> dict[str, h5py.Dataset]:
    """Return the weights of a layer by their names, each checked before it is read."""
    group = _inside(layers, layer, path)
    found = {}
    for name in _names(group, "weight_names") if "weight_names" in group.attrs else ():
        weights = _inside(group, name, path)
        check_chunks(weights, path)
        # More than the largest of these networks has in all its layers.
        if weights.dtype.kind != "f" or weights.nbytes > _MOST_WEIGHT_BYTES:
            msg = f"{path} has {weights.nbytes:,} bytes of {weights.dtype} as {name!r}: no weights"
            raise MovieError(msg)
        found[name] = weights
    return found


def _layer_weights(layers: h5py.Group, layer: str, path: Path) -> dict[str, NDArray[np.float32]]:
    found = {}
    for name, weights in _weights(layers, layer, path).items():
        if weights.chunks is not None:
            for index in range(weights.id.get_num_chunks()):
                offset = weights.id.get_chunk_info(index).chunk_offset
                problem = check_chunk(weights, offset, f"{name!r} of {path}")
                if problem is not None:
                    raise MovieError(str(problem))
        # "block1a_bn/gamma:0": the last part without its number.
        found[name.rpartition("/")[2].partition(":")[0]] = weights[:].astype("f4")
    return found


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Return the names in an attribute, as Keras writes it."""
    stored = group.attrs.get_id(attribute)
    if len(stored.shape) != 1 or stored.shape[0] > _MOST_NAMES or stored.dtype.itemsize > 1024:
        msg = f"the attribute {attribute} has {stored.dtype} of shape {stored.shape}: no names"
        raise ValueError(msg)
    return [name.decode() if isinstance(name, bytes) else name for name in group.attrs[attribute]]
