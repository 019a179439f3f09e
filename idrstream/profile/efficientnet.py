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
_STEM_FILTERS = 32


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
        self.weight = nn.Parameter(torch.from_numpy(weight), requires_grad=False)
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
    """Scales channels by what a small network makes of their means."""

    def __init__(self, reduce: SameConv, expand: SameConv) -> None:
        super().__init__()
        self.reduce, self.expand = reduce, expand

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled channels, same shape."""
        scale = functional.silu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.expand(scale))


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
    checkpoint: Checkpoint, *, conv_blocks: int, box_size: int, feature_layer: str
) -> Pooled:
    """Build the network up to the feature layer, with its weights, for inference.

    Parameters
    ----------
    checkpoint : Checkpoint
        The weights.
    conv_blocks : int
        Variant of EfficientNet, 0 to 7.
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
    builder = _Builder(checkpoint.path, checkpoint.weights(), conv_blocks, box_size)
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


class _Builder:
    """Makes the layers in order, from the weights."""

    def __init__(self, path: Path, weights: Weights, conv_blocks: int, box_size: int) -> None:
        self._path = path
        self._weights = weights
        self._conv_blocks = conv_blocks
        self._side_px = box_size
        self._channels = filters(conv_blocks, _STEM_FILTERS)

    def parts(self) -> Iterator[tuple[str, list[Layer], bool]]:
        """Yield for stem, blocks and top: name, named layers, and whether the input is added."""
        yield "stem", self._conv("stem_conv", "stem_bn", "stem_activation", stride=2), False
        for block in block_names(self._conv_blocks):
            kernel, stride, base, expansion = _STAGES[int(block[5]) - 1]
            stride = stride if block[6] == "a" else 1
            before = self._channels
            steps: list[Layer] = []
            if expansion != 1:
                steps += self._conv(
                    f"{block}_expand_conv", f"{block}_expand_bn", f"{block}_expand_activation"
                )
            steps += self._conv(
                f"{block}_dwconv",
                f"{block}_bn",
                f"{block}_activation",
                stride=stride,
                groups=before * expansion,
            )
            steps.append((f"{block}_se_excite", self._squeeze_excite(block)))
            steps += self._conv(f"{block}_project_conv", f"{block}_project_bn")
            self._channels = filters(self._conv_blocks, base)
            yield block, steps, stride == 1 and before == self._channels
        yield "top", self._conv("top_conv", "top_bn", "top_activation"), False

    def _conv(
        self, conv: str, norm: str, activation: str = "", *, stride: int = 1, groups: int = 1
    ) -> list[Layer]:
        """Return a convolution with its batch norm folded in, and its activation."""
        weight, _ = self._kernel(conv)
        gamma, beta, mean, variance = (
            self._get(norm, name).astype(np.float64)
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + _BATCH_NORM_EPSILON)
        try:
            folded = SameConv(
                np.ascontiguousarray(weight * scale[:, None, None, None], np.float32),
                (beta - mean * scale).astype(np.float32),
                self._side_px,
                stride=stride,
                groups=groups,
            )
        except ValueError as error:
            raise self._unfit(conv, error) from error
        self._side_px = folded.side_px
        layers: list[Layer] = [(norm, folded)]
        if activation:
            layers.append((activation, nn.SiLU(inplace=True)))
        return layers

    def _squeeze_excite(self, block: str) -> SqueezeExcite:
        reduce, expand = (
            SameConv(*self._kernel(f"{block}_se_{part}"), side_px=1) for part in ("reduce", "expand")
        )
        return SqueezeExcite(reduce, expand)

    def _kernel(self, layer: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return weight ``(out, in, k, k)`` and bias; Keras has ``(k, k, in, out)``."""
        if layer.endswith("dwconv"):
            kernel, axes = self._get(layer, "depthwise_kernel"), (2, 3, 0, 1)
        else:
            kernel, axes = self._get(layer, "kernel"), (3, 2, 0, 1)
        if kernel.ndim != 4:
            raise self._unfit(layer, f"shape {kernel.shape}")
        weight = np.ascontiguousarray(kernel.transpose(axes))
        bias = self._weights[layer].get("bias")
        return weight, np.zeros(len(weight), np.float32) if bias is None else bias

    def _get(self, layer: str, name: str) -> NDArray[np.float32]:
        try:
            return self._weights[layer][name]
        except KeyError as error:
            raise ConfigError(
                f"the checkpoint {self._path} has no weights {layer}/{name}"
            ) from error

    def _unfit(self, layer: str, why: object) -> ConfigError:
        return ConfigError(
            f"the weights of {layer} in the checkpoint {self._path} do not fit EfficientNet-"
            f"B{self._conv_blocks}: {why}"
        )
