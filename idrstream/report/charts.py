"""Charts as SVG: they use the page's colours and have text alternatives."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Viridis (S. van der Walt, N. Smith; CC0) at nine points: safe for print and colour blindness.
_VIRIDIS = np.array(
    [
        (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141),
        (39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37),
    ]
)  # fmt: skip
_CELL = 10
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 420, 200, 56, 38
_Axes: TypeAlias = "tuple[Axis, Axis]"
SYMBOLS = ("circle", "square", "triangle", "diamond")


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """Return a picture as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def coloured(values: NDArray[np.float64], low: float, high: float) -> bytes:
    """Return an array as PNG in viridis; NaN is transparent."""
    from PIL import Image

    span = high - low if high > low else 1.0
    at = np.clip((np.nan_to_num(values, nan=low) - low) / span, 0, 1) * (len(_VIRIDIS) - 1)
    colours = np.stack(
        [np.interp(at, np.arange(len(_VIRIDIS)), _VIRIDIS[:, band]) for band in range(3)], -1
    )
    alpha = np.where(np.isnan(values), 0, 255)[..., None]
    packed = io.BytesIO()
    pixels = np.concatenate([np.rint(colours), alpha], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(packed, "PNG", optimize=True)
    return packed.getvalue()


def plate_map(
    values: NDArray[np.float64],
    low: float,
    high: float,
    *,
    words: str,
    crosses: Iterable[tuple[int, int]] = (),
) -> str:
    """Return a map of a plate.

    Parameters
    ----------
    values : NDArray
        Shape ``(rows, columns)``; NaN where unknown.
    low, high : float
        Limits of the colour scale.
    words : str
        The text alternative.
    crosses : iterable of (int, int)
        Wells with a cross: row and column.
    """
    rows, columns = values.shape
    left, top = 14, 12
    width, height = columns * _CELL, rows * _CELL
    step = 1 if columns <= 12 else 2
    letters = "".join(
        f'<text x="{left - 3}" y="{top + row * _CELL + 8}" text-anchor="end">{_letters(row)}</text>'
        for row in range(0, rows, step)
    )
    numbers = "".join(
        f'<text x="{left + column * _CELL + 5}" y="{top - 3}" text-anchor="middle">'
        f"{column + 1}</text>"
        for column in range(0, columns, step)
    )
    marks = "".join(
        f"M{left + c * _CELL + 2} {top + r * _CELL + 2}l6 6m0-6l-6 6" for r, c in crosses
    )
    cross = f'<path class="cross" d="{marks}"/>' if marks else ""
    return (
        f'<svg class="plate" role="img" viewBox="0 0 {left + width + 2} {top + height + 2}" '
        f'aria-label="{escape(words)}">{letters}{numbers}'
        f'<rect class="board" x="{left}" y="{top}" width="{width}" height="{height}"/>'
        f'<image x="{left}" y="{top}" width="{width}" height="{height}" '
        f'preserveAspectRatio="none" href="{data_uri(coloured(values, low, high))}"/>{cross}</svg>'
    )


def heat_map(
    values: NDArray[np.float64],
    high: float,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    words: str,
) -> str:
    """Return an array as coloured fields from 0 to `high`, with the names of rows and columns."""
    left, top, wide, tall = 150, 18, 46, 15
    width, height = wide * len(columns), tall * len(rows)
    names = "".join(
        f'<text x="{left - 4}" y="{top + tall * at + 11}" text-anchor="end">{escape(name)}</text>'
        for at, name in enumerate(rows)
    )
    names += "".join(
        f'<text x="{left + wide * at + wide // 2}" y="{top - 5}" text-anchor="middle">'
        f"{escape(name)}</text>"
        for at, name in enumerate(columns)
    )
    return (
        f'<svg class="heat" role="img" viewBox="0 0 {left + width + 6} {top + height + 2}" '
        f'aria-label="{escape(words)}">{names}'
        f'<rect class="board" x="{left}" y="{top}" width="{width}" height="{height}"/>'
        f'<image x="{left}" y="{top}" width="{width}" height="{height}" '
        f'preserveAspectRatio="none" href="{data_uri(coloured(values, 0, high))}"/></svg>'
    )


class Axis(NamedTuple):
    """An axis: the values at its ends, where these are in the picture, and if it counts things."""

    low: float
    high: float
    start_px: float
    end_px: float
    counts: bool = False

    def at(self, values: Any) -> Any:
        """Return where values are in the picture."""
        share = (values - self.low) / (self.high - self.low)
        return self.start_px + share * (self.end_px - self.start_px)

    def ticks(self) -> list[float]:
        """Return up to seven round values on the axis."""
        rough = max((self.high - self.low) / 4, 1.0 if self.counts else 0.0)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(size * power for size in (1, 2, 5, 10) if size * power >= 0.7 * rough)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def _axes(
    x: tuple[float, float],
    y: tuple[float, float],
    height: int = _HEIGHT,
    *,
    counts: bool = False,
) -> _Axes:
    """Return the axes of a chart, given the values at their ends; whether y counts things."""
    spans = [(low, high if high > low else low + 1) for low, high in (x, y)]
    return (
        Axis(*spans[0], _LEFT, _WIDTH - 12),
        Axis(*spans[1], height - _BOTTOM, 10, counts),
    )


def histogram(values: NDArray[np.float64], *, words: str, label: str) -> str:
    """Return a histogram; the last bar includes values above the 99.5th percentile.

    It has as many bars as the values fill, 5 to 30.
    """
    bins = int(np.clip(2 * math.sqrt(len(values)), 5, 30))
    top = float(np.quantile(values, 0.995))
    low = float(values.min())
    if top <= low:
        top = low + 1
    counts, edges = np.histogram(np.clip(values, low, top), bins=bins, range=(low, top))
    axes = _axes((low, top), (0, max(int(counts.max()), 1)), counts=True)
    x, y = axes
    step = x.at(edges[1]) - x.at(edges[0])
    bars = "".join(
        f'<rect x="{x.at(edge):.1f}" y="{y.at(n):.1f}" '
        f'width="{max(step - 1, 0.5):.1f}" height="{y.start_px - y.at(n):.1f}"/>'
        for edge, n in zip(edges[:-1].tolist(), counts.tolist(), strict=True)
        if n
    )
    return _framed(f'<g class="bars">{bars}</g>', words, label, "frames", axes)


def lines(
    series: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    words: str,
    label: str,
    y_label: str,
) -> str:
    """Return a line plot."""
    x_all = np.concatenate([x for x, _ in series])
    y_all = np.concatenate([y for _, y in series])
    axes = _axes((0, max(float(x_all.max()), 1e-9)), (0, max(float(y_all.max()), 1e-9)))
    paths = []
    for x, y in series:
        keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), 400)).astype(int))
        places = zip(axes[0].at(x[keep]), axes[1].at(y[keep]), strict=True)
        points = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
        paths.append(f'<polyline points="{points}"/>')
    return _framed(f'<g class="line">{"".join(paths)}</g>', words, label, y_label, axes)


