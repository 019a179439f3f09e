"""The same EfficientNet for a processor: fewer passes over memory, by oneDNN.

Convolutions add their bias, the swish after them and the input of a block in the same pass, and
their weights are laid out once as oneDNN likes them, not anew at every call. SAME padding that is
longer on one side than on the other is no copy of the image but a kernel with a row and a column
of zeros more. In exact arithmetic the result is that of `efficientnet`; in single precision
it differs by rounding.

Imports PyTorch: import this module only where a network is wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from idrstream.profile.torch.efficientnet import Pooled, Residual, SameConv, SqueezeExcite

_log = logging.getLogger("idrstream.profile")

_ONE = [1, 1]
_AGREES = {torch.float32: 1e-4, torch.bfloat16: 0.2}


class _Step(Protocol):
    def __call__(self, x: Tensor) -> Tensor: ...


class FusedNetwork:
    """A network from `efficientnet.build_network`, ready for inference on a processor.

    Parameters
    ----------
    network : Pooled
        With its weights in single precision; later changes of it are not followed.
    precision : torch.dtype, default: torch.float32
        Of convolutions and what passes between them.
    """

    def __init__(self, network: Pooled, precision: torch.dtype = torch.float32) -> None:
        self._precision = precision
        self._steps = _steps(network.layers, precision)

    def __call__(self, crops: Tensor) -> Tensor:
        """Return the features, shape ``(n, d)`` float32, of crops ``(n, channels, side, side)``."""
        x = crops.to(self._precision, memory_format=torch.channels_last)
        for step in self._steps:
            x = step(x)
        return x.mean((2, 3), dtype=torch.float32)


def fuse(
    network: Pooled, channels: int, box_size: int, precision: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """Return the fused network when this PyTorch has it and it agrees, else the plain one.

    What it is made of is not part of PyTorch's public interface, so one crop goes through both.

    Parameters
    ----------
    network : Pooled
        The plain network, single precision, on the processor.
    channels, box_size : int
        Shape of the crops.
    precision : torch.dtype
        Of the result; the plain network is converted when it is the one returned.
    """
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if there and precision in _AGREES:
        ramp = torch.linspace(0, 1, channels * box_size**2).square()
        crop = ramp.reshape(1, channels, box_size, box_size)
        try:
            fused = FusedNetwork(network, precision)
            with torch.inference_mode():
                wanted, found = network(crop), fused(crop)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
            _log.info("PyTorch's fused convolutions cannot be used here: %s", error)
        else:
            if (found - wanted).abs().max() <= _AGREES[precision] * wanted.abs().max():
                return fused
            _log.warning("PyTorch's fused convolutions give other features here; not used")
    plain: Callable[[Tensor], Tensor] = network.to(dtype=precision)
    return plain


class _Convolution:
    """A convolution with bias, and with swish or a sum when wanted."""

    def __init__(self, conv: SameConv, precision: torch.dtype, *, swish: bool) -> None:
        weight = conv.weight.detach().float()
        # So much longer is the padding after the image.
        longer = conv.after - conv.before
        weight = functional.pad(weight, (longer, 0, longer, 0)).to(precision)
        padding = [conv.after] * 2
        self._bias = conv.bias.detach().to(precision)
        self._geometry = padding, [conv.stride] * 2, _ONE, conv.groups
        self._then = "swish" if swish else "none"
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(
            weight.contiguous(memory_format=torch.contiguous_format), *self._geometry, None
        )

    def __call__(self, x: Tensor) -> Tensor:
        found: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._geometry, self._then, [], ""
        )
        return found

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """Return the convolution plus `other`, which is overwritten."""
        found: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            other, x, self._weight, self._bias, *self._geometry,
            "add", 1.0, None, [], None,
        )  # fmt: skip
        return found


class _SqueezeExcite:
    """Scales channels in place by what a small network makes of their means."""

    def __init__(self, plain: SqueezeExcite, precision: torch.dtype) -> None:
        self._reduce, self._expand = (
            (conv.weight.detach().flatten(1).to(precision), conv.bias.detach().to(precision))
            for conv in (plain.reduce, plain.expand)
        )

    def __call__(self, x: Tensor) -> Tensor:
        few = functional.silu(functional.linear(x.mean((2, 3)), *self._reduce))
        scale = torch.sigmoid(functional.linear(few, *self._expand))
        return x.mul_(scale[:, :, None, None])


class _Residual:
    """Steps, the last one a convolution that adds what came in."""

    def __init__(self, steps: list[_Step]) -> None:
        self._steps, self._last = steps[:-1], steps[-1]

    def __call__(self, x: Tensor) -> Tensor:
        changed = x
        for step in self._steps:
            changed = step(changed)
        assert isinstance(self._last, _Convolution)  # noqa: S101
        return self._last.plus(changed, x)


def _steps(layers: nn.Module, precision: torch.dtype) -> list[_Step]:
    """Return what the layers of a `Sequential` do, step by step."""
    steps: list[_Step] = []
    modules = list(layers.children())
    for module, after in zip(modules, [*modules[1:], None], strict=True):
        if isinstance(module, SameConv):
            steps.append(_Convolution(module, precision, swish=isinstance(after, nn.SiLU)))
        elif isinstance(module, SqueezeExcite):
            steps.append(_SqueezeExcite(module, precision))
        elif isinstance(module, Residual):
            steps.append(_Residual(_steps(module.steps, precision)))
        elif isinstance(module, nn.Sequential):
            steps += _steps(module, precision)
        elif not isinstance(module, nn.SiLU):
            raise TypeError(f"a layer that is not known: {type(module).__name__}")
    return steps
