"""Pictures of tracks: on a frame, as a film, and as a tree of daughters."""

from __future__ import annotations

import colorsys
import io
import logging
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from PIL.Image import Image

log = logging.getLogger(__name__)

TAIL = 12
"""Frames that the tail of a nucleus reaches back."""
_FILM_MS = 120
_FFMPEG_S = 120.0


def track_colour(track: int) -> tuple[int, int, int]:
    """Return the colour of a track: neighbours in number are far apart in hue."""
    hue = track * 0.618033988749895 % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.62, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_tracks(
    pixels: NDArray[Any],
    labels: NDArray[np.int32],
    objects: pd.DataFrame,
    frame: int,
    *,
    tail: int = TAIL,
    shrink: float = 1.0,
    levels: tuple[float, float] | None = None,
) -> Image:
    """Draw the outlines of a frame's nuclei and where they came from, each track in its colour.

    Parameters
    ----------
    pixels : NDArray
        Shape ``(Y, X)``.
    labels : NDArray
        Shape ``(Y, X)``, int32, as the frame's masks.
    objects : pandas.DataFrame
        ``Frame, Label, Track, Y, X`` of the movie; positions in pixels before shrinking.
    frame : int
        The frame, counted from 1.
    tail : int
        Frames that are drawn of the way of each nucleus.
    shrink : float
        Pixels of the movie for one of the picture: by how much `pixels` were made smaller.
    levels : tuple of float, optional
        Grey levels that are black and white; by default the 1st and 99.8th percentile.

    Returns
    -------
    PIL.Image.Image
        RGB, of the shape of `pixels`.
    """
    from PIL import Image, ImageDraw

    low, high = levels or (float(p) for p in np.percentile(pixels, (1, 99.8)))
    grey = np.clip((pixels - low) / max(high - low, 1e-6), 0, 1) ** 0.7 * 255
    rgb = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    now = objects[objects["Frame"] == frame]
    colours = np.zeros((int(max(labels.max(), now["Label"].max() if len(now) else 0)) + 1, 3))
    for label, track in zip(now["Label"], now["Track"], strict=True):
        colours[int(label)] = track_colour(int(track))
    edge = _edges(labels)
    rgb[edge] = colours[labels[edge]].astype(np.uint8)
    image = Image.fromarray(rgb)
    pen = ImageDraw.Draw(image)
    recent = objects[(objects["Frame"] <= frame) & (objects["Frame"] >= frame - tail)]
    recent = recent[recent["Track"].isin(now["Track"])].sort_values("Frame")
    for track, way in recent.groupby("Track"):
        points = [(x / shrink, y / shrink) for x, y in zip(way["X"], way["Y"], strict=True)]
        if len(points) > 1:
            pen.line(points, fill=track_colour(int(str(track))), width=1)
    return image


