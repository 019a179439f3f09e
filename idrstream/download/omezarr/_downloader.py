"""Movies out of OME-Zarr plates and images: only the chunks of the frames that are needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.download.omezarr._image import (
    ChunkError,
    Group,
    ZarrImage,
    field_path,
    open_group,
    open_image,
)
from idrstream.download.omezarr._plates import PlateTable, plate_addresses
from idrstream.download.omezarr._store import Store, open_store
from idrstream.download.protocol import Downloader
from idrstream.download.ranges.web import HttpOptions
from idrstream.errors import ConfigError, DownloadError
from idrstream.formats.complete import check_complete
from idrstream.formats.hdf5_ranges.small import Layout, SmallMovie
from idrstream.formats.movie_checks import check_pixel_type
from idrstream.formats.reader import MovieInfo
from idrstream.records import ImageTask, Movie
from idrstream.screen.study.archive_paths import check_name

if TYPE_CHECKING:
    from idrstream.download.ranges.fetch import FramesNeeded

logger = logging.getLogger("idrstream.download")

IDR0013_ROOTS = (
    "https://livingobjects.ebi.ac.uk/bioimaging-integrator-data/S-BIAD865",
    "https://uk1s3.embassy.ebi.ac.uk/bia-integrator-data/S-BIAD865",
)
"""Where idr0013's plates are since April 2026, and where they were before."""
IDR0013_PATTERN = "{UUID}/{UUID}.zarr"


@dataclass(frozen=True, slots=True)
class _Found:
    """An image that was found, its metadata read."""

    address: str
    path: str
    image: ZarrImage


