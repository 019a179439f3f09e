"""Whether the hardware computes in bfloat16: asked once, before anything is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from idrstream.errors import ConfigError

if TYPE_CHECKING:
    import torch


def computes_in_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies in bfloat16, which is then faster than float32."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return bool(torch.cpu.get_capabilities().get("avx512_bf16")) and _takes_bfloat16(device)


def check_bfloat16(device: torch.device, option: str, instead: str) -> None:
    """Refuse bfloat16 where PyTorch cannot run convolutions in it, or only by emulation.

    oneDNN runs them on processors with AVX-512 (BW, VL) or AVX-NE-CONVERT. On others a frame would
    take 20 to 40 times as long as in float32.

    Raises
    ------
    ConfigError
        Naming the option and the value to use instead.
    """
    if not _takes_bfloat16(device):
        msg = (
            f'{option} = "bfloat16" cannot be used on this {_named(device)}, which does not '
            f'compute in bfloat16; use {option} = "{instead}"'
        )
        raise ConfigError(msg)


def _takes_bfloat16(device: torch.device) -> bool:
    import torch

    if device.type == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return True


def _named(device: torch.device) -> str:
    return "processor" if device.type == "cpu" else f"GPU ({device})"
