"""Quality measures of a frame: nuclei, intensity, focus, background, saturation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from idrstream.records import Frame, Objects

_NUCLEUS_PX = 2  # half the side of the square in which a nucleus's intensity is taken
_BACKGROUND = 25.0  # percentile
_LEAST_PX = 48  # the shorter side of an image below which no slope is fitted


@dataclass(frozen=True, slots=True)
class FrameMeasures:
    """The quality measures of one frame.

    Attributes
    ----------
    nuclei : int
        Number of nuclei.
    area : float
        Median area of their masks in square pixels; NaN without nuclei.
    intensity : float
        Median over the nuclei of the mean grey level of the 5 x 5 pixels at their centroid,
        after the correction of the illumination, above the background.
    focus : float
        Slope of the radially averaged log power spectrum over the log spatial frequency
        (CellProfiler's PowerLogLogSlope): the more negative, the more blurred.
    background : float
        25th percentile of the corrected grey levels.
    saturated : float
        Share of saturated pixels before the correction, 0 to 1; NaN if unknown.
    shading : tuple of float
        Background in 8 x 8 tiles before the correction, row by row, relative to their mean;
        empty if unknown.
    source : str
        Where the movie came from.
    """

    nuclei: int
    area: float
    intensity: float
    focus: float
    background: float
    saturated: float
    shading: tuple[float, ...]
    source: str


def measure(frame: Frame, nuclei: Objects) -> FrameMeasures:
    """Measure a frame, in the channel that its nuclei were found in."""
    pixels, areas, raw = frame.plane(nuclei.channel), nuclei.table["area"], frame.raw
    background = float(np.percentile(pixels, _BACKGROUND)) if pixels.size else np.nan
    shading: tuple[float, ...] = ()
    if raw is not None and np.isfinite(raw.shading).all() and raw.shading.mean() > 0:
        shading = tuple((raw.shading / raw.shading.mean()).ravel().tolist())
    return FrameMeasures(
        nuclei=len(nuclei),
        area=float(np.median(areas)) if len(areas) else np.nan,
        intensity=_intensity(pixels, nuclei.locations) - background,
        focus=power_slope(pixels),
        background=background,
        saturated=np.nan if raw is None else raw.saturated,
        shading=shading,
        source="" if raw is None else raw.source,
    )


def power_slope(pixels: NDArray[Any]) -> float:
    """Return the slope of the log power spectrum of an image over the log frequency.

    The measure of focus that Bray et al. recommend for screens (J Biomol Screen 17:266, 2012,
    doi:10.1177/1087057111420292) and CellProfiler calls ``PowerLogLogSlope``. As there, the power
    is summed over rings of spatial frequency, from 2 periods in the shorter side to an eighth of
    its pixels; finer structure is mostly noise.

    Parameters
    ----------
    pixels : NDArray
        Shape ``(Y, X)``.

    Returns
    -------
    float
        The slope, about -1 to -4; NaN for an image that is too small or uniform.
    """
    from scipy import fft

    if min(pixels.shape) < _LEAST_PX or pixels.max() == pixels.min():
        return float("nan")
    image = pixels.astype(np.float32)
    image -= image.mean()
    power = np.abs(fft.rfft2(image, workers=1)) ** 2
    height, width = image.shape
    # In units of the shorter side's lowest frequency, so that all directions count equally.
    side = min(height, width)
    rows = np.fft.fftfreq(height, 1 / side)[:, None]
    columns = np.fft.rfftfreq(width, 1 / side)[None, :]
    radius = np.rint(np.hypot(rows, columns)).astype(np.intp)
    total = np.bincount(radius.ravel(), weights=power.ravel())
    radii = np.arange(2, side // 8)
    radii = radii[total[radii] > 0]
    if len(radii) < 2:
        return float("nan")
    return float(np.polyfit(np.log(radii), np.log(total[radii]), 1)[0])


def _intensity(pixels: NDArray[Any], points: NDArray[np.float64]) -> float:
    if not len(points):
        return float("nan")
    reach = np.arange(-_NUCLEUS_PX, _NUCLEUS_PX + 1)
    near = np.rint(points).astype(np.intp)
    rows = np.clip(near[:, 0, None] + reach, 0, pixels.shape[0] - 1)
    columns = np.clip(near[:, 1, None] + reach, 0, pixels.shape[1] - 1)
    squares = pixels[rows[:, :, None], columns[:, None, :]]
    return float(np.median(squares.mean(axis=(1, 2), dtype=np.float64)))
