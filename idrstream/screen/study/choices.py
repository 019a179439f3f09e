"""What users choose of a study: planes, fields, frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from idrstream.errors import ConfigError
from idrstream.screen.frames import parse_frames


def wanted_plane(plane: int | None) -> int | None:
    """Return the wanted plane, from 1; None for all."""
    if plane is not None and plane < 1:
        msg = f"plane is {plane}; planes count from 1"
        raise ConfigError(msg)
    return plane


def wanted_sites(sites: int | Iterable[int] | None) -> frozenset[int] | None:
    """Return the wanted fields of a well, from 1; None for all."""
    if sites is None:
        return None
    chosen = frozenset([sites] if isinstance(sites, int) else sites)
    if not chosen or min(chosen) < 1:
        msg = f"sites is {sites!r}; fields of a well count from 1"
        raise ConfigError(msg)
    return chosen


def frames_text(frames: str | int | Sequence[int], movie_frames: int | None) -> str:
    """Return frames as a cell of the table says them."""
    text = frames if isinstance(frames, str) else None
    if text is None:
        text = ",".join(map(str, [frames] if isinstance(frames, int) else frames))
    if text == "all" or text.startswith("every "):
        step = text.removeprefix("every ").strip() if text != "all" else "1"
        text = f"all:{step}" if movie_frames is None else f"1-{movie_frames}:{step}"
        text = "all" if text == "all:1" else text
    try:
        parse_frames(text)
    except ValueError as error:
        msg = f"frames: {error}"
        raise ConfigError(msg) from error
    return text
