"""The nuclei model that ships, and the estimate of the diameter of nuclei."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream import models
from idrstream.errors import MissingToolError
from idrstream.segment.network.intensity import (
    USUAL_PERCENTILES,
    visible_percentiles,
    without_blank,
)

FORMAT_VERSION = 1
_STYLE_LENGTH = 256
_SMALLEST_PX, _LARGEST_PX = 5.0, 150.0
_STYLE_WINDOW_PX = 352  # four tiles of Cellpose's
_WINDOW_PX = 528  # of the image as the network sees it: four of our tiles
_ENOUGH_NUCLEI = 8
_AGREEMENT, _NEARNESS = 0.1, 0.25  # how far logarithms of diameters may be apart
_STEP = 1.05
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class SizeEstimator:
    """Estimates the diameter of the nuclei in an image.

    As in Cellpose, a linear regression on the network's style vector gives a first value, and the
    median diameter of the masks found at that scale the next; here the second step is repeated
    when the first was far off, and both see a window of a large image only, until that shows few
    nuclei. The diameter of a large image is rounded up to steps of 5 %: a pixel more or less on
    some mask, as another processor or precision makes it, would else change the scale and with it
    the border of every nucleus. Up, because nuclei in pieces come apart where they are enlarged
    too much.
    Source: Stringer et al., Nature Methods 18, 100-106 (2021), "size model".

    Attributes
    ----------
    weights : NDArray
        Shape ``(256,)``, float64: slope of the logarithm of the diameter for each style value.
    offset : float
        Logarithm of the diameter in pixels at a style of zeros.
    """

    weights: NDArray[np.float64]
    offset: float

    def estimate(self, image: NDArray[Any], model: Any) -> float:
        """Return the diameter of the nuclei in pixels.

        Parameters
        ----------
        image : NDArray
            Shape ``(Y, X)``, any integer or float type; nuclei brighter than the background.
        model : cellpose.models.CellposeModel
            The shipped model, from `load_shipped`.

        Returns
        -------
        float
            5 to 150; where no nucleus is found, what the style says.
        """
        diameter = first = self.from_style(image_style(_window(image, _STYLE_WINDOW_PX), model))
        enough = True  # a window is, until it shows few nuclei
        for _ in range(_ROUNDS):
            side = round(_WINDOW_PX * diameter / model.diam_mean)
            part = _window(image, side) if enough else image
            number, found = _seen(part, model, diameter)
            whole = part.shape == image.shape
            if whole and number == 0:
                return first
            apart = abs(np.log(found / diameter))
            larger = found > diameter and apart >= _AGREEMENT
            if not whole and number < _ENOUGH_NUCLEI and not larger:
                # The whole, but not at far too large a scale, which would take long. Rounded, as it
                # will most likely be segmented, for then the network need not see it again.
                enough, diameter = False, rounded_up(diameter, model.diam_mean)
            elif apart >= _NEARNESS:
                diameter = found if enough else rounded_up(found, model.diam_mean)
            elif whole and apart < _AGREEMENT:
                return diameter  # the network has seen all of it so: segmenting costs nothing
            elif whole and enough:
                return found
            else:
                return rounded_up(found, model.diam_mean)
        return diameter

    def from_style(self, style: NDArray[Any]) -> float:
        """Return the diameter in pixels that a style predicts; style has shape ``(256,)``."""
        value = float(np.exp(self.weights @ style + self.offset))
        return float(np.clip(value, _SMALLEST_PX, _LARGEST_PX))


def load_shipped(
    gpu: bool, network: Path | None = None, size: Path | None = None
) -> tuple[Any, SizeEstimator]:
    """Load a nuclei model of this package, ready to segment, and its size estimator.

    Parameters
    ----------
    gpu : bool
        Whether to put it on the GPU; without one it stays on the processor.
    network, size : Path, optional
        Its files; by default those of ``idrstream-nuclei``.

    Returns
    -------
    model : cellpose.models.CellposeModel
        In evaluation mode, single precision; ``diam_mean`` is the diameter it works at.
    estimator : SizeEstimator
        For images of unknown scale.

    Raises
    ------
    idrstream.errors.MissingToolError
        When the files are missing, damaged or of a newer format.
    """
    model = load_nuclei_network(network or models.nuclei_model_path(), gpu=gpu)
    return model, load_size_estimator(size or models.nuclei_size_model_path())


def load_nuclei_network(path: Path, *, gpu: bool = False) -> Any:
    """Load a network file, as training wrote it, into a ``CellposeModel``."""
    import torch

    from idrstream.segment.network.pooled import PooledModel

    class NucleiModel(PooledModel):
        """Cellpose's model, which scales each image by `visible_percentiles`."""

        def percentiles(self, pixels: NDArray[Any]) -> tuple[float, float] | None:
            return visible_percentiles(pixels)

        def recorded(self, pixels: NDArray[Any]) -> NDArray[Any]:
            return without_blank(pixels)

        def eval(self, x: Any, **options: Any) -> Any:
            percentiles = self.percentiles(x)
            x = self.recorded(x)
            if percentiles is None:
                x, percentiles = np.zeros_like(x), USUAL_PERCENTILES
            options.setdefault("normalize", {"percentile": list(percentiles)})
            return super().eval(x, **options)

    arrays = _read_arrays(path)
    widths = [int(w) for w in arrays.pop("widths")]
    state = {name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()}
    diam_mean = float(state["diam_mean"][0])
    model = NucleiModel(gpu=gpu, pretrained_model=False, diam_mean=diam_mean)
    network = build_network(widths, diam_mean)
    network.load_state_dict(state, strict=False)
    # Channels last runs faster on a processor than Cellpose's oneDNN tensors (no conversions).
    model.net = network.to(model.device, memory_format=torch.channels_last).eval()
    model.mkldnn = False
    model.nbase = widths
    model.diam_labels = float(state["diam_labels"][0])
    model.pretrained_model = str(path)
    return model


