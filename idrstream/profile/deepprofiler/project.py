"""A folder in DeepProfiler's layout."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from idrstream.errors import ConfigError, ImageError, StorageError
from idrstream.opening import refuse_links
from idrstream.profile.deepprofiler.project_image import ProjectImage
from idrstream.profile.model import DeepModel
from idrstream.records import Frame, ImageTask, Objects
from idrstream.segment.locations import write_locations

__all__ = ["DeepProfilerProject", "ProjectImage"]

_PARENTS = ("inputs", "outputs")
_OF_FRAMES = (
    "inputs/images",
    "inputs/locations",
    "inputs/metadata",
    "outputs/results/features",
)


class DeepProfilerProject:
    """Index, locations, images and features of some frames, where DeepProfiler has them.

    Parameters
    ----------
    root : Path
        Folder of the project. Its subfolders ``inputs`` and ``outputs`` belong to the stream.
    model : DeepModel
        Its configuration names the columns of the index.

    Raises
    ------
    idrstream.errors.ConfigError
        When DeepProfiler cannot use the folder.
    """

    def __init__(self, root: Path, model: DeepModel) -> None:
        self.root = Path(root).absolute()
        if any(brace in str(self.root) for brace in "{}"):
            raise ConfigError(
                f"the folder {self.root} has a brace in its name, which DeepProfiler cannot use"
            )
        self.model = model
        self._images: dict[tuple[str, str, str], ProjectImage] = {}

    @property
    def images(self) -> tuple[ProjectImage, ...]:
        """The frames, in the order in which they were added."""
        return tuple(self._images.values())

    def image_of(self, frame: Frame) -> ProjectImage:
        """Return a frame of the project."""
        return self._images[ProjectImage(frame.task, frame.number, 0).key]

    @property
    def config_name(self) -> str:
        """Name of the configuration file."""
        return self.model.config.path.name

    @property
    def index_path(self) -> Path:
        """The table of images."""
        return self.root / "inputs" / "metadata" / "index.csv"

    @property
    def features_folder(self) -> Path:
        """Where DeepProfiler writes features."""
        return self.root / "outputs" / "results" / "features"

    def image_path(self, image: ProjectImage, channel: str) -> Path:
        """Return where the pixels of a channel of a frame are."""
        return self.root / "inputs" / "images" / self._relative_path(image, channel)

    def locations_path(self, image: ProjectImage) -> Path:
        """Return where a frame's objects are."""
        name = f"{image.well}-{image.task.site}-Nuclei.csv"
        return self.root / "inputs" / "locations" / image.plate_folder / name

    def features_path(self, image: ProjectImage) -> Path:
        """Return where DeepProfiler writes a frame's features, when it has objects."""
        return self.features_folder / image.plate_folder / image.well / f"{image.task.site}.npz"

    def write_model(
        self,
        size: tuple[int, int] | None = None,
        *,
        link: bool = False,
        root: Path | None = None,
    ) -> None:
        """Write configuration and checkpoint.

        Parameters
        ----------
        size : tuple of int, optional
            ``(height, width)`` of the images in pixels, for a configuration that says another.
        link : bool
            Link the checkpoint, which takes no space, instead of copying it.
        root : Path, optional
            Where the project was moved to.

        Raises
        ------
        idrstream.errors.StorageError
            When they cannot be written.
        """
        config, checkpoint = self.model.config, self.model.checkpoint_path
        raw = json.loads(config.path.read_text(encoding="utf-8"))
        if size is not None:
            raw["dataset"]["images"] |= {"height": size[0], "width": size[1]}
        root = root or self.root
        copy = root / "outputs" / "results" / "checkpoint" / config.checkpoint
        with self._writing():
            path = root / "inputs" / "config" / self.config_name
            for folder in (path.parent, copy.parent):
                folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(raw, indent=2), encoding="utf-8")
            if copy.exists():
                return
            if link:
                copy.symlink_to(checkpoint.absolute())
            else:
                shutil.copyfile(checkpoint, copy)

    def add(
        self, frame: Frame, objects: Objects, *, pixels: bool, outlines: bool = False
    ) -> ProjectImage:
        """Write the locations of a frame's objects, and its pixels if wanted.

        Raises
        ------
        idrstream.errors.ImageError
            When the plate's name cannot be a folder's, or the frame is there already.
        idrstream.errors.StorageError
            When the files cannot be written.
        """
        image = ProjectImage(frame.task, frame.number, len(objects))
        if image.key in self._images:
            raise ImageError(f"{image.name} is listed twice in its batch")
        with self._writing():
            locations = self.locations_path(image)
            locations.parent.mkdir(parents=True, exist_ok=True)
            write_locations(locations, objects.locations, objects.outlines if outlines else None)
            if pixels:
                self._write_pixels(image, frame)
        self._images[image.key] = image
        return image

    def discard(self, image: ProjectImage) -> None:
        """Take a frame out of the index; its files stay until `clear`."""
        del self._images[image.key]

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
        with self._writing():
            self.index_path.parent.mkdir(parents=True, exist_ok=True)
            with self.index_path.open("w", newline="", encoding="utf-8") as stream:
                columns = self.model.config.index_columns
                writer = csv.DictWriter(stream, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(self.index_row(image) for image in self.images)
        return self.index_path

    def index_row(self, image: ProjectImage) -> dict[str, str]:
        """Return the row of ``index.csv`` for a frame, by column."""
        task, metadata, config = image.task, image.task.metadata, self.model.config
        values = (
            *image.key,
            metadata.get("Plate_Map_Name") or f"{task.plate}_{task.well_number}",
            *(self._relative_path(image, channel) for channel in config.image_columns),
            metadata.get("Original Gene Target", ""),
            metadata.get("Gene_Replicate") or "1",
        )
        return dict(zip(config.index_columns, values, strict=True))

    def clear(self, *, keep_model: bool = False) -> None:
        """Remove everything that a project has in its folder; may be called twice.

        Parameters
        ----------
        keep_model : bool
            Leave configuration and checkpoint, which the next frames need again.

        Raises
        ------
        idrstream.errors.StorageError
            When something cannot be removed.
        """
        self._images.clear()
        refuse_links(self.root.parent, *(f"{self.root.name}/{name}" for name in _PARENTS))
        with self._writing():
            for name in _OF_FRAMES if keep_model else _PARENTS:
                path = self.root / name
                if path.is_symlink():
                    path.unlink()
                elif path.is_dir():
                    shutil.rmtree(path)
            if self.root.is_dir() and not any(self.root.iterdir()):
                self.root.rmdir()

    def _relative_path(self, image: ProjectImage, channel: str) -> str:
        several = len(self.model.config.image_columns) > 1
        return f"{image.plate_folder}/{image.file_name(channel if several else '')}"

    def _write_pixels(self, image: ProjectImage, frame: Frame) -> None:
        import tifffile

        planes = dict(
            zip(self.model.config.channels, self.model.planes_among(frame.channels), strict=True)
        )
        for channel, number in planes.items():
            path = self.image_path(image, channel)
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, frame.pixels[number], photometric="minisblack", metadata=None)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            msg = f"the DeepProfiler project {self.root} cannot be written: {error}"
            raise StorageError(msg) from error
