"""What a running stream says of itself between two entries of its journal.

A small file in the output folder, replaced every second and removed at the end. It counts only
as long as the process that wrote it holds the folder's lock.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from idrstream.files import atomic_path
from idrstream.folder.locks import Holder

LIVE_NAME = ".idrstream.live.json"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LaneNow:
    """A lane of a running stream.

    Attributes
    ----------
    name : str
        ``download``, ``preprocess``, ``segment``, ``profile``, ``compile`` ...
    workers : int
        Jobs it can do at once.
    jobs : int
        Jobs done.
    share : float
        Part of the time that it was busy, 0 to 1.
    """

    name: str
    workers: int
    jobs: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """How a running stream is now.

    Attributes
    ----------
    holder : Holder
        Who wrote this.
    time : float
        When, in seconds since 1970.
    phase : str
        ``starting`` (checks, models), ``running``, ``pausing`` (what is under way is finished),
        ``paused`` or ``stopping``.
    answered : str
        The last request that was heeded.
    under_way : int
        Images finished in batches that are not.
    finished : int
        Images finished in this run.
    images : int
        Images of this run.
    working_s : float
        Seconds since the first batch of this run began, without pauses.
    lanes : tuple of LaneNow
        The lanes.
    disk_bytes, disk_peak_bytes : int
        What lies under ``tmp_dir``, and the most that did.
    disk_limit_bytes : int or None
        The disk budget.
    """

    holder: Holder
    time: float
    phase: str
    answered: str = ""
    under_way: int = 0
    finished: int = 0
    images: int = 0
    working_s: float = 0.0
    lanes: tuple[LaneNow, ...] = ()
    disk_bytes: int = 0
    disk_peak_bytes: int = 0
    disk_limit_bytes: int | None = None


def write_small(path: Path, content: dict[str, Any]) -> None:
    """Replace a small JSON file, so that a reader sees the old or the new one.

    Without bringing it to the disk: after a power cut nobody needs it.
    """
    with atomic_path(path, durable=False) as part:
        part.write_text(json.dumps(content), encoding="utf-8")


def read_small(path: Path) -> dict[str, Any]:
    """Return a small JSON file; nothing when it is not there or makes no sense."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_live(folder: Path, live: Live) -> None:
    """Say how the stream of an output folder is.

    Raises
    ------
    OSError
        If that cannot be written.
    """
    write_small(folder / LIVE_NAME, asdict(live))


def read_live(folder: Path, who: Holder | None) -> Live | None:
    """Return what the holder of an output folder says of itself.

    Parameters
    ----------
    folder : Path
        Output folder.
    who : Holder or None
        Who holds its lock.

    Returns
    -------
    Live or None
        None when nobody holds it, or what lies there is another's.
    """
    if who is None:
        return None
    said = read_small(folder / LIVE_NAME)
    try:
        said["holder"] = Holder(**said["holder"])
        said["lanes"] = tuple(LaneNow(**lane) for lane in said["lanes"])
        live = Live(**said)
    except (KeyError, TypeError, ValueError):
        return None
    return live if live.holder == who else None