def _edges(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return the pixels of objects that have another value above, below, left or right."""
    padded = np.pad(labels, 1, mode="edge")
    inner = padded[1:-1, 1:-1]
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    different: NDArray[np.bool_] = np.logical_or.reduce([inner != other for other in around])
    return different & (inner > 0)


def film(pictures: Iterable[Image]) -> bytes:
    """Return pictures of one size as an animated WebP, eight a second, for ever."""
    with TemporaryDirectory(prefix="idrstream-film-") as folder:
        return _webp(_reel(pictures, Path(folder)))


def film_mp4(pictures: Iterable[Image]) -> bytes | None:
    """Return pictures of one size as an MP4 (H.264) for slides; None where there is no ffmpeg.

    What ffmpeg refuses is logged: a film as WebP needs no other program.
    """
    with TemporaryDirectory(prefix="idrstream-film-") as folder:
        return _mp4(_reel(pictures, Path(folder)))


def films(pictures: Iterable[Image], folder: Path) -> tuple[bytes, bytes | None]:
    """Return what `film` and `film_mp4` make of pictures, which lie in a folder meanwhile.

    Raises
    ------
    OSError
        If the folder does not take them.
    """
    with TemporaryDirectory(prefix=".film-", dir=folder) as inner:
        reel = _reel(pictures, Path(inner))
        return _webp(reel), _mp4(reel)


def _reel(pictures: Iterable[Image], folder: Path) -> Path:
    """Write pictures to a TIFF, a page each and one after the other, so as not to hold them."""
    import tifffile

    path = folder / "film.tif"
    with tifffile.TiffWriter(path) as file:
        for one in pictures:
            rgb = np.asarray(one.convert("RGB"))
            file.write(rgb, photometric="rgb", contiguous=True, metadata=None)
    return path


def _webp(reel: Path) -> bytes:
    from PIL import Image

    packed = io.BytesIO()
    with Image.open(reel) as pages:
        pages.save(
            packed, "WEBP", save_all=True, duration=_FILM_MS, loop=0, quality=60, method=2
        )  # fmt: skip
    return packed.getvalue()


def _mp4(reel: Path) -> bytes | None:
    import tifffile

    program = shutil.which("ffmpeg")
    if program is None:
        return None
    with tifffile.TiffFile(reel) as pages:
        count, first = len(pages.pages), pages.pages.first
        size, start = f"{first.imagewidth}x{first.imagelength}", first.dataoffsets[0]
    target = reel.with_suffix(".mp4")
    command = [
        program, "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-video_size", size, "-framerate", f"1000/{_FILM_MS}", "-i", "pipe:0",
        "-frames:v", str(count), "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2",
        "-c:v", "libx264", "-pix_fmt", "yuv420p",
        "-threads", "1", "-movflags", "+faststart", str(target),
    ]  # fmt: skip
    try:
        with reel.open("rb", buffering=0) as raw:
            raw.seek(start)  # ffmpeg begins where the file stands
            subprocess.run(command, stdin=raw, capture_output=True, check=True, timeout=_FFMPEG_S)
        return target.read_bytes()
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()[-200:]
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    log.warning("ffmpeg made no MP4 of a film; its WebP is there: %s", said)
    return None


def lineage_svg(tracks: pd.DataFrame, founder: int, *, width: int = 640) -> str:
    """Draw the tree of a track's daughters, time from left to right.

    Parameters
    ----------
    tracks : pandas.DataFrame
        ``Track, Parent, First_Frame, Last_Frame`` of one movie.
    founder : int
        The track at the root.
    width : int
        Of the picture, in pixels.

    Returns
    -------
    str
        An SVG.
    """
    columns = (tracks[name].tolist() for name in ("Track", "Parent", "First_Frame", "Last_Frame"))
    spans: dict[int, tuple[int, int]] = {}
    children: dict[int, list[int]] = {}
    for one, parent, first, until in zip(*columns, strict=True):
        spans[one] = (first, until)
        children.setdefault(parent, []).append(one)
    rows: dict[int, float] = {}
    leaves = 0
    stack = [(founder, False)]
    while stack:
        track, seen = stack.pop()
        below = sorted(children.get(track, ()))
        if not below:
            leaves += 1
            rows[track] = leaves
        elif seen:
            rows[track] = sum(rows[one] for one in below) / len(below)
        else:
            stack += [(track, True), *((one, False) for one in reversed(below))]
    last = max(spans[track][1] for track in rows)
    begin = spans[founder][0]
    scale, height = (width - 60) / max(last - begin, 1), 20 * leaves + 40

    def x(frame: int) -> float:
        return 10 + (frame - begin) * scale

    lines = []
    for track, row in sorted(rows.items()):
        colour = "#{:02x}{:02x}{:02x}".format(*track_colour(track))
        y, (start, end) = 20 * row, map(x, spans[track])
        span = f'd="M{start:.1f} {y:.1f}H{end:.1f}"'  # on grey: light hues show on white, too
        lines.append(f'<path {span} stroke="#777" stroke-width="5"/>')
        lines.append(f'<path {span} stroke="{colour}"/>')
        place = (start, y - 5) if children.get(track) else (end + 5, y + 4)
        lines.append(f'<text x="{place[0]:.1f}" y="{place[1]:.1f}">{track}</text>')
        for one in children.get(track, ()):
            to, down = x(spans[one][0]), 20 * rows[one]
            lines.append(
                f'<path d="M{end:.1f} {y:.1f}L{to:.1f} {down:.1f}" stroke="#888888" '
                'stroke-dasharray="2 2"/>'
            )
    axis = (
        f'<text x="10" y="{height - 8}">frame {begin}</text>'
        f'<text x="{x(last):.1f}" y="{height - 8}" text-anchor="end">{last}</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="Lineage of track {founder}" fill="none" '
        'stroke-width="3"><style>text{fill:#777;stroke:none;font:11px sans-serif}</style>'
        f"{''.join(lines)}{axis}</svg>"
    )
