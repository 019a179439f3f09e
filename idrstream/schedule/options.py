"""The sizes of the lanes, chosen for the machine."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from idrstream.config import RunOptions
from idrstream.workers.threads import all_processors

_FEWEST_READ = 4


@dataclass(frozen=True, slots=True)
class LaneSizes:
    """The options of `RunOptions` for lanes, all chosen; 0 cores still mean no limit.

    ``groups_at_once`` is how many groups of frames are segmented at once, ``all_cores`` whether the
    cores are all of the machine's, so that a job too many slows only this stream.
    """

    batches_in_flight: int
    downloads_at_once: int
    prefetch: int
    preprocess_workers: int
    cores: int
    frames_at_once: int
    groups_at_once: int = 1
    all_cores: bool = False

    @property
    def beside(self) -> bool:
        """Whether one reader and the profiler work beside segmentation, on cores that it has."""
        return self.all_cores and self.cores > 1

    @property
    def frames_in_memory(self) -> int:
        """Frames read but not profiled: two groups more than are being segmented."""
        return max(2 * self.frames_per_read, (self.groups_at_once + 2) * self.frames_at_once)

    @property
    def frames_per_read(self) -> int:
        """Frames of a movie that are read together."""
        return max(_FEWEST_READ, self.frames_at_once)


def choose_sizes(
    options: RunOptions, *, cores: int | None = None, gpu: bool | None = None
) -> LaneSizes:
    """Choose the sizes that the options leave open.

    Without a GPU all heavy stages use the processor: reading and correction take one core each,
    segmentation one for each of its frames, profiling all. Where the cores are all of the
    machine's, one reader and the profiler work beside segmentation. With a GPU the networks run
    there, and while it works on one group of frames the processor prepares or finishes another.

    Parameters
    ----------
    options : RunOptions
        The options.
    cores : int, optional
        Processor cores that may be used; by default those of this process.
    gpu : bool, optional
        Whether the networks run on a GPU; by default whether torch sees one.
    """
    found = _usable_cores() if cores is None else cores
    gpu = _sees_gpu() if gpu is None else gpu

    def pick(value: int | None, chosen: int) -> int:
        return chosen if value is None else value

    shared = pick(options.cores, 0 if gpu else found)
    return LaneSizes(
        batches_in_flight=options.batches_in_flight,
        downloads_at_once=options.downloads_at_once,
        prefetch=options.prefetch,
        preprocess_workers=pick(
            options.preprocess_workers, max(1, min(16, found - 2)) if gpu else min(16, found)
        ),
        cores=shared,
        frames_at_once=pick(options.frames_at_once, 8 if gpu else min(16, shared or found)),
        groups_at_once=2 if gpu and not shared else 1,
        all_cores=shared >= all_processors(),
    )


def _usable_cores() -> int:
    """Return how many processor cores this process may use; ``OMP_NUM_THREADS`` comes first."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else all_processors()


def _sees_gpu() -> bool:
    torch = sys.modules.get("torch")  # not imported for this: then no network runs in it either
    return torch is not None and bool(torch.cuda.is_available())
