"""Which engine computes the features, by name."""

from __future__ import annotations

from typing import Literal, get_args

from idrstream.errors import ConfigError
from idrstream.profile.deepprofiler.engine import DeepProfilerEngine
from idrstream.profile.engine import CommandEngine, Engine
from idrstream.profile.torch.engine import Precision, TorchEngine

EngineName = Literal["torch", "deepprofiler", "command"]
"""Name of an engine."""

_TIMEOUT_S = 3600.0


def make_engine(
    name: EngineName | str = "torch",
    *,
    gpu: str = "0",
    timeout_s: float = _TIMEOUT_S,
    device: str = "auto",
    precision: Precision = "float32",
    crops_at_once: int | None = None,
) -> Engine:
    """Return the engine of a name.

    Parameters
    ----------
    name : {"torch", "deepprofiler", "command"}
        PyTorch in this process; DeepProfiler in one of its own for the whole stream; or its
        command anew for every batch.
    gpu : str, default: "0"
        Number of the GPU, when there are some; "-1" for none.
    timeout_s : float, default: 3600
        DeepProfiler: seconds after which a batch is given up.
    device : str, default: "auto"
        torch: "auto" (the GPU of that number when there is one), "cpu", "cuda" or "mps".
    precision : {"float32", "bfloat16", "float16"}, default: "float32"
        torch: of the network.
    crops_at_once : int, optional
        torch: crops that go through the network together.

    Raises
    ------
    idrstream.errors.ConfigError
        When there is no such engine, device or precision.
    """
    if name == "torch":
        return TorchEngine(_device(device, gpu), precision=precision, crops_at_once=crops_at_once)
    if name == "deepprofiler":
        return DeepProfilerEngine(gpu, timeout_s)
    if name == "command":
        return CommandEngine(gpu, timeout_s)
    raise ConfigError(f"there is no engine {name!r}; there are {', '.join(get_args(EngineName))}")


def _device(device: str, gpu: str) -> str:
    if device == "auto" and gpu == "-1":
        return "cpu"
    return f"cuda:{gpu}" if device == "cuda" and gpu.isdigit() else device
