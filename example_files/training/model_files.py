"""Writes the files of trained models that ``idrstream.segment`` loads, and scales their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from idrstream.segment.cellpose.shipped import FORMAT_VERSION, SizeEstimator
from idrstream.segment.network.intensity import USUAL_PERCENTILES, bright_pixels, percentiles_for


def save_nuclei_network(
    path: Path, state: dict[str, Any], widths: list[int], diam_labels: float
) -> None:
    """Write a network file: weights in half precision, statistics in single, no pickle.

    Parameters
    ----------
    path : Path
        File to write; ends with ``.npz``.
    state : dict
        State dict of the network, tensors on the processor.
    widths : list of int
        As in `build_network`.
    diam_labels : float
        Mean diameter in pixels of the nuclei it was trained on.
    """
    arrays: dict[str, Any] = {}
    for name, tensor in state.items():
        array = tensor.detach().numpy()
        if array.dtype.kind != "f":
            continue
        arrays[name] = array.astype(np.float16 if array.ndim > 1 else np.float32)
    arrays["diam_labels"] = np.array([diam_labels], np.float32)
    np.savez_compressed(
        path, widths=np.array(widths, np.int64), format_version=FORMAT_VERSION, **arrays
    )


def save_size_estimator(path: Path, estimator: SizeEstimator) -> None:
    """Write a size estimator; the file ends with ``.npz`` and holds no pickle."""
    np.savez(
        path,
        weights=estimator.weights.astype(np.float32),
        offset=estimator.offset,
        format_version=FORMAT_VERSION,
    )


def intensity_percentiles(image: NDArray[Any]) -> tuple[float, float]:
    """Return the percentiles of an image's pixels that become 0 and 1 for the network.

    Cellpose takes the 1st and the 99th. Where nuclei cover less than about a hundredth of a frame
    the 99th lies in the medium: nuclei are then cut off at a multiple of 1 and its noise fills the
    range. Here the upper one is the 99th, too, unless that would cut off more than the brightest
    fifth of the nuclei: then it is as much higher, up to 99.98.

    Parameters
    ----------
    image : NDArray
        Shape ``(Y, X)``.

    Returns
    -------
    lower, upper : float
        In percent.
    """
    bright = bright_pixels(image)
    return USUAL_PERCENTILES if bright is None else percentiles_for(bright)