def scatter(
    groups: Sequence[tuple[str, NDArray[np.float64]]], *, words: str, labels: tuple[str, str]
) -> str:
    """Return a scatter plot of groups, each with its own symbol and colour."""
    points = np.concatenate([xy for _, xy in groups])
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.05 * np.where(high > low, high - low, 1)
    ends = np.stack([low - margin, high + margin], axis=1)
    axes = _axes(tuple(ends[0]), tuple(ends[1]), height=300)
    marks = []
    for number, (_, xy) in enumerate(groups):
        places = zip(axes[0].at(xy[:, 0]), axes[1].at(xy[:, 1]), strict=True)
        shapes = "".join(symbol(SYMBOLS[number % len(SYMBOLS)], x, y) for x, y in places)
        marks.append(f'<g class="group{number % 4}">{shapes}</g>')
    return _framed("".join(marks), words, *labels, axes, height=300)


def symbol(name: str, x: float, y: float) -> str:
    """Return a symbol at a point."""
    if name == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6"/>'
    path = {
        "square": "m-3.3 -3.3h6.6v6.6h-6.6z",
        "triangle": "m0 -4.2l4 7.2h-8z",
        "diamond": "m0 -4.8l4 4.8l-4 4.8l-4 -4.8z",
    }[name]
    return f'<path d="M{x:.1f} {y:.1f}{path}"/>'


def _framed(
    inner: str, words: str, label: str, y_label: str, axes: _Axes, height: int = _HEIGHT
) -> str:
    x, y = axes
    base, middle = height - _BOTTOM, (x.start_px + x.end_px) / 2
    marks = "".join(f"M{x.at(value):.1f} {base}v4" for value in x.ticks())
    marks += "".join(f"M{_LEFT} {y.at(value):.1f}h-4" for value in y.ticks())
    numbers = "".join(
        f'<text x="{x.at(value):.1f}" y="{base + 15}" text-anchor="middle">{_short(value)}</text>'
        for value in x.ticks()
    )
    numbers += "".join(
        f'<text x="{_LEFT - 7}" y="{y.at(value) + 4:.1f}" text-anchor="end">{_short(value)}</text>'
        for value in y.ticks()
    )
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {_WIDTH} {height}" '
        f'aria-label="{escape(words)}">'
        f'<path class="axis" d="M{_LEFT} 4V{base}H{_WIDTH - 4}{marks}"/>{inner}{numbers}'
        f'<text x="{middle}" y="{height - 4}" text-anchor="middle">{escape(label)}</text>'
        f'<text transform="translate(11 {base / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text></svg>"
    )


def _letters(row: int) -> str:
    return chr(65 + row) if row < 26 else _letters(row // 26 - 1) + chr(65 + row % 26)


def _short(number: float) -> str:
    number += 0.0  # no minus before a zero
    return f"{number:.3g}" if abs(number) < 1e3 else f"{number:,.0f}"
