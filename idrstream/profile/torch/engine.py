"""Features of crops by PyTorch: DeepProfiler's network, or another in a model folder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.config import ProfileSettings
from idrstream.errors import ConfigError, ProfileError
from idrstream.profile.checks import check_features
from idrstream.profile.model import DeepModel
from idrstream.profile.protocol import FeatureEngine
from idrstream.profile.torch.groups import Crops, Group, group_crops
from idrstream.profile.torch.network import CropNetwork, EfficientNetCrops
from idrstream.records import Features, Frame, Objects
from idrstream.workers.precision import check_bfloat16
from idrstream.workers.threads import in_threads, threads_limited, torch_threads

if TYPE_CHECKING:
    import torch

    from idrstream.profile.torch.network import BuiltNetwork

_log = logging.getLogger("idrstream.profile")

# On a processor crops go through by the dozen, one thread each: as much as its caches hold.
# A GPU wants much more.
_CPU_BATCH_PX = 1 << 17
_GPU_BATCH_PX = 1 << 22
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc",
                 "alloc_failed")  # fmt: skip


class TorchEngine(FeatureEngine):
    """Computes features of crops with PyTorch, in this process.

    On a GPU crops of several frames go through the network together. On a processor each thread
    takes some crops of one frame, so that features do not depend on the number of threads or on
    what else is in the call, to the byte. When memory runs out the group is halved and tried
    again, at last on the CPU.

    Parameters
    ----------
    model : DeepModel or CropNetwork
        DeepProfiler's configuration and checkpoint; or another network, such as a `ModelFolder`.
    settings : ProfileSettings, optional
        Device, precision and crops at once. Single precision equals DeepProfiler; half precisions
        are faster on GPUs that have them, and inexact.
    """

    def __init__(
        self, model: DeepModel | CropNetwork, settings: ProfileSettings | None = None
    ) -> None:
        settings = settings or ProfileSettings()
        self._model = EfficientNetCrops(model) if isinstance(model, DeepModel) else model
        self._device_setting = _device_name(settings.profile_device, settings.dp_gpu)
        self._precision = settings.profile_precision
        self._crops_at_once = settings.crops_at_once
        self._limits: dict[str, int] = {}
        self._network: tuple[object, BuiltNetwork] | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def describe(self) -> Mapping[str, object]:
        """Return what changes a result: which kind of network, and the precision."""
        return {**self._model.describe(), "precision": self._precision}

    def gpus(self) -> list[str]:
        """Return the GPU that is used, when one is, such as ``cuda:0``."""
        device = self._device()
        return [] if device.type == "cpu" else [str(device)]

    def check_channels(self, names: Sequence[str]) -> None:
        """Raise `ConfigError` unless the channels of the model are among some names."""
        self._model.planes_among(names)

    def load(self) -> None:
        """Build the network, so that what is wrong shows before the first download.

        Raises
        ------
        idrstream.errors.ConfigError
            When the network or the device cannot be used.
        """
        device = self._device()
        if self._precision == "bfloat16":
            check_bfloat16(device, "profile_precision", "float32")
        with self._lock:
            self._network_on(device)

    def profile(self, frames: Sequence[Frame], objects: Sequence[Objects]) -> list[Features]:
        """Return the features of the objects of each frame; see `FeatureEngine.profile`.

        Raises
        ------
        idrstream.errors.ProfileError
            When memory does not hold even one crop on the CPU, or features are not finite.
        idrstream.errors.ConfigError
            When a frame lacks a channel, and as `load`.
        """
        model = self._model
        crops = [
            Crops(_channels(frame, model), of.locations)
            for frame, of in zip(frames, objects, strict=True)
        ]
        with self._lock:
            self._stop.clear()
            values = None
            if any(map(len, objects)):
                values = self._features(crops, torch_threads())
            network = self._network[1] if self._network else self._network_on(self._device())
            columns = network.columns
            if values is None:
                values = np.empty((0, len(columns)), np.float32)
        ends = np.cumsum([len(of) for of in objects], dtype=np.int64)
        features = [
            Features(of.name, columns, values[end - len(of) : end])
            for of, end in zip(objects, ends, strict=True)
        ]
        check_features(features, frames, objects)
        model.check(features, frames)
        return features

    def interrupt(self) -> None:
        """End a running `profile` after the crops it is at; it raises `ProfileError`."""
        self._stop.set()

    def close(self) -> None:
        """Free the network; it is built again when needed."""
        self.interrupt()
        with self._lock:
            self._network = None

    def _features(self, crops: Sequence[Crops], threads: int) -> NDArray[np.float32]:
        """Return the features of all objects, frame after frame."""
        import torch

        device = self._device()
        done: list[NDArray[np.float32]] = []
        if self._pools(device):
            groups = group_crops(crops, self._usual(device), pooled=True)
            try:
                done = [self._compute(device, group) for group in groups]
            except _NotOneCropFitsError as error:
                _log.warning(
                    "The memory of %s does not hold even one crop: these frames on the CPU (%s)",
                    device, error,
                )  # fmt: skip
                self._network, done, device = None, [], torch.device("cpu")
        if not done:
            groups = group_crops(crops, self._usual(device), pooled=False)
            self._network_on(device)
            try:
                with threads_limited(1):  # also of one group only: the same bytes whatever there is
                    done = in_threads(partial(self._compute, device), groups, threads)
            except _NotOneCropFitsError as error:
                raise ProfileError(f"the memory does not hold even one crop: {error}") from error
        return np.concatenate(done)

    def _compute(self, device: torch.device, group: Group) -> NDArray[np.float32]:
        """Return the features of a group, in pieces when the memory has shown to hold no more."""
        count = sum(len(crops.points) for crops in group)
        fits = self._limits.get(device.type, count)
        if count > fits:
            pieces = group_crops(group, fits, pooled=True)
            return np.concatenate([self._compute(device, piece) for piece in pieces])
        if self._stop.is_set():
            raise ProfileError("the profiling was stopped")
        try:
            return self._run(device, group)
        except (RuntimeError, MemoryError) as error:
            if not _is_memory(error):
                raise ProfileError(f"PyTorch failed on {device}: {error}") from error
            why = str(error)
        # Outside the except block: an error keeps the tensors alive that it was raised among.
        self._make_smaller(device, count, why)
        return self._compute(device, group)

    def _run(self, device: torch.device, group: Group) -> NDArray[np.float32]:
        import torch

        from idrstream.profile.torch.crops import cut_crops

        model, network = self._model, self._network_on(device)

        def cut(one: Crops) -> torch.Tensor:
            planes = torch.from_numpy(one.pixels).to(device).float()
            return torch.stack([cut_crops(plane, one.points, model.box_px) for plane in planes], 1)

        with torch.inference_mode():
            crops = model.scale(torch.cat([cut(one) for one in group]))
            # A model of several channels that are the same image gets that image so many times.
            crops = crops.expand(-1, len(model.channels), -1, -1)
            crops = crops.contiguous(memory_format=torch.channels_last)
            result: NDArray[np.float32] = network.run(crops).cpu().numpy()
        return result

    def _network_on(self, device: torch.device) -> BuiltNetwork:
        """Return the network on a device, rebuilt when its files changed."""
        import torch

        key = self._model.state(), device
        if self._network is not None and self._network[0] == key:
            return self._network[1]
        if device.type == "cuda" and self._precision == "float32":
            # TensorFloat-32 keeps 10 bits of each number: features would be off by 1e-3.
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
        self._network = key, self._model.build(device, self._dtype())
        return self._network[1]

    def _device(self) -> torch.device:
        import torch

        name = self._device_setting
        if name == "auto":
            if torch.cuda.is_available():
                name = "cuda"
            else:
                name = "mps" if torch.backends.mps.is_available() else "cpu"
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise ConfigError(f"device {name!r} is none that PyTorch knows") from error
        if device.type == "cuda":
            count = torch.cuda.device_count()
            if (device.index or 0) >= count:
                raise ConfigError(f"device {name!r} is not available: PyTorch sees {count} GPUs")
            return torch.device("cuda", device.index or 0)
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise ConfigError('device "mps" is not available')
        return device

    def _dtype(self) -> torch.dtype:
        import torch

        return {
            "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
        }[self._precision]  # fmt: skip

    def _pools(self, device: torch.device) -> bool:
        """Return whether crops of several images go through together, as is best on a GPU."""
        return device.type != "cpu"

    def _usual(self, device: torch.device) -> int:
        """Return how many crops go through the network together when memory allows it."""
        pixels = _GPU_BATCH_PX if self._pools(device) else _CPU_BATCH_PX
        return self._crops_at_once or max(1, pixels // self._model.box_px**2)

    def _make_smaller(self, device: torch.device, crops: int, why: str) -> None:
        """Remember that a device's memory does not hold so many crops."""
        import torch

        if device.type == "cuda":
            torch.cuda.empty_cache()
        if crops < 2:
            raise _NotOneCropFitsError(why)
        self._limits[device.type] = min(crops // 2, self._limits.get(device.type, crops))
        _log.warning(
            "The memory of %s does not hold %d crops; continuing with batches of %d",
            device, crops, crops // 2,
        )  # fmt: skip


def _device_name(device: str, gpu: str) -> str:
    if device == "auto" and gpu == "-1":
        return "cpu"
    return f"cuda:{gpu}" if device == "cuda" and gpu.isdigit() else device


class _NotOneCropFitsError(Exception):
    """The memory of a device does not hold one crop."""


def _channels(frame: Frame, model: CropNetwork) -> NDArray[Any]:
    """Return the channels of the model, shape ``(C, Y, X)``, uint8 or float32; one if all equal."""
    planes = model.planes_among(frame.channels)
    pixels: NDArray[Any] = frame.pixels[list(planes if len(set(planes)) > 1 else planes[:1])]
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def _is_memory(error: Exception) -> bool:
    # torch.OutOfMemoryError is a RuntimeError; the CPU's allocator has none of its own.
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(word in words for word in _MEMORY_WORDS)
