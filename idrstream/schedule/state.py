"""The batches, images, frames and plates of a running stream.

A batch goes through these phases::

    OPEN ──► READY ──► COMPILING ──► CLEARING ──► BatchFinished
      ▲        └── failed ──┴────────────▲
      └─ postponed: starts again later       LOST: the stream stops before it is finished
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from queue import SimpleQueue

from idrstream.records import Batch, Frame, ImageTask, Movie, Objects, Skipped
from idrstream.schedule.stages import BatchProfiling, DiskNeed


class SizeQuery(Enum):
    """Whether the source was asked for the size of a movie."""

    NOT_ASKED = auto()
    ASKED = auto()
    ANSWERED = auto()


class BatchPhase(Enum):
    """Where a batch is; see the diagram of this module."""

    OPEN = auto()
    READY = auto()
    COMPILING = auto()
    CLEARING = auto()
    LOST = auto()


@dataclass(slots=True, eq=False)
class MovieState:
    """A movie that a batch needs.

    Attributes
    ----------
    index : int
        Position among the images of the batch, or among the movies of a fit.
    folder : Path or None
        Where the movie is, or is being downloaded to.
    movie : Movie or None
        The movie while it is on the disk.
    size_bytes : int or None
        Size of the movie; None if the source does not know it, or was not asked yet.
    """

    batch: BatchState
    index: int
    task: ImageTask
    folder: Path | None = None
    movie: Movie | None = None
    size_bytes: int | None = None
    size_query: SizeQuery = SizeQuery.NOT_ASKED


@dataclass(slots=True, eq=False)
class ImageState(MovieState):
    """An image of a batch in progress.

    Attributes
    ----------
    rest : iterator or None
        What reads the frames of its movie group by group, once the first was read.
    n_read, n_reading : int
        Frames that were read, and that are being read.
    earlier : ImageState or None
        An earlier image of the batch with frames of the same name, which is processed first.
    results : list
        For each wanted frame, once the movie was opened, the number of its nuclei, why it was
        skipped, or None.
    n_pending_frames : int
        Frames without a result.
    n_profiling : int
        Frames that are being profiled; they have no result yet, but their space.
    needed_bytes : int
        Disk space that the frames need which are being profiled or were.
    finished : bool
        Whether all frames have results.
    """

    rest: Iterator[Sequence[Frame | Skipped]] | None = None
    n_read: int = 0
    n_reading: int = 0
    earlier: ImageState | None = None
    results: list[Skipped | int | None] = field(default_factory=list)
    n_pending_frames: int = 0
    n_profiling: int = 0
    needed_bytes: int = 0
    finished: bool = False

    @property
    def rank(self) -> tuple[int, int]:
        """Position in the plan."""
        return (self.batch.order, self.index)

    def __lt__(self, other: ImageState) -> bool:
        """Order of the plan."""
        return self.rank < other.rank

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was skipped, in the order of the frames."""
        return tuple(item for item in self.results if isinstance(item, Skipped))


@dataclass(slots=True, eq=False)
class FrameState:
    """A frame in memory, from preprocessing until it is profiled."""

    image: ImageState
    position: int
    frame: Frame
    objects: Objects = field(init=False)  # set once it is segmented
    need: DiskNeed = field(init=False)  # set once its space is reserved

    def __lt__(self, other: FrameState) -> bool:
        """Order of the plan."""
        return (self.image.rank, self.position) < (other.image.rank, other.position)


@dataclass(slots=True, eq=False)
class BatchState:
    """A batch in progress.

    Attributes
    ----------
    order : int
        Position among the batches that were started.
    slot : int
        Number of its `BatchProfiling`, counted from 0.
    images : list of ImageState
        Its images, in order.
    waiting : deque of ImageState
        Images whose download has not started.
    fetched : list of ImageState
        Images whose movie is on the disk and not being read; a heap.
    segmented : list of FrameState
        Frames that wait to be profiled; a heap.
    n_frames_in_memory : int
        Frames that were read and not profiled yet.
    n_profiling : int
        Frames that are being profiled.
    n_pending_images : int
        Images that are not finished.
    n_frames, n_nuclei : int
        What was profiled.
    error : BaseException or None
        Why the batch will fail once its images are finished.
    seconds : dict
        Time in each stage.
    """

    batch: Batch
    order: int
    slot: int
    profiling: BatchProfiling
    phase: BatchPhase = BatchPhase.OPEN
    images: list[ImageState] = field(default_factory=list)
    waiting: deque[ImageState] = field(default_factory=deque)
    fetched: list[ImageState] = field(default_factory=list)
    segmented: list[FrameState] = field(default_factory=list)
    n_frames_in_memory: int = 0
    n_profiling: int = 0
    n_pending_images: int = 0
    n_frames: int = 0
    n_nuclei: int = 0
    error: BaseException | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Add the images."""
        last: dict[tuple[str, int, int, int], ImageState] = {}
        for index, task in enumerate(self.batch.tasks):
            image = ImageState(self, index, task, n_pending_frames=task.n_frames_expected)
            frames = task.frames or (1,)  # as every movie has a first
            names = [(task.plate, task.well_number, task.site, frame) for frame in frames]
            # Images of one well wait for each other: the latest of those before is enough.
            before = [last[name] for name in names if name in last]
            image.earlier = max(before) if before else None
            last.update(dict.fromkeys(names, image))
            self.images.append(image)
        self.waiting.extend(self.images)
        self.n_pending_images = len(self.images)
        if not self.images:
            self.phase = BatchPhase.READY

    @property
    def only_profiling_left(self) -> bool:
        """Whether all its images are finished but for frames that are segmented."""
        pending = sum(image.n_pending_frames for image in self.images if not image.finished)
        return 0 < pending == len(self.segmented) + self.n_profiling

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was skipped, in the order of the plan."""
        return tuple(item for image in self.images for item in image.skipped)

    @property
    def is_missing(self) -> bool:
        """Whether the source has none of its movies: its table has no rows, and is complete."""
        return bool(self.images) and all(
            image.skipped and all(item.is_missing for item in image.skipped)
            for image in self.images
        )


class ModelMoviePhase(Enum):
    """Whether a movie for an illumination model was downloaded: waiting → started → answered."""

    WAITING = auto()
    STARTED = auto()
    ANSWERED = auto()


@dataclass(slots=True, eq=False)
class ModelMovie(MovieState):
    """A movie that a plate's illumination model is fitted on.

    The `reply` is the movie, why it could not be downloaded, or None when the stream ends.
    """

    fit: PlateFit = field(kw_only=True)
    phase: ModelMoviePhase = ModelMoviePhase.WAITING
    reply: SimpleQueue[Movie | BaseException | None] = field(default_factory=SimpleQueue)


@dataclass(slots=True, eq=False)
class PlateFit:
    """A fit of a plate's illumination model in progress.

    Attributes
    ----------
    batch : BatchState
        The batch that needs it first.
    tasks : sequence of ImageTask
        The images it is fitted on.
    awaited : ModelMovie or None
        The movie that its thread waits for.
    ended : bool
        Whether it needs no more movies.
    """

    plate: str
    batch: BatchState
    tasks: Sequence[ImageTask]
    movies: list[ModelMovie] = field(default_factory=list)
    awaited: ModelMovie | None = None
    ended: bool = False

    def __post_init__(self) -> None:
        """Add the movies."""
        self.movies = [
            ModelMovie(self.batch, index, task, fit=self) for index, task in enumerate(self.tasks)
        ]
