"""Figures of fields for a notebook: grey levels, outlines, a scale bar, a part enlarged.

They draw on axes of Matplotlib (``pip install "idrstream[notebook]"``), and import it only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["draw_enlarged", "draw_field", "draw_scale_bar", "outlines_of"]

OUTLINE = "#ffb000"
_BAR_SHARE = 0.2  # of the width that is shown, at most


def outlines_of(cells: pd.DataFrame) -> list[NDArray[np.int64]]:
    """Return the outlines that a batch table has with ``extra_metadata=["object_outlines"]``.

    Parameters
    ----------
    cells : DataFrame
        Rows of a batch table, with the column ``Object_Outline``.

    Returns
    -------
    list of NDArray
        Of each row: shape ``(n, 2)``, int64, ``(y, x)`` in pixels.
    """
    from idrstream.segment.locations import parse_outline

    return [parse_outline(text) for text in cells["Object_Outline"]]


def draw_field(
    axis: Any,
    pixels: NDArray[Any],
    cells: pd.DataFrame | None = None,
    *,
    part: tuple[int, int, int, int] | None = None,
    limits: tuple[float, float] | None = None,
    pixel_um: float = 0.0,
    title: str = "",
) -> None:
    """Draw a field, or a part of it, in grey, with outlines and a scale bar.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Where to draw.
    pixels : NDArray
        Shape ``(Y, X)``.
    cells : DataFrame, optional
        Rows of a batch table: their outlines are drawn.
    part : tuple of int, optional
        ``(top, left, bottom, right)`` in pixels: the part that is shown.
    limits : tuple of float, optional
        Grey levels that are black and white; by default the 1st and the 99.8th percentile of what
        is shown.
    pixel_um : float
        Side of a pixel in micrometres; 0: unknown, and the scale bar is in pixels.
    title : str
        Title of the axis.
    """
    import numpy as np

    top, left, bottom, right = part or (0, 0, *pixels.shape)
    shown = pixels[top:bottom, left:right]
    low, high = np.percentile(shown, (1, 99.8)) if limits is None else limits
    axis.imshow(
        shown, cmap="gray", vmin=low, vmax=high, interpolation="nearest",
        extent=(left - 0.5, right - 0.5, bottom - 0.5, top - 0.5),
    )  # fmt: skip
    for outline in outlines_of(cells) if cells is not None else ():
        closed = np.vstack([outline, outline[:1]])
        axis.plot(closed[:, 1], closed[:, 0], color=OUTLINE, linewidth=0.9)
    axis.set_xlim(left - 0.5, right - 0.5)
    axis.set_ylim(bottom - 0.5, top - 0.5)
    axis.set_axis_off()
    axis.set_title(title, fontsize="medium")
    draw_scale_bar(axis, pixel_um=pixel_um)


def draw_enlarged(
    axes: tuple[Any, Any],
    pixels: NDArray[Any],
    cells: pd.DataFrame | None = None,
    *,
    part: tuple[int, int, int, int],
    limits: tuple[float, float] | None = None,
    pixel_um: float = 0.0,
    title: str = "",
) -> None:
    """Draw a field with a frame around a part, and beside it the part, enlarged, with outlines.

    Parameters
    ----------
    axes : tuple of matplotlib.axes.Axes
        Where to draw the field and the part.
    pixels, cells, part, limits, pixel_um
        As for `draw_field`.
    title : str
        Title of the whole field.
    """
    from matplotlib.patches import Rectangle

    whole, enlarged = axes
    draw_field(whole, pixels, limits=limits, pixel_um=pixel_um, title=title)
    top, left, bottom, right = part
    whole.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="white", lw=1.2)
    )
    draw_field(
        enlarged, pixels, cells, part=part, limits=limits, pixel_um=pixel_um, title="enlarged"
    )


def draw_scale_bar(axis: Any, *, pixel_um: float = 0.0) -> None:
    """Draw a scale bar of a round length, at most a fifth of the width, at the lower right.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        Has an image whose data coordinates are pixels, as `draw_field` and ``imshow`` draw it.
    pixel_um : float
        Side of a pixel in micrometres; 0: unknown, and the bar is in pixels.
    """
    from matplotlib.patheffects import withStroke

    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    length, unit = _round_length((right - left) * (pixel_um or 1.0)), "µm" if pixel_um else "px"
    bar_px = length / (pixel_um or 1.0)
    high = bottom - top
    y, x = bottom - 0.05 * high, right - 0.04 * (right - left)
    axis.plot(
        [x - bar_px, x], [y, y], color="white", linewidth=2.5, solid_capstyle="butt",
        path_effects=[withStroke(linewidth=4.5, foreground="black")], gid="scale bar",
    )  # fmt: skip
    axis.text(
        x - bar_px / 2, y - 0.02 * high, f"{length:g} {unit}", color="white",
        ha="center", va="bottom", fontsize="small",
        path_effects=[withStroke(linewidth=3.5, foreground="black")],
    )  # fmt: skip


def _round_length(width: float) -> float:
    """Return the longest of 1, 2, 5, 10, 20, 50 ... that is at most a fifth of a width."""
    import math

    most = width * _BAR_SHARE
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most)
