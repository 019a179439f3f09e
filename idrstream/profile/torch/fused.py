"""The same EfficientNet for a processor, with fewer passes over memory, by oneDNN.

A convolution does the swish after it in the same pass, and its weights are laid out once, not at
every call. In exact arithmetic features are those of the plain network; in single precision they
differ by rounding. As `segment.network`, it uses operators of PyTorch that are not public: where
one of them is missing or gives something else, the network stays plain.

Imports PyTorch: import this module only where a network is wanted.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn
from torch.nn import functional

from idrstream.profile.torch.efficientnet import Pooled, Residual, SameConv
from idrstream.workers.threads import threads_limited

_log = logging.getLogger("idrstream.profile")

_AGREES = {torch.float32: 1e-4, torch.bfloat16: 0.2}  # of the largest value


def fused(network: nn.Module, channels: int, box_px: int) -> nn.Module:
    """Return a network with its convolutions fused, or as it is where that cannot be done.

    Parameters
    ----------
    network : Module
        From `efficientnet.build_network`, on the processor; its layers move into what is returned.
    channels, box_px : int
        Shape of the crops: some go through both networks.
    """
    precision = next(network.parameters()).dtype
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not there or precision not in _AGREES:
        return network
    crops = torch.linspace(0, 1, channels * box_px**2).square().to(precision)
    crops = crops.reshape(1, channels, box_px, box_px)
    crops = torch.cat([crops, crops.flip(3)]).contiguous(memory_format=torch.channels_last)
    try:
        with threads_limited(1):  # weights are laid out for the one thread that each group gets
            found = _fused(network)
        with torch.inference_mode():
            wanted, given = network(crops), found(crops)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        _log.info("PyTorch's fused convolutions cannot be used here: %s", error)
        return network
    # In this order, as nothing compares with what is not a number.
    if not (given - wanted).abs().max() <= _AGREES[precision] * wanted.abs().max():
        _log.warning("PyTorch's fused convolutions give other features here: not used")
        return network
    return found


class FusedConv(nn.Module):
    """A convolution with bias and TensorFlow's SAME padding, and with swish if wanted."""

    def __init__(self, conv: SameConv, *, swish: bool) -> None:
        super().__init__()
        self._then = "swish" if swish else "none"
        self._bias = conv.bias.detach()
        # Where one side has more padding, zeros in the kernel instead of a copy of the image.
        more = conv.after - conv.before
        weight = functional.pad(conv.weight.detach(), (more, 0, more, 0)).contiguous()
        self._geometry = [conv.after] * 2, [conv.stride] * 2, [1, 1], conv.groups
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self._geometry, None)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved images, shape ``(n, out, side, side)``."""
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._geometry, self._then, [], ""
        )  # fmt: skip
        return result


def _fused(module: nn.Module) -> nn.Module:
    if isinstance(module, SameConv):
        return FusedConv(module, swish=False)
    if isinstance(module, Residual):
        return Residual(_fused(module.steps))
    if isinstance(module, Pooled):
        return Pooled(_fused(module.layers))
    if not isinstance(module, nn.Sequential):
        return module
    layers: list[nn.Module] = []
    before: nn.Module | None = None
    for layer in module:
        if isinstance(layer, nn.SiLU) and isinstance(before, SameConv):
            layers[-1] = FusedConv(before, swish=True)
        else:
            layers.append(_fused(layer))
        before = layer
    return nn.Sequential(*layers)
