"""EfficientNet B0 to B7 in PyTorch, with the weights of a DeepProfiler checkpoint.

The network of Tan and Le (EfficientNet, ICML 2019) as the Keras package ``efficientnet`` builds it
for DeepProfiler 0.5.1: TensorFlow's SAME padding, swish, batch norms with an epsilon of 1e-3, and
Keras's names of the layers. Only the layers up to the wanted one are built, and each batch norm is
folded into the convolution before it, which changes features by rounding only.

Imports PyTorch: import this module only where a network is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from idrstream.errors import ConfigError
from idrstream.profile.checkpoint import Checkpoint, block_names, filters

Weights = Mapping[str, Mapping[str, NDArray[np.float32]]]
Layer = tuple[str, nn.Module]

_BATCH_NORM_EPSILON = 1e-3  # Keras's default, which the package efficientnet leaves alone

# For each stage of B0: kernel side, stride of its first block, channels put out, expansion.
_STAGES = (
    (3, 1, 16, 1),
    (3, 2, 24, 6),
    (5, 2, 40, 6),
    (3, 2, 80, 6),
    (5, 1, 112, 6),
    (5, 2, 192, 6),
    (3, 1, 320, 6),
)
_STEM_FILTERS, _TOP_FILTERS = 32, 1280
_SQUEEZE = 0.25


class SameConv(nn.Module):
    """A convolution with bias and TensorFlow's SAME padding, for images of a known size.

    Parameters
    ----------
    weight : NDArray of float32
        Shape ``(out, in / groups, k, k)``.
    bias : NDArray of float32
        Shape ``(out,)``.
    side_px : int
        Height and width of what comes in.
    stride : int, default: 1
        Step in both directions.
    groups : int, default: 1
        Groups of channels.

    Attributes
    ----------
    side_px : int
        Height and width of what comes out.
    """

    def __init__(
        self,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
        side_px: int,
        *,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.from_numpy(weight).contiguous(memory_format=torch.channels_last),
            requires_grad=False,
        )
        self.bias = nn.Parameter(torch.from_numpy(bias), requires_grad=False)
        self.stride, self.groups = stride, groups
        self.side_px = -(-side_px // stride)
        total = max((self.side_px - 1) * stride + weight.shape[-1] - side_px, 0)
        self.before, self.after = total // 2, total - total // 2

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved images, shape ``(n, out, side_px, side_px)``."""
        padding = self.before
        if self.before != self.after:
            # PyTorch's convolution pads both sides alike; only where they differ is a copy made.
            x = functional.pad(x, (self.before, self.after, self.before, self.after))
            padding = 0
        return functional.conv2d(
            x, self.weight, self.bias, self.stride, padding, groups=self.groups
        )


class SqueezeExcite(nn.Module):
    """Scales channels, in place, by what a small network makes of their means."""

    def __init__(self, reduce: nn.Linear, expand: nn.Linear) -> None:
        super().__init__()
        self.reduce, self.expand = reduce, expand

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled channels, same shape."""
        few = functional.silu(self.reduce(x.mean((2, 3))))
        return x.mul_(torch.sigmoid(self.expand(few))[:, :, None, None])


class Residual(nn.Module):
    """Adds what comes in to what the steps make of it."""

    def __init__(self, steps: nn.Module) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, same shape."""
        changed: Tensor = self.steps(x)
        return changed.add_(x)


class Pooled(nn.Module):
    """Layers, and the mean over all positions of what they put out: one row per crop."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, crops: Tensor) -> Tensor:
        """Return the features, shape ``(n, d)`` float32, of crops ``(n, channels, side, side)``."""
        maps: Tensor = self.layers(crops)
        return maps.mean((2, 3), dtype=torch.float32)


def build_network(
    checkpoint: Checkpoint, *, conv_blocks: int, channels: int, box_size: int, feature_layer: str
) -> Pooled:
    """Build the network up to the feature layer, with its weights, for inference.

    Parameters
    ----------
    checkpoint : Checkpoint
        The weights.
    conv_blocks : int
        Variant of EfficientNet, 0 to 7.
    channels : int
        Channels of the crops.
    box_size : int
        Side of the crops in pixels.
    feature_layer : str
        Keras's name of the layer whose mean over all positions becomes the features: ``pool5``,
        or a batch norm, an activation or the sum at the end of a block.

    Returns
    -------
    Pooled
        Takes crops ``(n, channels, box_size, box_size)``.

    Raises
    ------
    idrstream.errors.ConfigError
        When the feature layer is another, or weights are missing or do not fit.
    """
    wanted = "top_activation" if feature_layer == "pool5" else feature_layer
    if wanted.endswith("_drop"):
        wanted = f"{wanted.removesuffix('_drop')}_project_bn"  # nothing is dropped in inference
    builder = _Builder(checkpoint.path, checkpoint.weights(), conv_blocks, box_size, channels)
    layers: list[nn.Module] = []
    for block, steps, adds in builder.parts():
        names = [name for name, _ in steps]
        modules = [module for _, module in steps]
        if wanted in names:
            layers += modules[: names.index(wanted) + 1]
            return Pooled(nn.Sequential(*layers)).eval()
        whole = nn.Sequential(*modules)
        layers.append(Residual(whole) if adds else whole)
        if adds and wanted == f"{block}_add":
            return Pooled(nn.Sequential(*layers)).eval()
    raise ConfigError(
        f'profile.feature_layer {feature_layer!r} is not among what engine = "torch" can give '
        '(pool5, and batch norms, activations and sums such as "block6a_activation"); use '
        'engine = "deepprofiler" for it'
    )


def _linear(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> nn.Linear:
    """Return a convolution of single pixels as a linear layer."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight = nn.Parameter(torch.from_numpy(weight).flatten(1), requires_grad=False)
    layer.bias = nn.Parameter(torch.from_numpy(bias), requires_grad=False)
    return layer


