"""Quality measures of a frame: nuclei, intensity, focus, background, saturation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from idrstream.records import Frame, Objects, RawFrameQuality

_NUCLEUS_PX = 2  # half the side of the square in which a nucleus's intensity is taken
_BACKGROUND = 25.0  # percentile
_LEAST_PX = 48  # the shorter side of an image below which no slope is fitted
_FOCUS_PX = 64  # side of the square around a nucleus whose spectrum is taken
_MOST_SQUARES = 64
_RINGS = np.arange(3, 9)  # periods in the side of such a square


@dataclass(frozen=True, slots=True)
class ChannelMeasures:
    """The quality measures of one channel of a frame with several.

    Attributes
    ----------
    intensity : float
        Median over the cells, or the nuclei where no cells were found, of their mean grey level,
        after the correction of the illumination, above the background.
    background, saturated : float
        As of `FrameMeasures`.
    """

    intensity: float
    background: float
    saturated: float


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
        Slope of the log power spectrum around the nuclei over the log spatial frequency: the more
        negative, the more blurred; NaN without nuclei. See `focus_of`.
    background : float
        25th percentile of the corrected grey levels.
    saturated : float
        Share of saturated pixels before the correction, 0 to 1; NaN if unknown.
    shading : tuple of float
        Background in 8 x 8 tiles before the correction, row by row, relative to their mean;
        empty if unknown.
    source : str
        Where the movie came from.
    channels : dict
        Measures of each channel by its name, in their order; empty if there is but one.
    """

    nuclei: int
    area: float
    intensity: float
    focus: float
    background: float
    saturated: float
    shading: tuple[float, ...]
    source: str
    channels: dict[str, ChannelMeasures] = field(default_factory=dict)


def measure(frame: Frame, nuclei: Objects) -> FrameMeasures:
    """Measure a frame, in the channel that its nuclei were found in."""
    pixels, areas = frame.plane(nuclei.channel), nuclei.table["area"]
    at = frame.channels.index(nuclei.channel) if nuclei.channel else 0
    raw = _raw_of(frame, at)
    background = _background(pixels)
    shading: tuple[float, ...] = ()
    if raw is not None and np.isfinite(raw.shading).all() and raw.shading.mean() > 0:
        shading = tuple((raw.shading / raw.shading.mean()).ravel().tolist())
    return FrameMeasures(
        nuclei=len(nuclei),
        area=float(np.median(areas)) if len(areas) else np.nan,
        intensity=_intensity(pixels, nuclei.locations) - background,
        focus=focus_of(pixels, nuclei.locations),
        background=background,
        saturated=np.nan if raw is None else raw.saturated,
        shading=shading,
        source="" if raw is None else raw.source,
        channels=_measure_channels(frame, nuclei) if len(frame.channels) > 1 else {},
    )


def _measure_channels(frame: Frame, nuclei: Objects) -> dict[str, ChannelMeasures]:
    kinds = {of.name: of for of in nuclei.kinds}
    shown = kinds.get("Cells", nuclei)
    found = {}
    for at, (name, pixels) in enumerate(zip(frame.channels, frame.pixels, strict=True)):
        background = _background(pixels)
        found[name] = ChannelMeasures(
            intensity=_mean_in(pixels, shown) - background,
            background=background,
            saturated=raw.saturated if (raw := _raw_of(frame, at)) else np.nan,
        )
    return found


def _raw_of(frame: Frame, channel: int) -> RawFrameQuality | None:
    return frame.raw[channel] if channel < len(frame.raw) else None


def _mean_in(pixels: NDArray[Any], objects: Objects) -> float:
    """Return the median over the objects of their mean grey level; NaN if none has a pixel."""
    labels, rows = objects.labels.ravel(), objects.table["label"]
    length = int(rows.max(initial=0)) + 1  # the last ones may have no pixel
    sizes = np.bincount(labels, minlength=length)[rows]
    if not sizes.any():
        return float("nan")
    sums = np.bincount(labels, weights=pixels.ravel(), minlength=length)[rows]
    return float(np.median(sums[sizes > 0] / sizes[sizes > 0]))


def _background(pixels: NDArray[Any]) -> float:
    return float(np.percentile(pixels, _BACKGROUND)) if pixels.size else np.nan


def focus_of(pixels: NDArray[Any], points: NDArray[np.float64]) -> float:
    """Return how sharp the nuclei of an image are, whatever their number.

    The slope of the log power spectrum over the log frequency, which Bray et al. recommend for
    screens (J Biomol Screen 17:266, 2012, doi:10.1177/1087057111420292) and CellProfiler calls
    ``PowerLogLogSlope``. They take it of the whole image, where it also tells how many nuclei there
    are. Here it is of the mean spectrum of squares around the nuclei, for periods of 21 to 8 px;
    coarser structure is the size of nuclei, finer mostly noise.

    Parameters
    ----------
    pixels : NDArray
        Shape ``(Y, X)``.
    points : NDArray
        Centroids, shape ``(N, 2)``, rows ``(y, x)`` in pixels.

    Returns
    -------
    float
        The slope, about -2 to -9; NaN without nuclei, and for an image that is too small or
        uniform.
    """
    from scipy import fft

    if not len(points) or min(pixels.shape) < _LEAST_PX or pixels.max() == pixels.min():
        return float("nan")
    every = np.linspace(0, len(points) - 1, min(len(points), _MOST_SQUARES)).astype(np.intp)
    half = _FOCUS_PX // 2
    padded = np.pad(pixels.astype(np.float32), half, mode="reflect")
    corners = np.rint(points[every]).astype(np.intp).clip(0, np.array(pixels.shape) - 1)
    squares = np.stack([padded[y : y + _FOCUS_PX, x : x + _FOCUS_PX] for y, x in corners])
    squares -= squares.mean(axis=(1, 2), keepdims=True)
    squares *= np.outer(np.hanning(_FOCUS_PX), np.hanning(_FOCUS_PX)).astype(np.float32)
    strength = np.square(squares).sum(axis=(1, 2))
    squares = squares[strength > 0] / np.sqrt(strength[strength > 0])[:, None, None]
    power = np.square(np.abs(fft.rfft2(squares, workers=1))).sum(axis=0)
    rows = np.fft.fftfreq(_FOCUS_PX, 1 / _FOCUS_PX)[:, None]
    radius = np.rint(np.hypot(rows, np.arange(power.shape[1]))).astype(np.intp)
    total = np.bincount(radius.ravel(), weights=power.ravel())
    if not (total[_RINGS] > 0).all():
        return float("nan")
    return float(np.polyfit(np.log(_RINGS), np.log(total[_RINGS]), 1)[0])


def _intensity(pixels: NDArray[Any], points: NDArray[np.float64]) -> float:
    if not len(points):
        return float("nan")
    reach = np.arange(-_NUCLEUS_PX, _NUCLEUS_PX + 1)
    near = np.rint(points).astype(np.intp)
    rows = np.clip(near[:, 0, None] + reach, 0, pixels.shape[0] - 1)
    columns = np.clip(near[:, 1, None] + reach, 0, pixels.shape[1] - 1)
    squares = pixels[rows[:, :, None], columns[:, None, :]]
    return float(np.median(squares.mean(axis=(1, 2), dtype=np.float64)))
