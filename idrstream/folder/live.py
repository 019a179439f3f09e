"""The live file: phase, lanes and disk use of a running stream.

A small file in the output folder, replaced every second and removed at the end. It is valid only
while the process that wrote it holds the folder's lock. Its phases::

    starting ──► running ──► pausing ──► paused
        │         ▲  │          │          │
        │         └──┼──────────┴──────────┤ resume
        └────────────┴──► stopping ◄───────┘
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from idrstream.files import atomic_file
from idrstream.folder.locks import Holder
from idrstream.opening import read_regular
from idrstream.text import parse_json

LIVE_NAME = ".idrstream.live.json"
CONTROL_NAME = ".idrstream.control.json"  # a request to the stream
DETACHED_LOG = "detached.log"  # what a stream in a process of its own writes to its terminal
_MAX_BYTES = 1 << 20


class LivePhase(StrEnum):
    """Phase of a running stream."""

    STARTING = "starting"  # checks, models
    RUNNING = "running"
    PAUSING = "pausing"  # images in progress are finished
    PAUSED = "paused"  # nothing runs
    STOPPING = "stopping"


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
        Share of the time that it was busy, 0 to 1.
    """

    name: str
    workers: int
    jobs: int
    share: float


@dataclass(frozen=True, slots=True)
class WorkerNow:
    """A worker of a stream on several machines.

    Attributes
    ----------
    name, host, job : str
        The worker, its machine, and its job in a queue system if it is in one.
    batches : tuple of int
        Batches in progress.
    done : int
        Batches done of the work it has.
    memory_bytes, peak_bytes : int
        Its memory, now and at most.
    """

    name: str
    host: str
    job: str
    batches: tuple[int, ...]
    done: int
    memory_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """State of a running stream.

    Attributes
    ----------
    holder : Holder
        Process that wrote this.
    time : float
        When, in seconds since 1970.
    phase : LivePhase
        Phase of the stream.
    answered : str
        Identifier of the last request that was carried out.
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
        Disk use of ``tmp_dir``, now and at most.
    disk_limit_bytes : int or None
        The disk budget.
    workers : tuple of WorkerNow
        The workers, of a stream on several machines.
    waiting : str
        What waits for a worker, and why.
    """

    holder: Holder
    time: float
    phase: LivePhase
    answered: str = ""
    under_way: int = 0
    finished: int = 0
    images: int = 0
    working_s: float = 0.0
    lanes: tuple[LaneNow, ...] = ()
    disk_bytes: int = 0
    disk_peak_bytes: int = 0
    disk_limit_bytes: int | None = None
    workers: tuple[WorkerNow, ...] = ()
    waiting: str = ""


def write_small(path: Path, content: dict[str, Any]) -> None:
    """Replace a small JSON file atomically, without flushing it to the disk.

    Whatever the umask, others cannot write to it.
    """
    with atomic_file(path, durable=False, mode=0o644) as file:
        file.write(json.dumps(content).encode())


def read_small(path: Path) -> dict[str, Any]:
    """Return the content of a small JSON file; empty if missing, invalid or not a file."""
    try:
        content = parse_json(read_regular(path, _MAX_BYTES))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_live(folder: Path, live: Live) -> None:
    """Write the live file of an output folder.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    write_small(folder / LIVE_NAME, asdict(live))


def read_live(folder: Path, who: Holder | None) -> Live | None:
    """Return the live file of an output folder, if `who` holds its lock and wrote the file."""
    if who is None:
        return None
    content = read_small(folder / LIVE_NAME)
    try:
        content["holder"] = Holder(**content["holder"])
        content["lanes"] = tuple(LaneNow(**lane) for lane in content["lanes"])
        content["workers"] = tuple(
            WorkerNow(**{**worker, "batches": tuple(worker["batches"])})
            for worker in content.get("workers", ())
        )
        content["phase"] = LivePhase(content["phase"])
        live = Live(**content)
    except (KeyError, TypeError, ValueError):
        return None
    return live if live.holder == who else None
