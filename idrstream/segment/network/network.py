"""Cellpose's network, rewritten for inference: the same weights, fewer passes over memory.

Every batch normalisation that follows a convolution and nothing else is folded into it, sums and
ReLUs are done by the convolution itself (oneDNN), and what only concerns the smaller image before
an upsampling is done before it. In exact arithmetic the result is that of `cellpose`'s ``CPnet``;
in single precision it differs by about 1e-5 of values of about 10.
Source of the network: Stringer et al., Nature Methods 18, 100-106 (2021).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

STYLE_LENGTH = 256
"""Values of a style vector; those of narrower networks are filled up with zeros."""

_ONE = [1, 1]


class FoldedNetwork:
    """A ``CPnet`` ready for inference on the device that it lies on.

    Parameters
    ----------
    network : cellpose.resnet_torch.CPnet
        With trained weights; it is not changed, and later changes of it are not followed.
    precision : torch.dtype, default: torch.float32
        Of convolutions and what passes between them; statistics and styles stay single.
    """

    def __init__(self, network: Any, precision: torch.dtype = torch.float32) -> None:
        self.device: torch.device = network.device
        self.precision = precision
        with torch.no_grad():
            self._down = [_Down(block, precision) for block in network.downsample.down]
            self._up = [_Up(block, precision) for block in network.upsample.up]
            self._last_norm = _Normalise(network.output[0])
            self._last = _convolution(network.output, precision)

    @torch.inference_mode()
    def __call__(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """Return flows and styles.

        Parameters
        ----------
        tiles : Tensor
            Shape ``(n, 2, Y, X)``, float32, sides multiples of 8.

        Returns
        -------
        flows : Tensor
            Shape ``(n, 3, Y, X)``, float32: flow along y, along x, and cell probability.
        styles : Tensor
            Shape ``(n, 256)``, float32, each of length 1.
        """
        x = tiles.to(self.device, self.precision).contiguous(memory_format=torch.channels_last)
        levels: list[Tensor] = []
        for down in self._down:
            x = down(functional.max_pool2d(x, 2) if levels else x)
            levels.append(x)
        style = levels[-1].float().mean((2, 3))
        style = style / style.square().sum(1, keepdim=True).sqrt()
        for up, level in zip(reversed(self._up), reversed(levels), strict=True):
            x = up(x, level, style, double=x.shape[-1] != level.shape[-1])
        flows = self._last(self._last_norm(x)).float()
        return flows, functional.pad(style, (0, STYLE_LENGTH - style.shape[1]))


class _Convolution:
    """A convolution of stride 1 that keeps the size, by oneDNN on a processor."""

    def __init__(self, weight: Tensor, bias: Tensor, precision: torch.dtype) -> None:
        self.bias = bias.float().clone()
        self._padding = [weight.shape[-1] // 2] * 2
        self._fused = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        weight = weight.to(precision)
        if self._fused:
            self._weight = torch.ops.mkldnn._reorder_convolution_weight(
                weight.clone(memory_format=torch.contiguous_format),
                self._padding,
                _ONE,
                _ONE,
                1,
                None,
            )
        else:
            self._weight = weight.clone(memory_format=torch.channels_last)
        self._bias = self.bias.to(precision)

    def __call__(self, x: Tensor) -> Tensor:
        return self._plain(x, self._bias, "none")

    def relu(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the ReLU of the convolution, with another bias of shape (C,) when given."""
        return self._plain(x, self._bias if bias is None else bias.to(x.dtype), "relu")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """Return the convolution plus `other`, which is overwritten."""
        if not self._fused:
            return other.add_(self._plain(x, self._bias, "none"))
        summed: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            other, x, self._weight, self._bias, self._padding, _ONE, _ONE, 1,
            "add", 1.0, None, [], None,
        )  # fmt: skip
        return summed

    def _plain(self, x: Tensor, bias: Tensor, then: str) -> Tensor:
        if self._fused:
            result: Tensor = torch.ops.mkldnn._convolution_pointwise(
                x, self._weight, bias, self._padding, _ONE, _ONE, 1, then, [], ""
            )
            return result
        result = functional.conv2d(x, self._weight, bias, padding=self._padding)
        return result.relu_() if then == "relu" else result


