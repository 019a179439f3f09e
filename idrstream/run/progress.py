"""Progress bars over batches and images, in a terminal or a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from idrstream.run.events import (
    BatchFinished,
    BatchStarted,
    Event,
    ImageFinished,
    StageStarted,
    StreamFinished,
    StreamStarted,
)

if TYPE_CHECKING:
    from tqdm import tqdm


class ProgressBars:
    """Two tqdm bars: batches done, and images done with the current stage; a `Listener`."""

    def __init__(self) -> None:
        self._batches: tqdm[Any] | None = None
        self._images: tqdm[Any] | None = None
        self._failed = 0

    def __call__(self, event: Event) -> None:
        """Move the bars."""
        if isinstance(event, StreamStarted):
            self._open(len(event.plan), event.plan.image_count)
        if self._batches is None or self._images is None:
            return
        if isinstance(event, BatchStarted):
            self._batches.set_postfix_str(f"batch {event.batch.number}")
        elif isinstance(event, StageStarted):
            where = f"{event.task.plate} {event.task.well} " if event.task else ""
            self._images.set_postfix_str(f"{where}{event.stage}{self._failures()}")
        elif isinstance(event, ImageFinished):
            self._failed += len(event.skipped)
            self._images.update()
        elif isinstance(event, BatchFinished):
            self._failed += event.published is None
            self._batches.update()
        elif isinstance(event, StreamFinished):
            self._images.set_postfix_str(
                f"{'stopped' if event.stopped_by else 'done'}{self._failures()}"
            )
            self.close()

    def close(self) -> None:
        """Leave the bars as they are."""
        for bar in (self._images, self._batches):
            if bar is not None:
                bar.close()
        self._batches = self._images = None

    def _open(self, batches: int, images: int) -> None:
        from tqdm.auto import tqdm

        self.close()
        self._failed = 0
        self._batches = tqdm(total=batches, desc="Batches", unit="batch", position=0)
        self._images = tqdm(total=images, desc="Images ", unit="image", position=1)

    def _failures(self) -> str:
        return f", {self._failed} failed" if self._failed else ""
