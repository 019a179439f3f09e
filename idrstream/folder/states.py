"""States of batches, images, attempts and runs, as the journal stores them.

::

    batch    planned ──► running ──► done ◄──► (tried again; stays done until replaced)
                ▲          │  │       │
                ├──────────┘  ▼       │  stopped, crashed / file lost
                │           failed ──► running (a later run tries again)
                └─────────────────────┘

    attempt  running ──► published ──► done        run  running ──► finished
                ├──────► failed                            ├──────► stopped
                └──────► interrupted                       └──────► died

An image is planned until its batch is tried; it is done, partial (some frames failed) or failed.
The values are the text in the file and never change.
"""

from __future__ import annotations

from enum import StrEnum


class BatchState(StrEnum):
    """State of a batch of the plan."""

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class ImageState(StrEnum):
    """State of an image of the plan."""

    PLANNED = "planned"
    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"


class AttemptState(StrEnum):
    """Outcome of one attempt at a batch."""

    RUNNING = "running"
    PUBLISHED = "published"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class RunState(StrEnum):
    """State of a run of the stream."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    DIED = "died"
