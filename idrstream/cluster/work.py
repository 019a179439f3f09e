"""What coordinator, executors and workers say to each other.

A coordinator gives pieces of work to an executor, which has workers do them::

    Coordinator ── give(Work) ──► Executor ──► worker: inbox/<batch>-<uuid>/, receipt last
         ▲                           │
         └──── wait() -> Ended ──────┘

Results do not pass through the executor: a worker puts each into the inbox of the output folder
(`idrstream.cluster.receipts`), where the coordinator finds it even if it started later.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from idrstream.records import ImageTask

LARGEST = 20
"""Batches in a piece of work, at most."""
CONNECTIONS = 16
"""Connections to one server by default, of all workers together."""


class EndKind(StrEnum):
    """How a piece of work ended."""

    FINISHED = "finished"  # every batch has a result
    RETURNED = "returned"  # its worker left in time: what has no result is given back
    LOST = "lost"  # time limit, preemption, cancelled: nobody's fault
    DIED = "died"  # its worker ended without a word: what it was at is suspected
    REFUSED = "refused"  # its worker cannot work at all; the message says why


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A piece of work for one worker: some batches, or the illumination of a plate.

    Attributes
    ----------
    batches : Mapping[int, tuple of ImageTask]
        The batches, in order.
    plate : str
        Plate whose illumination model is fitted instead; empty for batches.
    tasks : tuple of ImageTask
        The images that it is fitted on.
    failed_plates : Mapping[str, str]
        Plates that have no model, and why: their images are skipped.
    id : str
        Unique name.
    """

    batches: Mapping[int, tuple[ImageTask, ...]] = field(default_factory=dict)
    plate: str = ""
    tasks: tuple[ImageTask, ...] = ()
    failed_plates: Mapping[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Work:
        """Return the work that `as_json` made plain.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it is none.
        """
        batches = content["batches"].items()
        return cls(
            batches={int(number): _tasks(tasks) for number, tasks in batches},
            plate=str(content["plate"]),
            tasks=_tasks(content["tasks"]),
            failed_plates={str(k): str(v) for k, v in content["failed_plates"].items()},
            id=str(content["id"]),
        )


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a piece of work.

    Attributes
    ----------
    work : Work
        The work.
    kind : EndKind
        How it ended.
    worker : str
        Name of the worker that did it; empty if none had begun.
    message : str
        What else is known, for people.
    """

    work: Work
    kind: EndKind
    worker: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a worker makes the components of a stream that was not built from settings.

    Attributes
    ----------
    function : str
        ``package.module:function``, which a worker can import. It is called with ``tmp_dir``,
        ``final_data_dir`` and the arguments, and returns an `IdrStream`.
    arguments : Mapping
        Keyword arguments, plain values for JSON.
    """

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Executor(Protocol):
    """Has workers do pieces of work; they find stream and output folder in `stream_file`.

    Attributes
    ----------
    workers : int
        How many work at once, at most: they share connections and disk budget.
    detached : bool
        Whether the coordinator leaves once everything is given.
    outlives : bool
        Whether workers go on when the coordinator has left.
    recipe : Recipe or None
        How workers make their components; None for a stream built from settings.
    connections : int
        Connections to one server, of all workers together.
    tmp_dir : str
        Folder for intermediates on the workers' machines, where variables of their environment
        are replaced (``$TMPDIR``); empty for that of the stream.
    """

    workers: int
    detached: bool = False
    outlives: bool = False
    recipe: Recipe | None = None
    connections: int = CONNECTIONS
    tmp_dir: str = ""

    def slice_size(self, n_left: int) -> int:
        """Return how many batches to give at once: fewer towards the end, so that all end soon."""
        share = n_left if self.workers == 1 else n_left // (2 * self.workers)
        return max(1, min(LARGEST, share))

    def capacity(self) -> int:
        """Return how many more pieces of work would be begun now; 0 while workers start."""
        ...

    def give(self, work: Work, stream_file: Path) -> None:
        """Have a worker do a piece of work.

        Raises
        ------
        ClusterError
            If there is no worker and none can be had.
        """
        ...

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """Return the work that ended since the last call; wait for some at most so long."""
        ...

    def close(self) -> None:
        """Let workers leave, those that belong to this executor; wait until they have."""
        ...

    def adopted(self) -> Sequence[Work]:
        """Return work that was given by an earlier coordinator and still goes on."""
        return ()

    def waiting(self) -> str:
        """Return what waits for a worker and why, for people; empty if nothing does."""
        return ""


def batch_key(identity: str, number: int, tasks: Sequence[ImageTask]) -> str:
    """Return a digest of what a batch is: its images and the settings that change results.

    Parameters
    ----------
    identity : str
        Digest of these settings.
    number : int
        Number of the batch.
    tasks : sequence of ImageTask
        Its images; their rows in the table do not count.
    """
    images = [
        [t.plate, t.well, t.well_number, t.site, t.frames_text, sorted(t.metadata.items())]
        for t in tasks
    ]
    return hashlib.sha256(json.dumps([identity, number, images]).encode()).hexdigest()


def identity_key(identity: Mapping[str, Any]) -> str:
    """Return a digest of the settings that change results."""
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _tasks(found: Sequence[Mapping[str, Any]]) -> tuple[ImageTask, ...]:
    return tuple(ImageTask(**{**task, "frames": tuple(task["frames"])}) for task in found)
