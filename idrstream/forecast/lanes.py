"""How long a stream takes when each stage takes as long as measured: its lanes, played through.

The rules are those of the runner: a stage works beside the others, reading, segmentation and
profiling share the processor's cores, so many batches and movies are under way at once, a plate's
illumination is fitted before its first image is downloaded.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from idrstream.schedule.options import LaneSizes

_MOST_IMAGES = 600  # played through; beyond that the rate of the second half goes on


@dataclass(frozen=True, slots=True)
class ImageCost:
    """Seconds that one image takes in each stage.

    Attributes
    ----------
    download_s, preprocess_s, segment_s : float
        Of the whole image, all its frames together.
    frames : int
        Its frames.
    """

    download_s: float
    preprocess_s: float
    segment_s: float
    frames: int = 1

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
        Images that were probed; others are taken to be like them, one after the other.
    startup_s : float
        Once: models, first use of everything.
    profile_s, compile_s : float
        For each image of a batch.
    profile_once_s : float
        For each batch.
    fit_once_s, fit_well_s : float
        Illumination of a plate: once, and for each well that it looks at.
    """

    images: tuple[ImageCost, ...]
    startup_s: float = 0.0
    profile_s: float = 0.0
    profile_once_s: float = 0.0
    compile_s: float = 0.0
    fit_once_s: float = 0.0
    fit_well_s: float = 0.0


