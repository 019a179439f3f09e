"""Draw one nucleus, its outline and chromatin in each phase, as a small patch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PHASES = (
    "interphase",
    "prophase",
    "prometaphase",
    "metaphase",
    "anaphase",
    "telophase",
    "apoptotic",
    "polylobed",
)

_LATTICE = 64
_PER_RADIUS = 16.0  # texture lattice points per nucleus radius


@dataclass(frozen=True, slots=True)
class Style:
    """How a phase changes a nucleus: size factors, texture and brightness.

    Attributes
    ----------
    major, minor : float
        Half axes in units of the nucleus's radius; 0 for the nucleus's own ellipse.
    ragged : float
        Amplitude of the outline's waves.
    coarse, fine : float
        Contrast of coarse and fine chromatin texture.
    brightness : float
        Factor on the nucleus's own brightness.
    reach : float
        Radius that neighbours keep free, in units of the nucleus's radius.
    """

    major: float
    minor: float
    ragged: float
    coarse: float
    fine: float
    brightness: float
    reach: float


STYLES: dict[str, Style] = {
    "interphase": Style(0.0, 0.0, 0.035, 0.12, 0.13, 1.0, 1.0),
    "prophase": Style(0.95, 0.88, 0.04, 0.16, 0.34, 1.25, 1.0),
    "prometaphase": Style(0.80, 0.70, 0.13, 0.50, 0.35, 1.55, 0.9),
    "metaphase": Style(0.88, 0.30, 0.08, 0.12, 0.12, 2.1, 0.8),
    "anaphase": Style(0.66, 0.27, 0.06, 0.10, 0.10, 2.0, 0.45),
    "telophase": Style(0.60, 0.36, 0.05, 0.10, 0.10, 1.6, 0.6),
    "apoptotic": Style(0.0, 0.0, 0.0, 0.15, 0.15, 1.3, 0.9),
    "polylobed": Style(0.0, 0.0, 0.04, 0.10, 0.10, 0.95, 1.25),
}


@dataclass(frozen=True, slots=True)
class Look:
    """The appearance of a nucleus, constant through its life.

    Attributes
    ----------
    radius_px : float
        Radius of a circle of its full-grown area.
    elongation : float
        Long over short axis in interphase.
    brightness : float
        Grey levels above background in interphase.
    waves : NDArray
        Shape ``(k, 3)``: order, amplitude (mean 1) and phase of the outline's waves.
    texture : NDArray
        Shape ``(2, 64, 64)``, float32: coarse and fine noise of mean 0 and deviation 1.
    nucleoli : NDArray
        Shape ``(k, 3)``: u, v and radius in units of the nucleus's radius.
    lobes : NDArray
        Shape ``(k, 4)``: u, v, radius and brightness of its fragments or lobes.
    """

    radius_px: float
    elongation: float
    brightness: float
    waves: NDArray[np.float64]
    texture: NDArray[np.float32]
    nucleoli: NDArray[np.float64]
    lobes: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Patch:
    """A rendered nucleus.

    Attributes
    ----------
    top, left : int
        First pixel of the patch in the frame; may be negative.
    cover : NDArray
        Shape ``(y, x)``, float32: how much of each pixel the nucleus covers, 0 to 1.
    signal : NDArray
        Shape ``(y, x)``, float32: grey levels above background.
    """

    top: int
    left: int
    cover: NDArray[np.float32]
    signal: NDArray[np.float32]


def new_look(rng: np.random.Generator, diameter_px: float, brightness: float) -> Look:
    """Draw the appearance of a new nucleus at random.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    diameter_px : float
        Mean diameter of the screen's nuclei.
    brightness : float
        Mean grey levels above background.

    Returns
    -------
    Look
        Sizes vary by 12 %, brightness by 25 % (standard deviations).
    """
    orders = np.arange(2, 8)
    waves = np.stack(
        [orders, rng.gamma(2.0, 0.5, 6) * 2.0 / orders, rng.uniform(0, 2 * np.pi, 6)], axis=1
    )
    spots = int(rng.integers(1, 5))
    place = rng.uniform(-0.55, 0.55, (spots, 2))
    return Look(
        radius_px=diameter_px / 2 * float(np.clip(rng.lognormal(0, 0.12), 0.7, 1.4)),
        elongation=1.0 + float(rng.beta(2, 3.5)),
        brightness=brightness * float(np.clip(rng.lognormal(0, 0.25), 0.5, 1.6)),
        waves=waves,
        texture=_new_texture(rng),
        nucleoli=np.column_stack([place, rng.uniform(0.13, 0.24, spots)]),
        lobes=_new_lobes(rng),
    )


def _new_texture(rng: np.random.Generator) -> NDArray[np.float32]:
    from scipy import ndimage

    noise = rng.standard_normal((2, _LATTICE, _LATTICE), dtype=np.float32)
    layers = []
    for layer, sigma in zip(noise, (3.2, 1.5), strict=True):
        smooth = ndimage.gaussian_filter(layer, sigma, mode="wrap")
        layers.append((smooth - smooth.mean()) / smooth.std())
    return np.stack(layers)


def _new_lobes(rng: np.random.Generator) -> NDArray[np.float64]:
    count = int(rng.integers(3, 7))
    turn = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(count) / count
    turn = turn + rng.uniform(-0.55, 0.55, count)
    far = rng.uniform(0.55, 0.85, count)
    return np.column_stack(
        [
            far * np.cos(turn),
            far * np.sin(turn),
            rng.uniform(0.33, 0.66, count),
            rng.uniform(0.8, 1.2, count),
        ]
    )


def render(
    look: Look, phase: str, centre: tuple[float, float], angle: float, growth: float
) -> Patch:
    """Draw a nucleus into a patch of its own.

    Parameters
    ----------
    look : Look
        Appearance of the nucleus.
    phase : str
        One of `PHASES`.
    centre : tuple of float
        ``(y, x)`` in the frame, pixels.
    angle : float
        Direction of the long axis, radians from x towards y.
    growth : float
        Size as a fraction of the full-grown radius.

    Returns
    -------
    Patch
        Covers the nucleus with a margin of two pixels.
    """
    radius = look.radius_px * growth
    half = int(np.ceil(1.75 * radius)) + 2
    top, left = round(centre[0]) - half, round(centre[1]) - half
    dy = np.arange(top, top + 2 * half + 1)[:, None] - centre[0]
    dx = np.arange(left, left + 2 * half + 1)[None, :] - centre[1]
    # Nucleus coordinates in units of its radius: u along the long axis, v across.
    u = (np.cos(angle) * dx + np.sin(angle) * dy) / radius
    v = (np.cos(angle) * dy - np.sin(angle) * dx) / radius
    if phase in ("apoptotic", "polylobed"):
        inside, shade = _lobed(look, phase, u, v)
    else:
        inside, shade = _ellipse(look, phase, u, v)
    cover = np.clip(0.5 + inside * radius, 0.0, 1.0)
    style = STYLES[phase]
    grain = _grain(look, u, v, style)
    level = np.clip(look.brightness * style.brightness * shade * grain, 0.0, 205.0)
    return Patch(top, left, cover.astype(np.float32), (cover * level).astype(np.float32))


def _ellipse(
    look: Look, phase: str, u: NDArray[np.float64], v: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the signed depth inside the outline (units of the radius) and a shading factor."""
    style = STYLES[phase]
    stretch = np.sqrt(look.elongation)
    a, b = (style.major, style.minor) if style.major else (stretch, 1 / stretch)
    if phase == "anaphase":  # daughter plates bend towards their poles
        v = v - 0.25 * u**2
    theta = np.arctan2(v / b, u / a)
    # Chromosome plates are rods with round ends, not ellipses with points.
    rod = np.cbrt(np.abs(u / a) ** 3 + np.abs(v / b) ** 3)
    rho = rod if a > 2 * b else np.hypot(u / a, v / b)
    edge = np.ones_like(rho)
    for order, amplitude, shift in look.waves:
        edge += style.ragged * amplitude * np.cos(order * theta + shift)
    shade = np.ones_like(rho)
    if phase == "interphase":
        for cu, cv, size in look.nucleoli:
            shade -= 0.38 * np.exp(-((u / a - cu) ** 2 + (v / b - cv) ** 2) / (2 * size**2))
    elif phase == "prometaphase":  # chromosomes form a ring around a darker centre
        shade *= 1.1 - 0.45 * np.exp(-(rho**2) / 0.15)
    return (edge - rho) * min(a, b), shade


