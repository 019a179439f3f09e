"""Where the batches, images and plates of a running stream are."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

from idrstream.records import Batch, Frame, ImageTask, Movie, Nuclei, Skipped
from idrstream.schedule.stages import BatchProfiling


@dataclass(slots=True, eq=False)
class ImageState:
    """An image of a batch under way.

    Attributes
    ----------
    batch : BatchState
        Its batch.
    index : int
        Its place in the batch.
    task : ImageTask
        What is wanted.
    earlier : ImageState or None
        An earlier image of the batch with frames of the same name, which goes first.
    folder : Path or None
        Where its movie is, or is being put.
    movie : Movie or None
        Its movie, when it is on the disk.
    size_bytes : int or None
        Size of the movie, as far as known; `sized` tells whether it was asked for.
    results : list
        For each wanted frame the number of its nuclei, why it was skipped, or None.
    left : int
        Frames without a result.
    needed_bytes : int
        Disk that the frames segmented so far need.
    finished : bool
        Whether all its frames have results.
    """

    batch: BatchState
    index: int
    task: ImageTask
    earlier: ImageState | None = None
    folder: Path | None = None
    movie: Movie | None = None
    size_bytes: int | None = None
    sized: bool = False
    results: list[Skipped | int | None] = field(default_factory=list)
    left: int = 0
    needed_bytes: int = 0
    finished: bool = False

    def __lt__(self, other: ImageState) -> bool:
        """Order of the plan."""
        return (self.batch.order, self.index) < (other.batch.order, other.index)

    @property
    def key(self) -> tuple[str, int, int]:
        """Its name in the disk budget."""
        return ("image", self.batch.order, self.index)

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was left out, in the order of the frames."""
        return tuple(item for item in self.results if isinstance(item, Skipped))


@dataclass(slots=True, eq=False)
class FrameState:
    """A frame between preprocessing and the project, in memory."""

    image: ImageState
    position: int
    frame: Frame
    nuclei: Nuclei | None = None
    seconds: float = 0.0

    def __lt__(self, other: FrameState) -> bool:
        """Order of the plan."""
        if self.image is not other.image:
            return self.image < other.image
        return self.position < other.position


@dataclass(slots=True, eq=False)
class BatchState:
    """A batch under way.

    Attributes
    ----------
    batch : Batch
        Its images.
    order : int
        Its place among the batches that were begun.
    slot : int
        Number of its project, counted from 0.
    profiling : BatchProfiling
        Its project.
    images : list of ImageState
        Its images, in order.
    waiting : deque of ImageState
        Those not yet being downloaded.
    fetched : list of ImageState
        Those whose movie waits for being read.
    in_memory : int
        Frames between preprocessing and the project.
    left : int
        Images not finished.
    taken_over : bool
        Whether the batch is on its way from its images to its table.
    frames, nuclei : int
        What is in the project.
    seconds : dict
        Time in each stage.
    """

    batch: Batch
    order: int
    slot: int
    profiling: BatchProfiling
    images: list[ImageState] = field(default_factory=list)
    waiting: deque[ImageState] = field(default_factory=deque)
    fetched: list[ImageState] = field(default_factory=list)
    in_memory: int = 0
    left: int = 0
    taken_over: bool = False
    frames: int = 0
    nuclei: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, batch: Batch, order: int, slot: int, profiling: BatchProfiling) -> BatchState:
        """Return the state of a batch that begins."""
        state = cls(batch, order, slot, profiling, left=len(batch.tasks))
        last: dict[tuple[str, int, int, int], ImageState] = {}
        for index, task in enumerate(batch.tasks):
            image = ImageState(state, index, task, left=len(task.frames))
            names = [(task.plate, task.well_number, task.site, frame) for frame in task.frames]
            # All of one well wait in a row: the latest of those before is enough.
            before = [last[name] for name in names if name in last]
            image.earlier = max(before) if before else None
            last.update(dict.fromkeys(names, image))
            state.images.append(image)
        state.waiting.extend(state.images)
        return state

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """What was left out, in the order of the plan."""
        return tuple(item for image in self.images for item in image.skipped)


@dataclass(slots=True, eq=False)
class ModelMovie:
    """A movie that a plate's illumination model looks at."""

    fit: PlateFit
    index: int
    task: ImageTask
    folder: Path | None = None
    size_bytes: int | None = None
    sized: bool = False
    started: bool = False
    replied: bool = False
    movie: Movie | None = None
    reply: SimpleQueue[Movie | BaseException | None] = field(default_factory=SimpleQueue)

    @property
    def key(self) -> tuple[str, str, int]:
        """Its name in the disk budget."""
        return ("model", self.fit.plate, self.index)


@dataclass(slots=True, eq=False)
class PlateFit:
    """The fit of a plate's illumination model, under way.

    Attributes
    ----------
    plate : str
        The plate.
    batch : BatchState
        The batch that needs it first.
    movies : list of ModelMovie
        What it looks at.
    wants : ModelMovie or None
        The movie that its thread waits for.
    ended : bool
        Whether it needs no more movies.
    """

    plate: str
    batch: BatchState
    movies: list[ModelMovie] = field(default_factory=list)
    wants: ModelMovie | None = None
    ended: bool = False

    @classmethod
    def of(cls, plate: str, batch: BatchState, tasks: Sequence[ImageTask]) -> PlateFit:
        """Return a fit that begins."""
        fit = cls(plate, batch)
        fit.movies = [ModelMovie(fit, index, task) for index, task in enumerate(tasks)]
        return fit