class _Builder:
    """Makes the layers in order, from the weights."""

    def __init__(
        self, path: Path, weights: Weights, conv_blocks: int, box_size: int, channels: int
    ) -> None:
        self._path = path
        self._weights = weights
        self._conv_blocks = conv_blocks
        self._side_px = box_size
        self._channels = channels

    def parts(self) -> Iterator[tuple[str, list[Layer], bool]]:
        """Yield for stem, blocks and top: name, named layers, and whether the input is added."""
        stem = filters(self._conv_blocks, _STEM_FILTERS)
        yield "stem", self._conv("stem_", stem, kernel=3, stride=2), False
        for block in block_names(self._conv_blocks):
            kernel, stride, out, expansion = _STAGES[int(block[5]) - 1]
            stride = stride if block[6] == "a" else 1
            before = self._channels
            steps: list[Layer] = []
            if expansion != 1:
                steps += self._conv(f"{block}_expand_", before * expansion)
            steps += self._conv(f"{block}_", None, kernel=kernel, stride=stride)
            steps.append((f"{block}_se_excite", self._squeeze_excite(block, before)))
            wanted = filters(self._conv_blocks, out)
            steps += self._conv(f"{block}_project_", wanted, activate=False)
            yield block, steps, stride == 1 and before == wanted
        yield "top", self._conv("top_", filters(self._conv_blocks, _TOP_FILTERS)), False

    def _conv(
        self,
        prefix: str,
        out: int | None,
        *,
        kernel: int = 1,
        stride: int = 1,
        activate: bool = True,
    ) -> list[Layer]:
        """Return a convolution with its batch norm folded in, and its activation.

        Without a number of channels to put out, each channel is convolved by itself.
        """
        conv = f"{prefix}conv" if out is not None else f"{prefix}dwconv"
        depth, groups = (self._channels, 1) if out is not None else (1, self._channels)
        out = out or self._channels
        weight, _ = self._kernel(conv, (out, depth, kernel, kernel))
        gamma, beta, mean, variance = (
            self._get(f"{prefix}bn", name, (out,)).astype(np.float64)
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + _BATCH_NORM_EPSILON)
        folded = SameConv(
            (weight * scale[:, None, None, None]).astype(np.float32),
            (beta - mean * scale).astype(np.float32),
            self._side_px,
            stride=stride,
            groups=groups,
        )
        self._side_px, self._channels = folded.side_px, out
        layers: list[Layer] = [(f"{prefix}bn", folded)]
        if activate:
            layers.append((f"{prefix}activation", nn.SiLU(inplace=True)))
        return layers

    def _squeeze_excite(self, block: str, before: int) -> SqueezeExcite:
        few, many = max(1, int(before * _SQUEEZE)), self._channels
        reduce = self._kernel(f"{block}_se_reduce", (few, many, 1, 1))
        expand = self._kernel(f"{block}_se_expand", (many, few, 1, 1))
        return SqueezeExcite(_linear(*reduce), _linear(*expand))

    def _kernel(
        self, layer: str, shape: tuple[int, int, int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return weight and bias; `shape` is PyTorch's, ``(out, in, k, k)``."""
        out, depth, height, width = shape
        # Keras has (k, k, in, out), and for one kernel a channel (k, k, channels, 1).
        depthwise = layer.endswith("dwconv")
        name = "depthwise_kernel" if depthwise else "kernel"
        stored = (height, width, out, 1) if depthwise else (height, width, depth, out)
        axes = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
        weight = np.ascontiguousarray(self._get(layer, name, stored).transpose(axes))
        if "bias" not in self._weights[layer]:
            return weight, np.zeros(out, np.float32)
        return weight, self._get(layer, "bias", (out,))

    def _get(self, layer: str, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        weights = self._weights.get(layer, {}).get(name)
        if weights is None or weights.shape != shape:
            have = "no" if weights is None else f"shape {weights.shape} of"
            raise ConfigError(
                f"the checkpoint {self._path} has {have} weights {layer}/{name}; "
                f"EfficientNet-B{self._conv_blocks} has {shape}"
            )
        return weights
