"""The DeepProfiler project folder that batches pass through."""

from __future__ import annotations

import copy
import csv
import glob
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from idrstream.errors import ConfigError, ImageError, StorageError
from idrstream.files import refuse_links
from idrstream.models import model_digest
from idrstream.profile.deepprofiler.config import ProfileConfig
from idrstream.profile.deepprofiler.project_image import ProjectImage
from idrstream.records import Frame, ImageTask, Nuclei
from idrstream.segment.locations import write_locations

__all__ = ["DeepProfilerProject", "ProjectImage"]

# What a batch leaves behind, relative to the root; config and checkpoint are not among it.
_OF_A_BATCH = (
    "inputs/images",
    "inputs/locations",
    "inputs/metadata",
    "outputs/compressed",
    "outputs/intensities",
    "outputs/results/features",
    "outputs/results/logs",
    "outputs/results/summaries",
)
_PARENTS = ("inputs", "outputs/results")
_OWN = (*_OF_A_BATCH, "inputs/config", "outputs/results/checkpoint")


class DeepProfilerProject:
    """A project folder in DeepProfiler's layout.

    Config and checkpoint stay for the whole stream; images, locations, index and features are
    those of one batch, added frame by frame and removed by `clear`.

    Parameters
    ----------
    root : Path
        Folder of the project. Its subfolders ``inputs`` and ``outputs`` belong to the stream.
    config_path : Path
        DeepProfiler's configuration, checked at once.
    checkpoint_path : Path
        Checkpoint file of the model.

    Raises
    ------
    idrstream.errors.ConfigError
        When the configuration is wrong, or the checkpoint does not fit; see `ProfileConfig`.
    """

    def __init__(self, root: Path, config_path: Path, checkpoint_path: Path) -> None:
        self.root = Path(root).absolute()
        if any(brace in str(self.root) for brace in "{}"):
            raise ConfigError(
                f"the folder {self.root} has a brace in its name, which DeepProfiler cannot use"
            )
        self.config = ProfileConfig.read(Path(config_path))
        self.feature_count = self.config.check_checkpoint(Path(checkpoint_path))
        self._checkpoint_path = Path(checkpoint_path)
        self._images: dict[tuple[str, str, str], ProjectImage] = {}
        self._first = self.root

    def describe(self) -> dict[str, object]:
        """Return what changes a result: the content of config and checkpoint.

        Raises
        ------
        idrstream.errors.MissingToolError
            When one of them cannot be read.
        """
        return {
            "config": self.config_name,
            "config_sha256": model_digest(self.config.path),
            "checkpoint_sha256": model_digest(self._checkpoint_path),
        }

    @property
    def is_first(self) -> bool:
        """Whether this is the project itself, not a sibling."""
        return self.root == self._first

    @property
    def images(self) -> tuple[ProjectImage, ...]:
        """The frames of the batch, in the order in which they were added."""
        return tuple(self._images.values())

    @property
    def checkpoint_path(self) -> Path:
        """The checkpoint file of the model, as it was given."""
        return self._checkpoint_path

    @property
    def config_name(self) -> str:
        """Name of the configuration file in the project."""
        return self.config.path.name

    @property
    def index_path(self) -> Path:
        """The table of images that DeepProfiler reads."""
        return self.root / "inputs" / "metadata" / "index.csv"

    @property
    def features_folder(self) -> Path:
        """Where DeepProfiler writes features."""
        return self.root / "outputs" / "results" / "features"

    def image_path(self, image: ProjectImage) -> Path:
        """Return where a frame's pixels are."""
        return self.root / "inputs" / "images" / image.plate_folder / image.file_name

    def locations_path(self, image: ProjectImage) -> Path:
        """Return where a frame's nuclei are."""
        name = f"{image.well}-{image.task.site}-Nuclei.csv"
        return self.root / "inputs" / "locations" / image.plate_folder / name

    def features_path(self, image: ProjectImage) -> Path:
        """Return where DeepProfiler writes a frame's features, when it has nuclei."""
        return self.features_folder / image.plate_folder / image.well / f"{image.task.site}.npz"

    def siblings(self, count: int) -> tuple[DeepProfilerProject, ...]:
        """Return this project and others like it, for batches in progress at the same time.

        The others are ``<root>_2``, ``<root>_3`` …; they share the files of config and
        checkpoint with this one, by links where the disk has them.

        Parameters
        ----------
        count : int
            How many projects, this one included.
        """
        projects = [self]
        for number in range(2, count + 1):
            sibling = copy.copy(self)
            sibling.root = self.root.with_name(f"{self.root.name}_{number}")
            sibling._images = {}
            projects.append(sibling)
        return tuple(projects)

    def remove_siblings(self) -> None:
        """Delete all other projects that `siblings` makes, also those of an earlier process.

        Raises
        ------
        idrstream.errors.StorageError
            When one cannot be deleted.
        """
        with _storage(self.root):
            for path in self.root.parent.glob(f"{glob.escape(self.root.name)}_*"):
                if path.name.removeprefix(f"{self.root.name}_").isdigit():
                    shutil.rmtree(path)

    def prepare(self) -> None:
        """Make the folders and put config and checkpoint in place.

        Raises
        ------
        idrstream.errors.StorageError
            When the folder cannot be written.
        """
        copies = {
            self.config.path: self.root / "inputs" / "config" / self.config_name,
            self._checkpoint_path: (
                self.root / "outputs" / "results" / "checkpoint" / self.config.checkpoint
            ),
        }
        refuse_links(self.root.parent, *(f"{self.root.name}/{name}" for name in _OWN))
        with _storage(self.root):
            for source, target in copies.items():
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.is_symlink():  # nothing is written to where it leads
                    target.unlink()
                if not self.is_first:
                    _link(self._first / target.relative_to(self.root), target)
                elif not (target.exists() and source.samefile(target)):
                    shutil.copyfile(source, target)

    def add(self, frame: Frame, nuclei: Nuclei) -> ProjectImage:
        """Write a frame and the locations of its nuclei.

        Parameters
        ----------
        frame : Frame
            Its pixels must have the configured width and height.
        nuclei : Nuclei
            Its nuclei, with outlines or without; may be none.

        Returns
        -------
        ProjectImage
            What was added.

        Raises
        ------
        idrstream.errors.MovieError
            When the frame has another size than configured.
        idrstream.errors.ImageError
            When the plate's name cannot be a folder's, or the frame is there already.
        idrstream.errors.StorageError
            When the files cannot be written.
        """
        import tifffile

        image = ProjectImage(frame.task, frame.number, len(nuclei))
        self.config.check_image_size(frame.pixels.shape, image.name)
        if image.key in self._images:
            raise ImageError(f"{image.name} is listed twice in its batch")
        with _storage(self.root):
            pixels, locations = self.image_path(image), self.locations_path(image)
            for path in (pixels, locations):
                path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(pixels, frame.pixels, photometric="minisblack", metadata=None)
            write_locations(locations, nuclei.locations, nuclei.outlines)
        self._images[image.key] = image
        return image

    def arrange(self, tasks: Sequence[ImageTask]) -> None:
        """Put the frames in the order of their tasks, and of the frames within each.

        Frames may be added in any order; the table has its rows in this one.

        Parameters
        ----------
        tasks : sequence of ImageTask
            The images of the batch, in order.
        """
        places: dict[tuple[int, str, int, int, int], int] = {}
        for task in tasks:
            for frame in task.frames:
                name = (task.row, task.plate, task.well_number, task.site, frame)
                places.setdefault(name, len(places))

        def place(item: tuple[object, ProjectImage]) -> int:
            image = item[1]
            task = image.task
            name = (task.row, task.plate, task.well_number, task.site, image.frame_number)
            return places.get(name, len(places))

        self._images = dict(sorted(self._images.items(), key=place))

    def write_index(self) -> Path:
        """Write ``index.csv``: one row per frame, in the order in which they were added.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        idrstream.errors.StorageError
            When it cannot be written.
        """
        with _storage(self.root):
            self.index_path.parent.mkdir(parents=True, exist_ok=True)
            with self.index_path.open("w", newline="", encoding="utf-8") as stream:
                writer = csv.DictWriter(stream, self.config.index_columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(self.index_row(image) for image in self.images)
        return self.index_path

    def index_row(self, image: ProjectImage) -> dict[str, str]:
        """Return the row of ``index.csv`` for a frame, by column."""
        task, metadata = image.task, image.task.metadata
        values = (
            *image.key,
            metadata.get("Plate_Map_Name") or f"{task.plate}_{task.well_number}",
            f"{image.plate_folder}/{image.file_name}",
            metadata.get("Original Gene Target", ""),
            metadata.get("Gene_Replicate") or "1",
        )
        return dict(zip(self.config.index_columns, values, strict=True))

    def clear(self) -> None:
        """Remove everything of the batch; config and checkpoint stay.

        Works after any failure and may be called twice.

        Raises
        ------
        idrstream.errors.StorageError
            When something cannot be removed.
        """
        self._images.clear()
        refuse_links(self.root.parent, *(f"{self.root.name}/{name}" for name in _PARENTS))
        with _storage(self.root):
            for name in _OF_A_BATCH:
                path = self.root / name
                if path.is_symlink() or path.is_file():
                    path.unlink()
                elif path.is_dir():
                    shutil.rmtree(path)


def _link(source: Path, target: Path) -> None:
    """Make a file the same as another: by a link, or by a copy where there are none."""
    if target.exists() and source.samefile(target):
        return
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


@contextmanager
def _storage(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"the DeepProfiler project {root} cannot be written: {error}") from error
