"""What this machine's processor can do, asked of PyTorch and not of its name."""


def takes_bfloat16():
    """Return whether oneDNN runs convolutions in bfloat16 here."""
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