class _Normalise:
    """Batch normalisation and ReLU, of the sum with a style's features when there are."""

    def __init__(self, norm: Any) -> None:
        self._mean, self._var = norm.running_mean.clone(), norm.running_var.clone()
        self._weight, self._bias = norm.weight.detach().clone(), norm.bias.detach().clone()
        self._eps = norm.eps

    def __call__(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        mean = self._mean
        if features is not None:
            if len(x) == 1:
                mean = mean - features[0]
            else:
                x = x + features[:, :, None, None].to(x.dtype)
        values = functional.batch_norm(
            x, mean, self._var, self._weight, self._bias, False, 0.0, self._eps
        )
        return values.relu_()


class _Down:
    """``resdown``: a block of the contracting path."""

    def __init__(self, block: Any, precision: torch.dtype) -> None:
        conv = block.conv
        self._project = _projection(block.proj, precision)
        self._norms = _Normalise(conv[0][0]), _Normalise(conv[2][0])
        self._firsts = [_convolution(conv[i], precision, norm=conv[i + 1][0]) for i in (0, 2)]
        self._seconds = [_convolution(conv[i], precision) for i in (1, 3)]

    def __call__(self, x: Tensor) -> Tensor:
        short = self._project(x)
        for norm, first, second in zip(self._norms, self._firsts, self._seconds, strict=True):
            x = short = second.plus(first.relu(norm(x)), short)
        return x


class _Up:
    """``resup``: a block of the expanding path."""

    def __init__(self, block: Any, precision: torch.dtype) -> None:
        conv = block.conv
        last = conv[3].conv[0]
        self._project = _projection(block.proj, precision)
        self._norms = [_Normalise(norm) for norm in (conv[0][0], conv[1].conv[0], conv[2].conv[0])]
        self._last_norm = _Normalise(last)
        self._scale = _scale_and_shift(last)[0].clone()
        self._features = [
            (c.full.weight.detach().clone(), c.full.bias.detach().clone()) for c in conv[1:]
        ]
        self._first = _convolution(conv[0], precision)
        self._second = _convolution(conv[1].conv, precision)
        self._third = _convolution(conv[2].conv, precision, norm=last)
        self._third_plain = _convolution(conv[2].conv, precision)
        self._fourth = _convolution(conv[3].conv, precision)

    def __call__(self, x: Tensor, level: Tensor, style: Tensor, *, double: bool) -> Tensor:
        features = [functional.linear(style, weight, bias) for weight, bias in self._features]
        short, x = self._project(x), self._norms[0](x)
        if double:
            short, x = (functional.interpolate(t, scale_factor=2.0) for t in (short, x))
        x = self._first(x).add_(level)
        x = self._second.plus(self._norms[1](x, features[0]), short)
        inner = self._norms[2](x, features[1])
        if len(x) == 1:
            inner = self._third.relu(inner, self._third.bias + self._scale * features[2][0])
        else:
            inner = self._last_norm(self._third_plain(inner), features[2])
        return self._fourth.plus(inner, x)


def _scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _convolution(block: Any, precision: torch.dtype, norm: Any = None) -> _Convolution:
    """Return the convolution of a block, with the normalisation that follows folded in."""
    weight, bias = block[-1].weight, block[-1].bias
    if norm is not None:
        scale, shift = _scale_and_shift(norm)
        weight, bias = weight * scale[:, None, None, None], bias * scale + shift
    return _Convolution(weight.detach(), bias.detach(), precision)


def _projection(block: Any, precision: torch.dtype) -> _Convolution:
    """Return a 1 x 1 convolution with the normalisation before it folded in."""
    weight, bias = block[-1].weight, block[-1].bias
    scale, shift = _scale_and_shift(block[0])
    bias = bias + weight[:, :, 0, 0] @ shift
    return _Convolution((weight * scale[None, :, None, None]).detach(), bias.detach(), precision)