def _lobed(
    look: Look, phase: str, u: NDArray[np.float64], v: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return depth and shading of a nucleus in lobes or fragments around a core."""
    dying = phase == "apoptotic"
    core = 0.62
    spread, size, outside = (0.75, 0.55, 0.7) if dying else (0.95, 1.0, 0.35)
    inside = core - np.hypot(u, v)
    shade = np.full_like(u, 0.3 if dying else 0.85)
    for cu, cv, radius, bright in look.lobes:
        # Never farther out than where a lobe still meets the core, deeply when it is alive: one
        # nucleus, one piece.
        far = min(spread, (core + outside * radius * size) / np.hypot(cu, cv))
        depth = radius * size - np.hypot(u - far * cu, v - far * cv)
        here = np.clip(0.5 + 6 * depth, 0, 1)
        shade = np.maximum(shade, here * bright * (1.35 if dying else 1.0))
        inside = np.maximum(inside, depth)
    return inside, shade


def _grain(
    look: Look, u: NDArray[np.float64], v: NDArray[np.float64], style: Style
) -> NDArray[np.float64]:
    """Return the chromatin texture, mean about 1, fixed to the nucleus."""
    from scipy import ndimage

    where = np.stack([v, u]) * _PER_RADIUS + _LATTICE / 2
    coarse, fine = (
        ndimage.map_coordinates(layer, where, order=1, mode="grid-wrap") for layer in look.texture
    )
    grain = np.asarray(1.0 + style.coarse * coarse + style.fine * fine, np.float64)
    return np.clip(grain, 0.15, 2.2)