def seconds_for(
    batches: Sequence[Sequence[str]],
    costs: Costs,
    sizes: LaneSizes,
    fits: Mapping[str, int],
) -> float:
    """Return how long a stream takes from its first batch to its last table.

    Parameters
    ----------
    batches : sequence of sequence of str
        For each batch the plates of its images.
    costs : Costs
        What was measured.
    sizes : LaneSizes
        How many of everything.
    fits : Mapping
        Wells that the illumination of each plate still to be fitted looks at.

    Returns
    -------
    float
        Seconds, without `Costs.startup_s`.
    """
    total = sum(map(len, batches))
    played: list[Sequence[str]] = []
    count = 0
    for batch in batches:
        if count >= _MOST_IMAGES:
            break
        played.append(batch)
        count += len(batch)
    whole = _Play(played, costs, sizes, fits).run()
    if count >= total:
        return whole
    half = played[: len(played) // 2]
    more = count - sum(map(len, half))
    return whole + (total - count) * (whole - _Play(half, costs, sizes, fits).run()) / more


@dataclass(slots=True, eq=False)
class _Batch:
    waiting: deque[tuple[str, ImageCost]]
    left: int
    size: int
    fetched: deque[ImageCost] = field(default_factory=deque)


class _Play:
    """One stream, played through event by event."""

    def __init__(
        self,
        batches: Sequence[Sequence[str]],
        costs: Costs,
        sizes: LaneSizes,
        fits: Mapping[str, int],
    ) -> None:
        self._costs = costs
        self._sizes = sizes
        self._fits = dict(fits)
        self._fitting: set[str] = set()
        images = costs.images
        number = 0
        self._coming: deque[_Batch] = deque()
        for plates in batches:
            of_batch = deque(
                (plate, images[(number + index) % len(images)])
                for index, plate in enumerate(plates)
            )
            number += len(plates)
            self._coming.append(_Batch(of_batch, len(plates), len(plates)))
        self._batches: list[_Batch] = []
        self._frames: deque[tuple[_Batch, list[int], float]] = deque()
        self._reading_frames = self._held_frames = 0
        self._to_profile: deque[_Batch] = deque()
        self._to_publish: deque[_Batch] = deque()
        self._busy = dict.fromkeys(
            ("download", "illumination", "preprocess", "segment", "profile", "compile"), 0
        )
        self._cores_used = self._on_disk = 0
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._told = 0

    def run(self) -> float:
        self._pump()
        while self._events:
            self._now, _, done = heapq.heappop(self._events)
            done()
            self._pump()
        return self._now

    def _pump(self) -> None:
        while self._to_publish and not self._busy["compile"]:
            batch = self._to_publish.popleft()
            self._start("compile", self._costs.compile_s * batch.size, self._published, batch)
        while self._to_profile and self._room("profile", self._sizes.cores, 1):
            batch = self._to_profile.popleft()
            seconds = self._costs.profile_once_s + self._costs.profile_s * batch.size
            self._start("profile", seconds, self._profiled, batch, cores=self._sizes.cores)
        while self._coming and len(self._batches) < self._sizes.batches_in_flight:
            self._batches.append(self._coming.popleft())
        if len(self._frames) < self._sizes.frames_at_once:
            self._read()
        self._segment()
        self._read()
        self._download()

    def _download(self) -> None:
        for batch in self._batches:
            for item in list(batch.waiting):
                if self._busy["download"] >= self._sizes.downloads_at_once:
                    return
                if self._on_disk >= self._sizes.prefetch:
                    return
                plate, cost = item
                if plate in self._fits:
                    self._fit(plate)
                    continue
                batch.waiting.remove(item)
                self._on_disk += 1
                self._start("download", cost.download_s, self._downloaded, batch, cost)

    def _fit(self, plate: str) -> None:
        if plate in self._fitting or self._busy["illumination"]:
            return
        self._fitting.add(plate)
        seconds = self._costs.fit_once_s + self._costs.fit_well_s * self._fits[plate]
        self._start("illumination", seconds, self._fits.pop, plate)

    def _downloaded(self, batch: _Batch, cost: ImageCost) -> None:
        batch.fetched.append(cost)

    def _read(self) -> None:
        limit = self._sizes.frames_in_memory
        for batch in self._batches:
            while batch.fetched:
                held = self._reading_frames + self._held_frames
                if not self._room("preprocess", 1, self._sizes.preprocess_workers):
                    return
                if held and held >= limit:
                    return
                cost = batch.fetched.popleft()
                self._reading_frames += cost.frames
                self._start("preprocess", cost.preprocess_s, self._was_read, batch, cost, cores=1)

    def _was_read(self, batch: _Batch, cost: ImageCost) -> None:
        self._on_disk -= 1
        self._reading_frames -= cost.frames
        self._held_frames += cost.frames
        left = [cost.frames]  # of this image, shared by its frames
        self._frames.extend([(batch, left, cost.segment_s / cost.frames)] * cost.frames)

    def _segment(self) -> None:
        while self._frames:
            count = min(self._sizes.frames_at_once, len(self._frames))
            cores = min(count, self._sizes.cores) if count > 1 else self._sizes.cores
            if not self._room("segment", cores, self._sizes.groups_at_once):
                return
            group = [self._frames.popleft() for _ in range(count)]
            seconds = sum(item[2] for item in group)
            self._start("segment", seconds, self._segmented, group, cores=cores)

    def _segmented(self, group: Sequence[tuple[_Batch, list[int], float]]) -> None:
        self._held_frames -= len(group)
        for batch, left, _ in group:
            left[0] -= 1
            if not left[0]:
                batch.left -= 1
                if not batch.left:
                    self._to_profile.append(batch)

    def _profiled(self, batch: _Batch) -> None:
        self._to_publish.append(batch)

    def _published(self, batch: _Batch) -> None:
        self._batches.remove(batch)

    def _room(self, lane: str, cores: int, workers: int) -> bool:
        fits = not (self._sizes.cores and self._cores_used) or (
            self._cores_used + cores <= self._sizes.cores
        )
        return fits and self._busy[lane] < workers

    def _start(
        self,
        lane: str,
        seconds: float,
        done: Callable[..., object],
        *values: object,
        cores: int = 0,
    ) -> None:
        self._busy[lane] += 1
        self._cores_used += cores

        def end() -> None:
            self._busy[lane] -= 1
            self._cores_used -= cores
            done(*values)

        self._told += 1  # of two that end together, the first started is heard first
        heapq.heappush(self._events, (self._now + seconds, self._told, end))


def spread(values: Sequence[float]) -> float:
    """Return how far the mean of a few values may be off, as a part of it: 95 %, by Student's t.

    One value tells nothing of the spread: then half is said.
    """
    from scipy import stats

    count = len(values)
    mean = math.fsum(values) / count
    if count < 2 or mean <= 0:
        return 0.5
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    return float(stats.t.ppf(0.975, count - 1)) * deviation / math.sqrt(count) / mean
