"""Finding and loading Cellpose models: Cellpose's own, model files, and the shipped one."""

from __future__ import annotations

import logging
import pickle
import time
import urllib.request
import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from idrstream.config import BUILT_IN, SHIPPED, SegmentSettings
from idrstream.config.model_names import BUILT_IN_4, SHIPPED_MODELS
from idrstream.errors import ConfigError, MissingToolError
from idrstream.files import atomic_path
from idrstream.models import nuclei_model_path, nuclei_size_model_path
from idrstream.packages import require
from idrstream.segment.cellpose.settings import is_own, models_folder
from idrstream.segment.cellpose.size_file import check_size_file
from idrstream.workers.precision import check_bfloat16, computes_in_bfloat16

_log = logging.getLogger("idrstream.segment")

_MODELS_URL = "https://www.cellpose.org/models"
_MODELS_4_URL = "https://huggingface.co/mouseland/cellpose-sam/resolve/main"
_CONNECT_TIMEOUT_S = 15.0
_DOWNLOAD_TIMEOUT_S = 600.0
_WITH_SIZE_MODEL = {
    "cyto3": "size_cyto3.npy",
    "nuclei": "size_nucleitorch_0.npy",
    "cyto2": "size_cyto2torch_0.npy",
    "cyto": "size_cytotorch_0.npy",
}
_LOAD_ERRORS = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


class SizeEstimator(Protocol):
    """Tells the diameter of the nuclei of one frame."""

    def estimate(self, image: NDArray[Any], model: Any) -> float:
        """Return the diameter in pixels for `image`, shape ``(Y, X)``, seen by `model`."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A Cellpose model in memory.

    Attributes
    ----------
    model : cellpose.models.CellposeModel
        The network.
    estimator : SizeEstimator or None
        None when there is no size model for it.
    usual_diameter_px : float
        Mean diameter of the nuclei it was trained on, in pixels of their images.
    """

    model: Any
    estimator: SizeEstimator | None
    usual_diameter_px: float


class CellposeSizeModel:
    """Cellpose's own size model: a regression on the network's style, then one pass of masks.

    Source: Stringer et al., Nature Methods 18, 100-106 (2021); ``cellpose.models.SizeModel``.
    Its file is a pickle, as Cellpose wrote it; one that holds more than numbers is refused.
    """

    def __init__(self, path: Path, model: Any, settings: SegmentSettings) -> None:
        from cellpose.models import SizeModel

        check_size_file(path)
        try:
            self._size_model = SizeModel(cp_model=model, pretrained_size=str(path))
        except _LOAD_ERRORS as error:
            raise ConfigError(
                f"segmentor: size_model {path} is not a size model of Cellpose: {error}"
            ) from error
        self._channels = list(settings.channels)
        self._batch_size = settings.tile_batch_size

    def estimate(self, image: NDArray[Any], model: Any) -> float:
        """Return the diameter in pixels for `image`, shape ``(Y, X)``."""
        del model  # it was bound at construction
        diameter, _ = self._size_model.eval(
            image, channels=self._channels, batch_size=self._batch_size
        )
        return float(diameter)


def load_model(settings: SegmentSettings) -> LoadedModel:
    """Load the model that `settings` name, on a GPU if available and not declined.

    Raises
    ------
    idrstream.errors.MissingToolError
        When Cellpose, the GPU that was insisted on, or a model's file cannot be had.
    idrstream.errors.ConfigError
        When a file is not a model.
    """
    require("cellpose", "the segmentation")
    gpu = _use_gpu(settings.gpu)
    # Cellpose announces devices, files and empty frames; what matters is logged here.
    logging.getLogger("cellpose").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"cellpose\.")
    _check_version(settings.model_type)
    if has_cellpose_4():
        return _load_4(settings, gpu=gpu)
    if is_own(settings.model_type):
        loaded = _load_own(settings.model_type, gpu=gpu)
    elif settings.model_type in BUILT_IN:
        loaded = _load_built_in(settings, gpu=gpu)
    else:
        loaded = _load_file(settings, gpu=gpu)
    loaded.model.prepare(
        settings.tile_batch_size, _precision(settings.precision, loaded.model.device)
    )
    return loaded


