"""What a network that looks at crops tells the engine that runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from idrstream.profile.checkpoint import Checkpoint
from idrstream.profile.checks import check_embedding
from idrstream.profile.model import DeepModel

if TYPE_CHECKING:
    import torch

    from idrstream.records import Features, Frame


@dataclass(frozen=True, slots=True)
class BuiltNetwork:
    """A network on a device.

    Attributes
    ----------
    run : callable
        Takes scaled crops, shape ``(n, C, Y, X)``, float32; returns ``(n, d)``, float32.
    columns : tuple of str
        Names of the `d` features.
    """

    run: Callable[[torch.Tensor], torch.Tensor]
    columns: tuple[str, ...]


class CropNetwork(Protocol):
    """A network for crops around objects: what it takes, and how it is built."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels that it takes; a name may be there several times."""
        ...

    @property
    def box_px(self) -> int:
        """Side of the crops in pixels."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what changes a result, JSON-ready."""
        ...

    def planes_among(self, have: Sequence[str]) -> tuple[int, ...]:
        """Return for each channel its number among those of a frame, or raise `ConfigError`."""
        ...

    def state(self) -> object:
        """Return what changes when its files change; equal values mean the same network."""
        ...

    def build(self, device: torch.device, precision: torch.dtype) -> BuiltNetwork:
        """Return the network on a device, or raise `ConfigError`."""
        ...

    def scale(self, crops: torch.Tensor) -> torch.Tensor:
        """Return crops of grey levels as the network wants them; may change them in place."""
        ...

    def check(self, features: Sequence[Features], frames: Sequence[Frame]) -> None:
        """Raise `ProfileError` if features cannot be right."""
        ...


@dataclass(frozen=True, slots=True)
class EfficientNetCrops:
    """DeepProfiler's network and crops.

    Attributes
    ----------
    model : DeepModel
        Configuration and checkpoint.
    """

    model: DeepModel

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of the configuration."""
        return self.model.config.channels

    @property
    def box_px(self) -> int:
        """Box of the configuration."""
        return self.model.config.box_size

    def describe(self) -> Mapping[str, Any]:
        """Return that it is PyTorch; the model describes itself."""
        return {"name": "torch"}

    def planes_among(self, have: Sequence[str]) -> tuple[int, ...]:
        """Return the numbers of the channels; see `DeepModel.planes_among`."""
        return self.model.planes_among(have)

    def state(self) -> object:
        """Return the configuration, and size and time of the checkpoint."""
        status = self.model.checkpoint_path.stat()
        return self.model, status.st_size, status.st_mtime_ns

    def build(self, device: torch.device, precision: torch.dtype) -> BuiltNetwork:
        """Return the network with the weights of the checkpoint."""
        from idrstream.profile.torch.efficientnet import build_network
        from idrstream.profile.torch.fused import fused

        config = self.model.config
        network = build_network(
            Checkpoint.read(self.model.checkpoint_path),
            conv_blocks=config.conv_blocks,
            channels=len(config.channels),
            box_size=config.box_size,
            feature_layer=config.feature_layer,
        )
        ready: torch.nn.Module = network.to(device=device, dtype=precision)
        if device.type == "cpu":
            ready = fused(ready, len(config.channels), config.box_size)
        return BuiltNetwork(lambda crops: ready(crops.to(precision)).float(), self.model.columns)

    def scale(self, crops: torch.Tensor) -> torch.Tensor:
        """Return each crop and channel scaled from its minimum to its maximum, as DeepProfiler."""
        from idrstream.profile.torch.crops import scale_by_range

        return scale_by_range(crops)

    def check(self, features: Sequence[Features], frames: Sequence[Frame]) -> None:
        """Raise if features are not finite, or the same for all objects."""
        check_embedding(features, frames, self.model)