def build_network(widths: list[int], diam_mean: float) -> Any:
    """Return an untrained Cellpose network of any width.

    Parameters
    ----------
    widths : list of int
        Channels of the input and of each level.
    diam_mean : float
        Diameter of nuclei in pixels at which it works.

    Notes
    -----
    ``cellpose.core.run_net`` expects a style of 256 values whatever the network's width, so a
    shorter one is filled up with zeros.
    """
    import torch
    from cellpose.resnet_torch import CPnet

    class NucleiNet(CPnet):  # type: ignore[misc]
        """Cellpose's network, with its style vector filled up to the usual length."""

        def forward(self, data: Any) -> tuple[Any, Any, Any]:
            output, style, down = super().forward(data)
            missing = _STYLE_LENGTH - style.shape[1]
            return output, torch.nn.functional.pad(style, (0, missing)), down

    return NucleiNet(list(widths), 3, sz=3, mkldnn=False, max_pool=True, diam_mean=diam_mean)


def load_size_estimator(path: Path) -> SizeEstimator:
    """Load a size estimator, as training wrote it."""
    arrays = _read_arrays(path)
    return SizeEstimator(arrays["weights"].astype(np.float64), float(arrays["offset"]))


def image_style(image: NDArray[Any], model: Any) -> NDArray[np.float32]:
    """Return the network's style of an image at its own scale, shape ``(256,)``."""
    style = model.eval(image, channels=[0, 0], rescale=1.0, resample=False, compute_masks=False)[-1]
    return np.nan_to_num(np.asarray(style, np.float32))


def _seen(image: NDArray[Any], model: Any, diameter_px: float) -> tuple[int, float]:
    """Return how many nuclei there are at a scale, and their median diameter.

    Without any the diameter is the one given.
    """
    masks = _masks(image, model, diameter_px)
    if masks.max() == 0:
        return 0, diameter_px
    areas = np.bincount(masks.ravel())[1:]
    value = float(np.median(np.sqrt(areas[areas > 0])) * 2 / np.sqrt(np.pi))
    return int((areas > 0).sum()), float(np.clip(value, _SMALLEST_PX, _LARGEST_PX))


def rounded_up(diameter_px: float, usual_px: float) -> float:
    """Return the next larger of the usual diameter times powers of 1.05, from 5 to 150 px."""
    steps = np.ceil(np.log(diameter_px / usual_px) / np.log(_STEP) - 1e-6)
    return float(np.clip(usual_px * _STEP**steps, _SMALLEST_PX, _LARGEST_PX))


def _masks(image: NDArray[Any], model: Any, diameter_px: float) -> NDArray[Any]:
    masks = model.eval(image, channels=[0, 0], diameter=diameter_px, resample=False, interp=False)
    return np.asarray(masks[0])


def _window(image: NDArray[Any], side: int) -> NDArray[Any]:
    rows, columns = image.shape
    top, left = max(0, (rows - side) // 2), max(0, (columns - side) // 2)
    return image[top : top + side, left : left + side]


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise MissingToolError(f"{path} is not a readable model file: {error}") from error
    version = int(arrays.pop("format_version", np.array(0)))
    if version != FORMAT_VERSION:
        raise MissingToolError(
            f"{path} has format version {version}; this idrstream reads {FORMAT_VERSION}"
        )
    return arrays