def model_files(settings: SegmentSettings) -> list[Path]:
    """Return the files that the model of `settings` comes from; none for Cellpose's own.

    Those have fixed names, under which Cellpose downloads always the same weights.
    """
    if is_own(settings.model_type):
        return list(own_files(settings.model_type))
    if settings.model_type in (*BUILT_IN, *BUILT_IN_4):
        return [Path(settings.size_model)] if settings.size_model else []
    path = Path(settings.model_type)
    size_file = _size_file_of(settings, path) if _estimates(settings) else None
    return [path, size_file] if size_file else [path]


def own_files(model_type: str) -> tuple[Path, Path]:
    """Return the files of the network and of the size estimator of a model of this package."""
    if model_type in SHIPPED_MODELS:
        return nuclei_model_path(model_type), nuclei_size_model_path(model_type)
    path = Path(model_type)
    return path, path.with_name(f"{path.stem}_size.npz")


def _use_gpu(wanted: bool | Literal["auto"]) -> bool:
    try:
        import torch
    except ImportError as error:
        raise MissingToolError(
            "Cellpose needs PyTorch, which cannot be imported: pip install torch"
        ) from error
    there = torch.cuda.is_available() or torch.backends.mps.is_available()
    if wanted is True and not there:
        raise MissingToolError(
            "segmentor: gpu is true, but PyTorch sees no GPU; install a PyTorch build for your "
            'GPU, or set gpu to "auto"'
        )
    return there if wanted == "auto" else wanted


def _precision(wanted: str, device: Any) -> Any:
    """Return the torch dtype of the network: bfloat16 where the hardware computes in it."""
    import torch

    if wanted == "bfloat16":
        check_bfloat16(device, "precision", "auto")
    bfloat16 = wanted == "bfloat16" or (wanted == "auto" and computes_in_bfloat16(device))
    return torch.bfloat16 if bfloat16 else torch.float32


def has_cellpose_4() -> bool:
    """Return whether Cellpose 4 or later is installed, in the place of 3."""
    return int(metadata.version("cellpose").partition(".")[0]) >= 4


def _check_version(model_type: str) -> None:
    """Refuse a model whose Cellpose is another one than that installed."""
    if has_cellpose_4() and (is_own(model_type) or model_type in BUILT_IN):
        needed, command = "Cellpose 3", "pip install --no-deps 'cellpose<4'"
    elif not has_cellpose_4() and model_type in BUILT_IN_4:
        needed = "Cellpose 4 in its place"
        command = "pip install --no-deps 'cellpose>=4,<5' segment-anything, and torchvision"
    else:
        return
    raise MissingToolError(
        f"segmentor: model_type {model_type!r} needs {needed}; Cellpose "
        f"{metadata.version('cellpose')} is installed: {command}"
    )


def _load_4(settings: SegmentSettings, *, gpu: bool) -> LoadedModel:
    import torch

    name = settings.model_type
    path = fetch_built_in(name, _MODELS_4_URL) if name in BUILT_IN_4 else Path(name)
    try:
        from cellpose.core import assign_device

        from idrstream.segment.cellpose.model_4 import CellposeFour

        device = assign_device(gpu=gpu)[0]
        bfloat16 = _precision(settings.precision, device) == torch.bfloat16
        model = CellposeFour(path, device, bfloat16=bfloat16)
    except ImportError as error:
        raise MissingToolError(
            f"Cellpose {metadata.version('cellpose')} cannot be imported ({error}): "
            "pip install --no-deps segment-anything, and the torchvision that goes with PyTorch"
        ) from error
    except _LOAD_ERRORS as error:
        raise ConfigError(
            f"segmentor: {path} is not a model file of Cellpose 4 "
            f"({type(error).__name__}: {error}); models of Cellpose 3 need Cellpose 3"
        ) from error
    return LoadedModel(model, None, model.diam_mean)


