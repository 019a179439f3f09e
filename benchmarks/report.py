"""Size of the report of a stream of 5,000 images, and the time to its first picture.

    python benchmarks/report.py --out benchmarks/results/report.json

The output folder is made up: journal, quality measures and pictures of 5,000 images on 14 plates,
as a stream writes them. The pictures are 16 frames of noise and discs, drawn by the stream's own
code and kept of 200 images; the page shows 36 of them. There are no batch tables, so the page has
no features. Chromium opens the page anew five times.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _common import objects_at

from idrstream.config import RunOptions
from idrstream.folder.decide import decide
from idrstream.folder.journal.journal import Journal, RunInfo
from idrstream.folder.plans import RequestedPlan
from idrstream.quality.notes import BatchNotes
from idrstream.quality.pictures import PictureStore
from idrstream.quality.raw_frame import measure_raw_frame
from idrstream.records import Batch, Frame, ImageTask, Published
from idrstream.report.write import write_report
from idrstream.schedule.events import (
    BatchFinished,
    BatchPublished,
    BatchStarted,
    ImageFinished,
)
from idrstream.screen.wells import well_name

WELLS = 384
BATCH = 50
SIDE = 480


def make_folder(folder: Path, images: int) -> None:
    """Write the output folder of a stream that did not take place."""
    rng = np.random.default_rng(0)
    tasks = tuple(
        ImageTask(f"P{at // WELLS + 1:04d}", well_name(at % WELLS + 1), at % WELLS + 1, (50,))
        for at in range(images)
    )
    wanted = RequestedPlan.of(
        tasks, {"table": {"extra_metadata": [], "format": "csv.gz"}},
        RunOptions(batch_size=BATCH),
    )  # fmt: skip
    decision = decide(wanted, None, images=None, broken={})
    store = PictureStore(folder, 6_000_000)
    notes = BatchNotes(folder, store)
    scenes = [_scene(rng) for _ in range(16)]
    journal = Journal(folder, durable=False)
    info = RunInfo(pid=1, host="benchmark", options={}, parts={}, versions={})
    journal.begin(info, wanted, decision)
    for number in decision.run:
        batch = Batch(number, tuple(decision.batches[number]))
        journal(BatchStarted(batch))
        total = 0
        for task in batch.tasks:
            pixels, points, shapes = scenes[task.well_number % len(scenes)]
            raw = measure_raw_frame(pixels, f"http: host/{task.plate}/a")
            frame = Frame(pixels[np.newaxis], 50, task, raw)
            notes.add(frame, objects_at(points, pixels.shape, outlines=shapes))
            total += len(points)
            journal(ImageFinished(batch, task, len(points), ()))
        notes.publish(number, batch.tasks)
        notes.clear()
        path = folder / f"batch_{number}.csv.gz"
        path.touch()
        published = Published(path, total, "0" * 64, 1284, "0" * 64)
        journal(BatchPublished(batch, published, total, ()))
        journal(BatchFinished(batch, published, total, ()))
    journal.close()


def _scene(rng: np.random.Generator) -> tuple[Any, Any, tuple[Any, ...]]:
    """Return a frame, the centres of its nuclei and their outlines."""
    y, x = np.mgrid[:SIDE, :SIDE]
    points = rng.uniform(20, SIDE - 20, (int(rng.integers(20, 60)), 2))
    image = rng.normal(25, 2, (SIDE, SIDE))
    shapes = []
    for row, column in points:
        disc = (y - row) ** 2 + (x - column) ** 2
        image[disc < 80] += 90
        shapes.append(np.argwhere((disc > 64) & (disc < 81)))
    return image.clip(0, 255).astype(np.uint8), points, tuple(shapes)


def open_page(page: Path) -> dict[str, float]:
    """Open the page in a fresh Chromium; return times in seconds since the navigation began."""
    import shutil

    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        tab = browser.new_page()
        started = time.perf_counter()
        tab.goto(page.as_uri(), wait_until="load")
        tab.evaluate("() => document.images[0].decode()")
        decoded = time.perf_counter() - started
        paint = tab.evaluate(
            "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
        )
        pictures = tab.evaluate("() => document.images.length")
        browser.close()
    return {"first_paint_s": (paint or 0) / 1000, "first_picture_s": decoded, "pictures": pictures}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=5000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "out"
        folder.mkdir()
        started = time.perf_counter()
        make_folder(folder, chosen.images)
        made = time.perf_counter() - started
        started = time.perf_counter()
        report = write_report(folder, features=False)
        wrote = time.perf_counter() - started
        found = {
            "images": chosen.images,
            "page_bytes": report.path.stat().st_size,
            "pictures_bytes": sum(p.stat().st_size for p in folder.glob("pictures/*")),
            "qc_bytes": sum(p.stat().st_size for p in folder.glob("qc/*")),
            "write_report_s": round(wrote, 2),
            "make_folder_s": round(made, 1),
            "warnings": len(report.warnings),
            "opened": [open_page(report.path) for _ in range(5)],
            "machine": f"{platform.machine()}, {platform.python_version()}, shared with others",
        }
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
