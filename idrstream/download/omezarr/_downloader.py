"""Movies from OME-Zarr plates and images: only the chunks of the frames that are needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from idrstream.config import DownloadSettings
from idrstream.download.client.errors import joined
from idrstream.download.omezarr._array import ChunkError
from idrstream.download.omezarr._image import (
    Group,
    ZarrImage,
    open_group,
    open_image,
    top_group,
)
from idrstream.download.omezarr._plates import PlateTable, plate_addresses
from idrstream.download.omezarr._store import Store
from idrstream.download.omezarr._wells import field_path
from idrstream.download.protocol import Channels, Downloader, FramesNeeded
from idrstream.errors import (
    ConfigError,
    DownloadError,
    ImageError,
    MovieError,
    RemoteFileNotFoundError,
)
from idrstream.formats.complete import check_complete
from idrstream.formats.hdf5_ranges.small import Layout, SmallMovie
from idrstream.formats.movie_checks import check_pixel_type
from idrstream.formats.reader import MovieInfo
from idrstream.records import ImageTask, Movie
from idrstream.screen.channels import channel_names, number_of_channel
from idrstream.screen.study.archive_paths import check_name

logger = logging.getLogger("idrstream.download")

IDR0013_ROOTS = (
    "https://livingobjects.ebi.ac.uk/bioimaging-integrator-data/S-BIAD865",
    "https://uk1s3.embassy.ebi.ac.uk/bia-integrator-data/S-BIAD865",
)
"""Locations of idr0013's plates: since April 2026, and before."""