def _new_model(path: Path, *, gpu: bool, **options: Any) -> Any:
    from idrstream.segment.network.pooled import PooledModel

    try:
        return PooledModel(gpu=gpu, **options)
    except _LOAD_ERRORS as error:
        raise ConfigError(
            f"segmentor: {path} is not a model file of Cellpose 3 "
            f"({type(error).__name__}: {error}); models of Cellpose 4 do not fit"
        ) from error


def _load_own(model_type: str, *, gpu: bool) -> LoadedModel:
    from idrstream.segment.cellpose.shipped import load_shipped

    model, estimator = load_shipped(gpu, *own_files(model_type))
    return LoadedModel(model, estimator, float(model.diam_labels))


def _load_built_in(settings: SegmentSettings, *, gpu: bool) -> LoadedModel:
    name = settings.model_type
    stem = f"{name}torch_0" if name in {"cyto", "cyto2", "nuclei"} else name
    path = fetch_built_in(stem)
    model = _new_model(path, gpu=gpu, model_type=name, diam_mean=17.0 if "nuclei" in name else 30.0)
    estimator = None
    if _estimates(settings):
        size_file = _size_file_of(settings, path)
        if size_file is None and name in _WITH_SIZE_MODEL:
            size_file = fetch_built_in(_WITH_SIZE_MODEL[name])
        estimator = CellposeSizeModel(size_file, model, settings) if size_file else None
    return LoadedModel(model, estimator, float(model.diam_labels))


def _load_file(settings: SegmentSettings, *, gpu: bool) -> LoadedModel:
    path = Path(settings.model_type)
    model = _new_model(path, gpu=gpu, pretrained_model=str(path))
    estimator = None
    if _estimates(settings):
        size_file = _size_file_of(settings, path)
        estimator = CellposeSizeModel(size_file, model, settings) if size_file else None
    return LoadedModel(model, estimator, float(model.diam_labels))


def _estimates(settings: SegmentSettings) -> bool:
    """Return whether diameters are estimated."""
    return settings.diameter in (0, "plate")


def _size_file_of(settings: SegmentSettings, path: Path) -> Path | None:
    if settings.size_model is not None:
        return Path(settings.size_model)
    beside = path.with_name(path.name + "_size.npy")
    return beside if beside.is_file() else None


def fetch_built_in(name: str, root: str = _MODELS_URL) -> Path:
    """Return the file of one of Cellpose's own models, downloaded if missing.

    Cellpose's own download neither checks the server's certificate (and switches the check off
    for the whole process) nor has a time limit, hence this one.

    Parameters
    ----------
    name : str
        The file's name, for example ``cyto3`` or ``size_cyto3.npy``.
    root : str, optional
        Address of the folder that it lies in.

    Raises
    ------
    idrstream.errors.MissingToolError
        When the file is missing and cannot be downloaded; the message says what to do on a
        machine without internet.
    """
    path = models_folder() / name
    if path.is_file():
        return path
    url = f"{root}/{name}"
    _log.info("Downloading Cellpose's model %s from %s", name, url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download(url, path)
    except OSError as error:
        raise MissingToolError(
            f"Cellpose's model file {name} is not in {path.parent} and cannot be downloaded "
            f"from {url} ({error}). Without internet: download it elsewhere and copy it to "
            f"{path} (or to the folder that CELLPOSE_LOCAL_MODELS_PATH names), or set "
            f'model_type to "{SHIPPED}", which comes with this package'
        ) from error
    return path


def _download(url: str, path: Path) -> None:
    deadline = time.monotonic() + _DOWNLOAD_TIMEOUT_S
    with (
        atomic_path(path) as part,
        part.open("wb") as stream,
        urllib.request.urlopen(url, timeout=_CONNECT_TIMEOUT_S) as answer,  # noqa: S310
    ):
        expected = answer.headers.get("Content-Length")
        while block := answer.read(1 << 20):
            stream.write(block)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not finished after {_DOWNLOAD_TIMEOUT_S:.0f} s")
        if expected is not None and stream.tell() != int(expected):
            raise OSError(f"{stream.tell()} of {expected} bytes arrived")
