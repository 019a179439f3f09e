"""DeepProfiler's features by PyTorch: same configuration, checkpoint, crops and files."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from idrstream.config import ProfileSettings
from idrstream.errors import ConfigError, ProfileError
from idrstream.profile.checkpoint import Checkpoint
from idrstream.profile.deepprofiler.features_file import read_points, write_features
from idrstream.profile.deepprofiler.outputs import check_features
from idrstream.profile.engine import Engine
from idrstream.profile.torch.parts import Crops, Part, split_parts
from idrstream.workers.precision import check_bfloat16
from idrstream.workers.threads import in_threads, threads_limited, torch_threads

if TYPE_CHECKING:
    import torch

    from idrstream.profile.deepprofiler.project import DeepProfilerProject, ProjectImage

    Network: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

_log = logging.getLogger("idrstream.profile")

# On a processor crops go through by the dozen, one thread each: as much as its caches hold.
# A GPU wants much more.
_CPU_BATCH_PX = 1 << 17
_GPU_BATCH_PX = 1 << 22
_IMAGES_IN_MEMORY = 64
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc",
                 "alloc_failed")  # fmt: skip


class TorchEngine(Engine):
    """Computes DeepProfiler's features with PyTorch, in this process.

    On a GPU crops of all nuclei and images of a project go through the network together. On a
    processor each thread takes some crops of one image, so that features do not depend on the
    number of threads or on what else is in the batch, to the byte. When memory runs out the batch
    is halved and tried again, at last on the CPU.

    Parameters
    ----------
    settings : ProfileSettings, optional
        Device, precision and crops at once. Single precision equals DeepProfiler; half precisions
        are faster on GPUs that have them, and inexact.
    """

    def __init__(self, settings: ProfileSettings | None = None) -> None:
        settings = settings or ProfileSettings()
        self._wanted_device = _device_name(settings.profile_device, settings.dp_gpu)
        self._precision = settings.profile_precision
        self._crops_at_once = settings.crops_at_once
        self._limits: dict[str, int] = {}
        self._network: tuple[object, Network] | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def describe(self) -> Mapping[str, object]:
        """Return what changes a result: that it is PyTorch, and the precision."""
        return {"name": "torch", "precision": self._precision}

    def gpus(self) -> list[str]:
        """Return the GPU that is used, when one is, such as ``cuda:0``."""
        device = self._device()
        return [] if device.type == "cpu" else [str(device)]

    def load(self, project: DeepProfilerProject) -> None:
        """Build the network, so that what is wrong shows before the first download.

        Raises
        ------
        idrstream.errors.ConfigError
            When the feature layer, the weights or the device cannot be used.
        """
        device = self._device()
        if self._precision == "bfloat16":
            check_bfloat16(device, "profile_precision", "float32")
        with self._lock:
            self._network_for(project, device)

    def profile(self, project: DeepProfilerProject) -> None:
        """Write ``index.csv``, compute the features and write their files.

        Raises
        ------
        idrstream.errors.ProfileError
            When memory does not hold even one crop on the CPU, an image cannot be read, or
            features are not finite.
        idrstream.errors.ConfigError
            See `load`.
        """
        project.write_index()
        images = [image for image in project.images if image.nuclei]
        if not images:
            _log.info("No nuclei in this batch: nothing is profiled")
            return
        with self._lock:
            self._stop.clear()
            for start in range(0, len(images), _IMAGES_IN_MEMORY):
                self._profile_images(project, images[start : start + _IMAGES_IN_MEMORY])
        check_features(project)

    def interrupt(self) -> None:
        """End a running `profile` after the crops it is at; it raises `ProfileError`."""
        self._stop.set()

    def close(self) -> None:
        """Free the network; it is built again when needed."""
        self.interrupt()
        with self._lock:
            self._network = None

    def _profile_images(self, project: DeepProfilerProject, images: Sequence[ProjectImage]) -> None:
        """Read images, compute the features of their nuclei, and write them."""
        threads = torch_threads()

        def read(image: ProjectImage) -> Crops:
            return Crops(_pixels(project, image), read_points(project, image))

        crops = in_threads(read, images, threads)
        features = self._features(project, crops, threads)
        start = 0
        for image, one in zip(images, crops, strict=True):
            stop = start + len(one.points)
            write_features(project, image, features[start:stop], one.points)
            start = stop

    def _features(
        self, project: DeepProfilerProject, crops: Sequence[Crops], threads: int
    ) -> NDArray[np.float32]:
        """Return the features of all nuclei, image after image."""
        import torch

        device = self._device()
        done: list[NDArray[np.float32]] = []
        if self._pools(device):
            parts = split_parts(crops, self._usual(project, device), pooled=True)
            try:
                done = [self._compute(project, device, part) for part in parts]
            except _NotOneCropFitsError as error:
                _log.warning(
                    "The memory of %s does not hold even one crop: this batch on the CPU (%s)",
                    device, error,
                )  # fmt: skip
                self._network, done, device = None, [], torch.device("cpu")
        if not done:
            parts = split_parts(crops, self._usual(project, device), pooled=False)
            self._network_for(project, device)
            try:
                with threads_limited(1):  # also of one part only: the same bytes whatever there is
                    done = in_threads(partial(self._compute, project, device), parts, threads)
            except _NotOneCropFitsError as error:
                raise ProfileError(f"the memory does not hold even one crop: {error}") from error
        return np.concatenate(done)

    def _compute(
        self, project: DeepProfilerProject, device: torch.device, part: Part
    ) -> NDArray[np.float32]:
        """Return the features of a part, in pieces when the memory has shown to hold no more."""
        count = sum(len(crops.points) for crops in part)
        fits = self._limits.get(device.type, count)
        if count > fits:
            pieces = split_parts(part, fits, pooled=True)
            return np.concatenate([self._compute(project, device, piece) for piece in pieces])
        if self._stop.is_set():
            raise ProfileError("the profiling was stopped")
        try:
            return self._run(project, device, part)
        except (RuntimeError, MemoryError) as error:
            if not _is_memory(error):
                raise ProfileError(f"PyTorch failed on {device}: {error}") from error
            why = str(error)
        # Outside the except block: an error keeps the tensors alive that it was raised among.
        self._make_smaller(device, count, why)
        return self._compute(project, device, part)

    def _run(
        self, project: DeepProfilerProject, device: torch.device, part: Part
    ) -> NDArray[np.float32]:
        import torch

        from idrstream.profile.torch.crops import cut_crops

        config = project.config
        network = self._network_for(project, device)
        with torch.inference_mode():
            cut = [
                cut_crops(
                    torch.from_numpy(one.pixels).to(device).float(), one.points, config.box_size
                )
                for one in part
            ]
            # The channels of a configuration are all the same image.
            crops = torch.cat(cut)[:, None].expand(-1, len(config.channels), -1, -1)
            crops = crops.to(dtype=self._dtype(), memory_format=torch.channels_last)
            result: NDArray[np.float32] = network(crops).cpu().numpy()
        return result

    def _network_for(self, project: DeepProfilerProject, device: torch.device) -> Network:
        """Return the network on a device, rebuilt when checkpoint or configuration changed."""
        import torch

        from idrstream.profile.torch.efficientnet import build_network

        config, path = project.config, project.checkpoint_path
        status = path.stat()
        key = (
            path, status.st_size, status.st_mtime_ns,
            config.conv_blocks, config.box_size, config.feature_layer, len(config.channels), device,
        )  # fmt: skip
        if self._network is not None and self._network[0] == key:
            return self._network[1]
        if device.type == "cuda" and self._precision == "float32":
            # TensorFloat-32 keeps 10 bits of each number: features would be off by 1e-3.
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
        network = build_network(
            Checkpoint.read(path),
            conv_blocks=config.conv_blocks,
            channels=len(config.channels),
            box_size=config.box_size,
            feature_layer=config.feature_layer,
        )
        self._network = (key, network.to(device=device, dtype=self._dtype()))
        return self._network[1]

    def _device(self) -> torch.device:
        import torch

        name = self._wanted_device
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

    def _usual(self, project: DeepProfilerProject, device: torch.device) -> int:
        """Return how many crops go through the network together when memory allows it."""
        pixels = _GPU_BATCH_PX if self._pools(device) else _CPU_BATCH_PX
        return self._crops_at_once or max(1, pixels // project.config.box_size**2)

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


def _pixels(project: DeepProfilerProject, image: ProjectImage) -> NDArray[Any]:
    """Return a frame's pixels, shape ``(Y, X)``, uint8 or float32."""
    import tifffile

    path = project.image_path(image)
    try:
        pixels: NDArray[Any] = tifffile.imread(path)
    except (OSError, ValueError) as error:
        raise ProfileError(f"{image.name} cannot be read from {path}: {error}") from error
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)


def _is_memory(error: Exception) -> bool:
    # torch.OutOfMemoryError is a RuntimeError; the CPU's allocator has none of its own.
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(word in words for word in _MEMORY_WORDS)
