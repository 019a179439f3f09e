"""Process a few images with the real components and measure each stage."""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.config import RunOptions
from idrstream.errors import BatchError
from idrstream.forecast.plan import TimeEstimate
from idrstream.forecast.shadow import shadow_components, shadow_options, shadow_paths
from idrstream.forecast.work import Costs, ImageCost, spread, work_time
from idrstream.records import ImageTask
from idrstream.run.components import Components, StreamPaths
from idrstream.run.session import Session
from idrstream.schedule.events import BatchFinished, BatchPublished, Event, StageFinished
from idrstream.schedule.options import LaneSizes, choose_sizes

if TYPE_CHECKING:
    import pandas as pd

_MODEL_ERROR = 0.1  # of the bounds themselves, however alike the images are


@dataclass(slots=True)
class Measured:
    """A listener that measures the stages.

    Attributes
    ----------
    of_image : dict
        Seconds by row of the image and stage.
    of_batch : dict
        Seconds by stage, for each batch.
    table_bytes : int
        Size of the tables.
    failed : str
        Why a batch failed.
    skipped : str
        Why the first image was left out.
    """

    of_image: dict[int, dict[str, float]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(float))
    )
    of_batch: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    table_bytes: int = 0
    failed: str = ""
    skipped: str = ""

    def __call__(self, event: Event) -> None:
        """Note an event."""
        if isinstance(event, StageFinished) and event.task is None:
            self.of_batch[event.stage].append(event.seconds)
        elif isinstance(event, StageFinished) and event.task is not None:
            stages = self.of_image[event.task.row]
            if event.stage == "download":  # the illumination may have fetched the same movie before
                stages[event.stage] = event.seconds
            else:
                stages[event.stage] += event.seconds
        elif isinstance(event, BatchPublished):
            self.table_bytes += event.published.path.stat().st_size
        elif isinstance(event, BatchFinished):
            self.failed = event.error if event.published is None else self.failed
            self.skipped = self.skipped or next((item.reason for item in event.skipped), "")


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of a probe.

    Attributes
    ----------
    costs : Costs
        Seconds of everything.
    sizes : LaneSizes
        How many of everything the stream handles at once.
    table_bytes : int
        Size of the tables for each image.
    nuclei : int
        Nuclei that were found in all images.
    """

    costs: Costs
    sizes: LaneSizes
    table_bytes: int
    nuclei: int = 0

    def estimate(
        self, batches: Sequence[int], wells: Sequence[int], *, load_s: float = 0.0
    ) -> TimeEstimate:
        """Estimate how long the whole stream takes; see `work_time` for the parameters.

        `load_s` is how long the models took to load before the probe.
        """
        startup_s = self.costs.startup_s + load_s
        work = work_time(batches, self.costs, self.sizes, wells)
        once = spread([startup_s])  # it was measured a single time
        off = math.hypot(spread([image.total_s for image in self.costs.images]), _MODEL_ERROR)
        return TimeEstimate(
            seconds=startup_s + work.seconds,
            low_s=startup_s * (1 - once) + work.low_s * max(0.0, 1 - off),
            high_s=startup_s * (1 + once) + work.high_s * (1 + off),
            startup_s=startup_s,
            images=len(self.costs.images),
            stages=self.costs.stages(),
        )


def choose_images(tasks: Sequence[ImageTask], count: int, *, by_plate: bool) -> list[ImageTask]:
    """Return images to probe: spread at random, or of one plate if illumination is by plate."""
    draw = random.Random(0)  # noqa: S311, no secret
    if by_plate:
        plate = draw.choice(tasks).plate
        tasks = [task for task in tasks if task.plate == plate]
    found = draw.sample(list(tasks), min(count, len(tasks)))
    return sorted(found, key=lambda task: task.row)


def run_probe(
    paths: StreamPaths,
    components: Components,
    options: RunOptions,
    table: pd.DataFrame,
    tasks: Sequence[ImageTask],
    folder: Path,
) -> Probe:
    """Process images of a stream in a temporary folder, and measure.

    The first image is processed alone before, to separate the costs of a start from those of
    every image.

    Raises
    ------
    BatchError
        If none of the images could be processed, or their batch not profiled.
    UserError
        If the stream would stop.
    """

    def run(chosen: Sequence[ImageTask], name: str) -> tuple[Measured, float, int]:
        measured, here = Measured(), folder / name
        session = Session(
            shadow_paths(paths, here),
            shadow_components(components, here),
            shadow_options(options, len(chosen)),
        )
        started = time.monotonic()
        result = session.run(table.iloc[[task.row for task in chosen]], [measured])
        if measured.failed:
            msg = f"the images of the probe could not be processed: {measured.failed}"
            raise BatchError(msg)
        return measured, time.monotonic() - started, result.nuclei

    _, cold_s, _ = run(tasks[:1], "cold")
    warm, _, nuclei = run(tasks, "warm")
    images = tuple(
        ImageCost(
            stages.get("download", 0.0), stages.get("preprocess", 0.0), stages.get("segment", 0.0)
        )
        for _, stages in sorted(warm.of_image.items())
        if "segment" in stages
    )
    if not images:
        msg = f"none of the images of the probe could be processed; the first: {warm.skipped}"
        raise BatchError(msg)
    number = len(images)
    read_s = math.fsum(image.preprocess_s for image in images) / number
    fit_s = math.fsum(warm.of_batch["illumination"])
    well_s = min(read_s, fit_s / len(tasks))
    costs = Costs(
        images=images,
        profile_s=math.fsum(warm.of_batch["profile"]) / number,
        compile_s=math.fsum(warm.of_batch["compile"]) / number,
        fit_once_s=fit_s - len(tasks) * well_s if fit_s else 0.0,
        fit_well_s=well_s if fit_s else 0.0,
    )
    warm_s = sum(costs.stages().values()) + costs.fit_once_s + costs.fit_well_s
    costs = replace(costs, startup_s=max(0.0, cold_s - warm_s))
    return Probe(costs, choose_sizes(options), warm.table_bytes // number, nuclei)
