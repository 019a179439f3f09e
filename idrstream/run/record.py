"""The record of a run: what was run, with what, and what came of it, as one JSON file."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from idrstream.compile import atomic_path
from idrstream.run.events import BatchFinished, Event, RunResult, StreamFinished, StreamStarted

FORMAT_VERSION = 1
_PACKAGES = (
    "idrstream", "basicpy", "cellpose", "deepprofiler", "h5py", "numpy", "pandas", "pycytominer",
    "tensorflow", "torch",
)  # fmt: skip


class RunRecord:
    """Writes ``runs/<start time>.json`` in the output folder; a `Listener`.

    The file is written anew after every batch, each time beside and then renamed, so that it
    can be read while the stream runs and survives its death.

    Parameters
    ----------
    folder : Path
        The output folder of the stream.
    settings : Mapping
        The settings of the run, as JSON-ready values.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder / "runs"
        self._settings = dict(settings)
        self._batches: list[BatchFinished] = []
        self._head: dict[str, Any] = {}
        self.path: Path | None = None

    def __call__(self, event: Event) -> None:
        """Take note of an event, and write."""
        if isinstance(event, StreamStarted):
            now = datetime.now(timezone.utc)
            self._batches = []
            self._head = {
                "format_version": FORMAT_VERSION,
                "started": now.isoformat(timespec="seconds"),
                "settings": self._settings,
                "versions": versions(),
                "plan": {
                    "batch_size": event.plan.batch_size,
                    "batches": list(event.plan.numbers),
                    "images": event.plan.image_count,
                },
            }
            self.path = self._folder / f"{now:%Y%m%dT%H%M%S.%fZ}.json"
            self._write({"state": "running"})
        elif isinstance(event, BatchFinished):
            self._batches.append(event)
            self._write({"state": "running"})
        elif isinstance(event, StreamFinished):
            state = "stopped" if event.stopped_by else "finished"
            self._write({"state": state, "stopped_by": event.stopped_by, **_summary(event.result)})

    def _write(self, tail: Mapping[str, Any]) -> None:
        if self.path is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        content = {**self._head, "batches": [_batch(item) for item in self._batches], **tail}
        with atomic_path(self.path) as part:
            part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that change a result."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _summary(result: RunResult) -> dict[str, Any]:
    return {
        "seconds": round(result.seconds, 3),
        "nuclei": result.nuclei,
        "rerun": result.rerun_call,
    }


def _batch(item: BatchFinished) -> dict[str, Any]:
    published = item.published
    return {
        "batch": item.batch.number,
        "images": len(item.batch.tasks),
        "nuclei": item.nuclei,
        "file": published.path.name if published else None,
        "rows": published.rows if published else None,
        "sha256": published.sha256 if published else None,
        "error": {"kind": item.error_kind, "message": item.error} if item.error_kind else None,
        "skipped": [
            {
                "plate": skipped.task.plate,
                "well": skipped.task.well,
                "frame": skipped.frame_number,
                "stage": skipped.stage,
                "kind": skipped.kind,
                "reason": skipped.reason,
            }
            for skipped in item.skipped
        ],
        "seconds": {stage: round(value, 3) for stage, value in item.seconds.items()},
    }
