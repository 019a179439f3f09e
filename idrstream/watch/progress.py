"""Progress bars over batches and images, in a terminal or a notebook."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from idrstream.schedule.events import (
    BatchFinished,
    BatchStarted,
    Event,
    ImageFinished,
    StageFinished,
    StageStarted,
    StreamFinished,
    StreamStarted,
)

if TYPE_CHECKING:
    from tqdm import tqdm

_DRAW_S = 0.2  # a fast stream has thousands of events a second


class ProgressBars:
    """Two tqdm bars: batches, and images with the active stages; a `Listener`."""

    def __init__(self) -> None:
        self._batches: tqdm[Any] | None = None
        self._images: tqdm[Any] | None = None
        self._stages: Counter[str] = Counter()  # active jobs
        self._finished: dict[int, int] = {}  # images of the running batches
        self._failures: dict[int, int] = {}
        self._failed = 0
        self._drawn = 0.0

    def __call__(self, event: Event) -> None:
        """Update the bars."""
        if isinstance(event, StreamStarted):
            self._open(len(event.plan), event.plan.image_count)
        if self._batches is None or self._images is None:
            return
        if isinstance(event, StreamFinished):
            end = "stopped" if event.stopped_by else "done"
            self._images.set_postfix_str(f"{end}{self._failed_text()}")
            self.close()
            return
        self._count(event)
        if isinstance(event, BatchStarted):
            # A batch that was reset starts over.
            self._images.update(-self._finished.get(event.batch.number, 0))
            self._failures[event.batch.number] = self._finished[event.batch.number] = 0
        elif isinstance(event, ImageFinished):
            self._finished[event.batch.number] += 1
            self._failures[event.batch.number] += len(event.skipped)
            self._images.update()
        elif isinstance(event, BatchFinished):
            self._finished.pop(event.batch.number, None)
            skipped = self._failures.pop(event.batch.number, 0)
            self._failed += len(event.batch.tasks) if event.published is None else skipped
            self._batches.update()
        numbers = ", ".join(map(str, sorted(self._finished)))
        draw = time.monotonic() - self._drawn >= _DRAW_S
        self._drawn = time.monotonic() if draw else self._drawn
        self._batches.set_postfix_str(f"now {numbers}" if numbers else "", refresh=draw)
        self._images.set_postfix_str(f"{self._stages_text()}{self._failed_text()}", refresh=draw)

    def close(self) -> None:
        """Close the bars."""
        for bar in (self._images, self._batches):
            if bar is not None:
                bar.close()
        self._batches = self._images = None

    def _open(self, batches: int, images: int) -> None:
        from tqdm.auto import tqdm

        self.close()
        self._failed = 0
        self._stages.clear()
        self._finished.clear()
        self._failures.clear()
        self._batches = tqdm(total=batches, desc="Batches", unit="batch", position=0)
        self._images = tqdm(total=images, desc="Images ", unit="image", position=1)

    def _count(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self._stages[event.stage] += 1
        elif isinstance(event, StageFinished):
            self._stages[event.stage] -= 1

    def _stages_text(self) -> str:
        active = [(name, count) for name, count in self._stages.items() if count > 0]
        return ", ".join(name if count == 1 else f"{name} {count}" for name, count in active)

    def _failed_text(self) -> str:
        failed = self._failed + sum(self._failures.values())
        return f", {failed} failed" if failed else ""
