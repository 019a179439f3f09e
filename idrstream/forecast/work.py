"""How long a stream works, estimated from what its stages took for a few images.

The stages of a stream work beside each other, each with its own workers, and stages on the
processor share its cores. With the seconds that a stage needs for all images, divided by the
images it handles at once:

- The stream takes at least as long as its busiest stage, and at least as long as the shared
  cores need for the work of all stages on them.
- It takes at most as long as all stages one after the other, plus one image that passes
  alone: at any time either some stage has all its workers busy, or the last image is on its way.
- It probably takes as long as the busiest stage, plus what the other stages do for one batch,
  with which nothing else overlaps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from idrstream.schedule.options import LaneSizes


@dataclass(frozen=True, slots=True)
class ImageCost:
    """Seconds that one image takes in each stage, all its frames together."""

    download_s: float
    preprocess_s: float
    segment_s: float

    @property
    def total_s(self) -> float:
        """All stages together."""
        return self.download_s + self.preprocess_s + self.segment_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What was measured.

    Attributes
    ----------
    images : tuple of ImageCost
        Images that were probed.
    startup_s : float
        Once: models, first use of everything.
    profile_s, compile_s : float
        For each image of a batch.
    fit_once_s, fit_well_s : float
        Illumination of a plate: once, and for each well that it is fitted on.
    """

    images: tuple[ImageCost, ...]
    startup_s: float = 0.0
    profile_s: float = 0.0
    compile_s: float = 0.0
    fit_once_s: float = 0.0
    fit_well_s: float = 0.0

    def stages(self) -> dict[str, float]:
        """Return the mean seconds of work for each image, by stage."""
        names = [field.name for field in fields(ImageCost)]
        means = {
            name.removesuffix("_s"): math.fsum(getattr(image, name) for image in self.images)
            / len(self.images)
            for name in names
        }
        return {**means, "profile": self.profile_s, "compile": self.compile_s}


@dataclass(frozen=True, slots=True)
class WorkTime:
    """Seconds from the first batch to the last table: probable, at least and at most."""

    seconds: float
    low_s: float
    high_s: float


def work_time(
    batches: Sequence[int], costs: Costs, sizes: LaneSizes, wells: Sequence[int] = ()
) -> WorkTime:
    """Estimate how long a stream works on batches of so many images each, without `startup_s`.

    `wells` are the numbers of wells that the illumination of each plate without a model is
    fitted on.
    """
    images = sum(batches)
    if not images:
        return WorkTime(0.0, 0.0, 0.0)
    workers = _workers(sizes, batches)
    work = {name: seconds * images for name, seconds in costs.stages().items()}
    busy = {name: seconds / workers[name] for name, seconds in work.items()}
    fits = [costs.fit_once_s + costs.fit_well_s * count for count in wells]
    low = max(*busy.values(), sum(fits))
    cores = _cores_busy_s(work, sizes)
    if not sizes.beside:  # else stages slow each other down, which shows in their own times
        low = max(low, cores)
    one_after_the_other = sum(busy.values()) + sum(fits)
    first_fit = max(fits, default=0.0)
    probable = max(low, cores)
    alone = max(0.0, sum(busy.values()) - probable) / len(batches)
    longest = max(image.total_s for image in costs.images)
    last = longest + (costs.profile_s + costs.compile_s) * max(batches)
    high = max(low, one_after_the_other) + last
    return WorkTime(min(probable + alone + first_fit, high), low, high)


def _workers(sizes: LaneSizes, batches: Sequence[int]) -> dict[str, int]:
    """Return how many images each stage handles at once."""
    in_flight = min(sizes.batches_in_flight * max(batches), sum(batches))
    cores = sizes.cores or sizes.preprocess_workers
    return {
        "download": min(sizes.downloads_at_once, sizes.prefetch, in_flight),
        "preprocess": min(sizes.preprocess_workers, cores, in_flight),
        "segment": min(sizes.groups_at_once, in_flight),
        "profile": 1,
        "compile": 1,
    }


def _cores_busy_s(work: dict[str, float], sizes: LaneSizes) -> float:
    """Return how long the shared cores are busy: reading takes one, profiling all of them."""
    if not sizes.cores:
        return 0.0
    group = min(sizes.frames_at_once, sizes.cores) if sizes.frames_at_once > 1 else sizes.cores
    core_seconds = (
        work["preprocess"] + work["segment"] * group + work["profile"] * sizes.cores
    )  # fmt: skip
    return core_seconds / sizes.cores


def spread(values: Sequence[float]) -> float:
    """Return the relative error of a mean of a few values: 95 %, by Student's t.

    One value says nothing about the spread; then it is taken to be a half.
    """
    from scipy import stats

    count = len(values)
    mean = math.fsum(values) / count
    if count < 2 or mean <= 0:
        return 0.5
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return float(stats.t.ppf(0.975, count - 1)) * deviation / math.sqrt(count) / mean