T = TypeVar("T")
Locate = Callable[[ImageTask], Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Found:
    """An image whose metadata have been read."""

    store: Store
    address: str
    path: str
    image: ZarrImage

    @property
    def source(self) -> str:
        return f"{self.address}/{self.path}".rstrip("/")


class OmeZarrDownloader(Downloader):
    """Downloads frames of OME-Zarr (NGFF 0.1 to 0.5) as small CellH5 movies.

    A task whose metadata have a ``URL`` (or ``Path``) gets that plate or image; the plate of
    every other task is looked up under the roots. Whatever is wrong at one root, the next is
    asked.

    Parameters
    ----------
    settings : DownloadSettings, optional
        Table of plates (``omezarr_plates``; see `PlateTable.read`), the roots to try in turn,
        the path of a plate under a root, the server of ``s3://`` addresses, which are read
        without signing, whether missing chunks are filled, and limits.
    locate : callable, optional
        Returns the addresses of a task's plate or image, to be tried in turn, instead.

    Attributes
    ----------
    channels, z, all_planes
        What to download, as `limit_to` sets it; by default all channels, and the plane of images
        that have one.

    Raises
    ------
    ConfigError, TableError
        If a root or the table of plates is wrong, or ``fetch`` asks for whole files.
    """

    name = "omezarr"

    def __init__(
        self, settings: DownloadSettings | None = None, *, locate: Locate | None = None
    ) -> None:
        self._settings = settings = settings or DownloadSettings(method="omezarr")
        if settings.fetch == "file":
            msg = 'download.fetch = "file" makes no sense for omezarr, which has no movie files'
            raise ConfigError(msg)
        plates = settings.omezarr_plates
        self.plates = None if plates is None else PlateTable.read(plates)
        self.roots = settings.omezarr_roots or IDR0013_ROOTS
        self.pattern = settings.omezarr_pattern
        self.channels: Channels | None = None
        self.z: int | None = None
        self.all_planes = False
        self._frames_needed: FramesNeeded | None = None
        self._groups: dict[str, Group] = {}
        self._locate = locate or self._addresses
        for root in self.roots:  # report a wrong address now
            Store(root, settings)

    @property
    def settings(self) -> DownloadSettings:
        """The settings that the downloader was made with."""
        return self._settings

    def limit_to(
        self,
        frames_needed: FramesNeeded | None,
        *,
        channels: Channels | None = None,
        z: int | None = None,
        all_planes: bool = False,
    ) -> None:
        """Limit later downloads to some frames, channels and planes."""
        self._frames_needed = frames_needed
        if channels is not None or z is not None or all_planes:
            self.channels, self.z, self.all_planes = channels, z, all_planes

    def size(self, task: ImageTask) -> int | None:
        """Return the most bytes that a task's movie will take on disk.

        Raises
        ------
        DownloadError, MovieError
            If there is no such image.
        """

        def most_bytes(found: _Found) -> int:
            image = found.image
            n_planes = len(self._planes(task, image)) * len(self._needed(task, image))
            height, width = image.shape[3:]
            # gzip adds little to data that it cannot compress; the rest is for groups.
            return n_planes * int(height * width * image.array.dtype.itemsize * 1.01) + 64 * 1024

        return self._first(task, most_bytes)

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Download the needed frames of a task's movie; see `Downloader.download`.

        A frame with a damaged chunk is left out with the reason, and so is one with a missing
        chunk, unless ``missing_chunks`` is ``fill``.
        """
        target = Path(folder) / f"{task.well_number:05d}_{task.site:02d}.ch5"
        target.parent.mkdir(parents=True, exist_ok=True)
        return self._first(task, lambda found: self._download(task, found, target))

    def _download(self, task: ImageTask, found: _Found, target: Path) -> Movie:
        numbers, array = self._needed(task, found.image), found.image.array
        self._write(task, found.image, numbers, target)
        check_complete(target)
        if self._settings.deep_verify:
            from idrstream.formats.deep import decode_all

            decode_all(target)
        traffic = found.store.traffic
        logger.info(
            "%s: %d frames from %s, %d bytes in %d requests",
            task.name, len(numbers), found.source, traffic.bytes_moved, traffic.requests,
        )  # fmt: skip
        if array.chunks_missing:
            logger.warning(
                "%s: %d of %d chunks are missing at %s and were filled with %s",
                task.name, len(array.chunks_missing), len(array.chunks_read), found.source,
                array.fill_value,
            )  # fmt: skip
        return Movie(
            target,
            task,
            f"{self.name}: {found.source}",
            target.stat().st_size,
            numbers,
            traffic.bytes_moved,
            traffic.requests,
        )

    def _write(
        self, task: ImageTask, image: ZarrImage, numbers: Sequence[int], target: Path
    ) -> None:
        rows, columns = (max(1, -(-length // 4)) for length in image.shape[3:])
        group = (
            f"sample/0/plate/{task.plate}/experiment/{task.well_number:05d}/position/{task.site}"
        )
        planes = self._planes(task, image)
        layout = Layout.new(group, image.shape, image.array.dtype, (1, 1, 1, rows, columns))
        problems: dict[int, str] = {}
        with SmallMovie(target, layout, numbers) as movie:
            for number in numbers:
                for c, z in planes:
                    try:
                        movie.write_plane((c, number - 1, z), image.plane(c, number - 1, z))
                    except ChunkError as error:
                        problems[number] = str(error)
            movie.explain(problems)
            movie.name_channels(image.channels)

    def _planes(self, task: ImageTask, image: ZarrImage) -> list[tuple[int, int]]:
        """Return the channels and planes to download, as far as the image has them."""
        n_channels, _, n_planes, _, _ = image.shape
        channels: Iterable[int] = range(n_channels)
        if self.channels is not None:
            names = channel_names(task.metadata) or image.channels
            if sorted(names) == sorted(image.channels) and tuple(names) != image.channels:
                msg = (
                    f"{task.name}: the table says that its channels are {', '.join(names)}, in "
                    f"this order; the image has {', '.join(image.channels)}"
                )
                raise MovieError(msg)
            channels = dict.fromkeys(number_of_channel(names, key) for _, key in self.channels)
        planes: Iterable[int] = range(n_planes)
        if not self.all_planes:
            # Without a choice among several planes none is fetched; the reader reports it.
            planes = [] if self.z is None and n_planes > 1 else [self.z or 0]
        return [(c, z) for c in channels for z in planes if c < n_channels and z < n_planes]

    def _needed(self, task: ImageTask, image: ZarrImage) -> tuple[int, ...]:
        _, n_frames, _, height, width = image.shape
        everything = range(1, n_frames + 1)
        if self._frames_needed is None:
            return tuple(everything)
        dtype = image.array.dtype.name
        info = MovieInfo(n_frames, (height, width), dtype, (True,) * n_frames)
        return tuple(sorted(set(self._frames_needed(task, info)).intersection(everything)))

    def _first(self, task: ImageTask, use: Callable[[_Found], T]) -> T:
        """Return what `use` makes of the task's image at the first address where that works."""
        if (problem := check_name(task.plate)) is not None:
            msg = f"the plate name {task.plate!r} {problem}"
            raise DownloadError(msg)
        failures: list[Exception] = []
        for address in self._locate(task):
            try:
                return use(self._find(task, address))
            except ImageError as error:
                failures.append(error)
        if len(failures) == 1:
            raise failures[0]
        msg = f"{task.name}: no OME-Zarr could be read: {'; '.join(map(str, failures))}"
        raise joined(failures, msg)

    def _find(self, task: ImageTask, address: str) -> _Found:
        store = Store(address, self._settings)
        group = self._group(address, store)
        if "plate" in group.attributes:
            path = field_path(store, group, task.well, task.site)
        elif "multiscales" in group.attributes:
            path = group.path
        else:  # what bioformats2raw writes: one image per series
            path = str(task.site - 1)
        inner = group if path == group.path else open_group(store, path, group.zarr_format)
        if inner is None:
            msg = f"{task.name}: {address} has no image {path}"
            raise DownloadError(msg) if store.refused else RemoteFileNotFoundError(msg)
        image = open_image(store, inner, fill=self._settings.missing_chunks == "fill")
        check_pixel_type(Path(f"{address}/{path}"), image.array.dtype.name)
        return _Found(store, address, path, image)

    def _group(self, address: str, store: Store) -> Group:
        """Return the top group of an address; each is kept."""
        if address in self._groups:
            return self._groups[address]
        lost = [root for root in self.roots if address.startswith(root) and not store.is_there]
        if lost and not Store(lost[0]).is_there:
            msg = f"there is no folder {lost[0]} to take OME-Zarr from"
            raise DownloadError(msg)
        return self._groups.setdefault(address, top_group(store))

    def _addresses(self, task: ImageTask) -> list[str]:
        given = task.metadata.get("URL", "").strip() or task.metadata.get("Path", "").strip()
        if "://" in given or given.startswith(("/", "~")):
            return [given]
        if given:
            return [f"{root.rstrip('/')}/{given}" for root in self.roots]
        return plate_addresses(task.plate, self.roots, self.pattern, self.plates)