class OmeZarrDownloader(Downloader):
    """Brings frames out of OME-Zarr (NGFF 0.4 and 0.5) as small CellH5 movies.

    A task whose metadata has a ``URL`` (or ``Path``) takes that plate or image; the plate of
    every other task is looked for under the roots.

    Parameters
    ----------
    plates : Path, str or PlateTable, optional
        Table of plates: ``Plate`` and ``URL``, ``Path`` or ``UUID``; see `PlateTable.read`.
    roots : sequence of str
        Endpoints that are tried in turn: web addresses, ``s3://bucket/path``, folders.
    pattern : str
        Path of a plate under a root, with names of columns in braces.
    endpoint_url : str
        Server of ``s3://`` addresses, which are read without signing.
    channel, z : int, optional
        Channel and plane to bring, counted from 0; by default all channels, and the plane of
        images that have one. `tell_frames_needed` sets both to what is read.
    options : HttpOptions, optional
        Time limits and attempts.

    Raises
    ------
    ConfigError, TableError
        If there is no root, or the table is missing or wrong.
    """

    name = "omezarr"

    def __init__(
        self,
        plates: Path | str | PlateTable | None = None,
        *,
        roots: Sequence[str] = IDR0013_ROOTS,
        pattern: str = IDR0013_PATTERN,
        endpoint_url: str = "",
        channel: int | None = None,
        z: int | None = None,
        options: HttpOptions | None = None,
    ) -> None:
        if not roots or isinstance(roots, str):
            msg = "roots must be a list of at least one endpoint or folder"
            raise ConfigError(msg)
        self.plates = (
            plates if plates is None or isinstance(plates, PlateTable) else PlateTable.read(plates)
        )
        self.roots = tuple(roots)
        self.pattern = pattern
        self.endpoint_url = endpoint_url
        self.channel = channel
        self.z = z
        self._options = options
        self._frames_needed: FramesNeeded | None = None
        self._groups: dict[str, Group] = {}
        self._lock = threading.Lock()
        for root in self.roots:
            open_store(root, endpoint_url=endpoint_url).close()  # a wrong one shows now

    @property
    def frames_needed(self) -> FramesNeeded | None:
        """Says which frames of a movie are needed; None means all of them."""
        return self._frames_needed

    @frames_needed.setter
    def frames_needed(self, needed: FramesNeeded | None) -> None:
        self._frames_needed = needed

    def size(self, task: ImageTask) -> int | None:
        """Return how many bytes a task's movie will take on this disk, at most.

        Raises
        ------
        DownloadError, MovieError
            If there is no such image.
        """
        found, store = self._find(task)
        with closing(store):
            image = found.image
            n_planes = len(self._planes(image)) * len(self._needed(task, image))
            height, width = image.shape[3:]
            # What gzip cannot make smaller it makes hardly larger; the rest is groups.
            return n_planes * int(height * width * image.array.dtype.itemsize * 1.01) + 64 * 1024

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Bring the needed frames of a task's movie into `folder`; see `Downloader.download`.

        A frame of which a chunk is missing at the source or damaged is left out with its
        reason, never filled up with black.
        """
        target = Path(folder) / f"{task.well_number:05d}_{task.site:02d}.ch5"
        target.parent.mkdir(parents=True, exist_ok=True)
        found, store = self._find(task)
        with closing(store):
            numbers = self._needed(task, found.image)
            self._write(task, found.image, store, numbers, target)
            traffic = store.traffic
        check_complete(target)
        logger.info(
            "%s: %d frames from %s/%s, %d bytes in %d requests",
            task.name, len(numbers), found.address, found.path,
            traffic.bytes_moved, traffic.requests,
        )  # fmt: skip
        return Movie(
            target,
            task,
            f"{self.name}: {found.address}/{found.path}".rstrip("/"),
            target.stat().st_size,
            numbers,
            traffic.bytes_moved,
            traffic.requests,
        )

    def _write(
        self,
        task: ImageTask,
        image: ZarrImage,
        store: Store,
        numbers: Sequence[int],
        target: Path,
    ) -> None:
        rows, columns = (max(1, -(-length // 4)) for length in image.shape[3:])
        group = (
            f"sample/0/plate/{task.plate}/experiment/{task.well_number:05d}/position/{task.site}"
        )
        layout = Layout.new(group, image.shape, image.array.dtype, (1, 1, 1, rows, columns))
        problems: dict[int, str] = {}
        with SmallMovie(target, layout, numbers) as movie:
            for number in numbers:
                for c, z in self._planes(image):
                    try:
                        movie.write_plane((c, number - 1, z), image.plane(store, c, number - 1, z))
                    except ChunkError as error:
                        problems[number] = str(error)
            movie.explain(problems)

    def _planes(self, image: ZarrImage) -> list[tuple[int, int]]:
        """Return the channels and planes to bring, as far as the image has them."""
        n_channels, _, n_planes, _, _ = image.shape
        channels = range(n_channels) if self.channel is None else [self.channel]
        plane = self.z if self.z is not None else 0
        # Without a choice among several planes the reader tells what to do; none is brought.
        planes = [] if self.z is None and n_planes > 1 else [plane]
        return [(c, z) for c in channels for z in planes if c < n_channels and z < n_planes]

    def _needed(self, task: ImageTask, image: ZarrImage) -> tuple[int, ...]:
        _, n_frames, _, height, width = image.shape
        everything = range(1, n_frames + 1)
        if self._frames_needed is None:
            return tuple(everything)
        dtype = image.array.dtype.name
        info = MovieInfo(n_frames, (height, width), dtype, (True,) * n_frames)
        return tuple(sorted(set(self._frames_needed(task, info)).intersection(everything)))

    def _find(self, task: ImageTask) -> tuple[_Found, Store]:
        """Find a task's image; the store stays open for its pixels."""
        if (problem := check_name(task.plate)) is not None:
            msg = f"the plate name {task.plate!r} {problem}"
            raise DownloadError(msg)
        failures: list[str] = []
        for address in self._addresses(task):
            store = open_store(address, endpoint_url=self.endpoint_url, options=self._options)
            try:
                group = self._group(address, store)
                if group is not None:
                    return self._open(task, address, group, store), store
                failures.append(f"{address} has neither .zattrs nor zarr.json")
            except DownloadError as error:
                store.close()
                if address in self._groups:  # the endpoint works; the image is the problem
                    raise
                failures.append(str(error))
            except BaseException:
                store.close()
                raise
            store.close()
        msg = f"{task.name}: no OME-Zarr found: {'; '.join(failures)}"
        raise DownloadError(msg)

    def _open(self, task: ImageTask, address: str, group: Group, store: Store) -> _Found:
        if "plate" in group.attributes:
            path = field_path(store, group, task.well, task.site)
        elif "multiscales" in group.attributes:
            path = group.path
        else:  # what bioformats2raw writes: one image per series
            path = str(task.site - 1)
        inner = group if path == group.path else open_group(store, path, group.zarr_format)
        if inner is None:
            msg = f"{task.name}: {address} has no image {path}"
            raise DownloadError(msg)
        image = open_image(store, inner)
        check_pixel_type(Path(f"{address}/{path}"), image.array.dtype.name)
        return _Found(address, path, image)

    def _group(self, address: str, store: Store) -> Group | None:
        """Return the top group of an address; each is read once."""
        with self._lock:
            known = self._groups.get(address)
        if known is not None:
            return known
        group = open_group(store)
        if group is not None:
            with self._lock:
                self._groups[address] = group
        return group

    def _addresses(self, task: ImageTask) -> list[str]:
        given = task.metadata.get("URL", "").strip() or task.metadata.get("Path", "").strip()
        if "://" in given or given.startswith(("/", "~")):
            return [given]
        if given:
            return [f"{root.rstrip('/')}/{given}" for root in self.roots]
        return plate_addresses(task.plate, self.roots, self.pattern, self.plates)
