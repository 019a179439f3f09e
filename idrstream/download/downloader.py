"""The downloader made of a locator and a transport."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from idrstream.config import DownloadSettings
from idrstream.download.addresses import Addresses
from idrstream.download.chain import TransportChain
from idrstream.download.channel_files import download_channels, tasks_of_channels
from idrstream.download.fetch import fetch_movie
from idrstream.download.locate.table import SharedFiles, TableLocator, is_given, target_name
from idrstream.download.modes import FetchMode
from idrstream.download.ome_sets import download_beside, files_beside
from idrstream.download.omezarr import OmeZarrDownloader
from idrstream.download.plane_files import (
    download_planes,
    needed_frames,
    needed_planes,
    plane_files,
)
from idrstream.download.protocol import (
    Channels,
    Downloader,
    FramesNeeded,
    Locator,
    StudyLocator,
    Transport,
)
from idrstream.download.transports.http import HttpTransport
from idrstream.download.transports.local import LocalTransport
from idrstream.errors import DownloadError
from idrstream.records import ImageTask, Movie

if TYPE_CHECKING:
    from idrstream.preprocess import BasePreprocessor


class Resolved(NamedTuple):
    """How the movie of a task is fetched."""

    transport: Transport
    remote: str
    """Path under the transport's root."""
    name: str
    """Name of the file on disk."""


class TransportDownloader(Downloader):
    """A downloader made of a locator and a transport.

    Parameters
    ----------
    transport : Transport
        Transfers the files; a chain of transports is a transport, too.
    locator : Locator, optional
        Locates the movies of tasks without ``Path`` and ``URL`` columns of their own, which take
        precedence (see `TableLocator`). None if all tasks have them.
    settings : DownloadSettings, optional
        What to fetch of a movie, and limits for addresses that tasks name themselves.

    Notes
    -----
    Tasks whose columns name OME-Zarr (``.zarr``, or a path within one) are left to an
    `OmeZarrDownloader`; a path is looked up under every root on the web, in S3 or on a disk.
    """

    def __init__(
        self,
        transport: Transport,
        locator: Locator | None = None,
        settings: DownloadSettings | None = None,
    ) -> None:
        self._settings = settings or DownloadSettings()
        self.fetch: FetchMode = self._settings.fetch
        self._frames_needed: FramesNeeded | None = None
        self._channels: Channels | None = None
        self._z: int | None = None
        self.transport = transport
        self.locator = (
            locator
            if isinstance(locator, TableLocator)
            else TableLocator(
                locator, study=locator.study if isinstance(locator, StudyLocator) else ""
            )
        )
        self.addresses = Addresses(self._settings)
        self._shared = SharedFiles()
        server = self._settings.omezarr_endpoint_url or self._settings.s3_endpoint
        own = replace(
            self._settings, fetch="auto", omezarr_plates=None, omezarr_roots=(),
            omezarr_endpoint_url=server,
        )  # fmt: skip
        self._omezarr = OmeZarrDownloader(own, locate=self.zarr_addresses)

    @property
    def settings(self) -> DownloadSettings:
        """The settings that the downloader was made with."""
        return self._settings

    @property
    def frames_needed(self) -> FramesNeeded | None:
        """Returns which frames of a movie are needed; None means all of them."""
        return self._frames_needed

    def resolve(self, task: ImageTask) -> Resolved:
        """Return how the movie of a task is fetched, without fetching it.

        Raises
        ------
        DownloadError
            If the location of the movie is unknown.
        """
        remote = self.locator.movie_path(task)
        name = target_name(task, remote) if is_given(task) else PurePosixPath(remote).name
        if "://" in remote:
            return Resolved(*self.addresses.transport_for(remote), name)
        return Resolved(self.transport, remote, name)

    def size(self, task: ImageTask) -> int | None:
        """Return the size of a task's movie at its source; None if it is unknown beforehand."""
        if channels := tasks_of_channels(task, self._channels):
            sizes = [self.size(one) for one in channels.values()]
            return None if None in sizes else sum(size or 0 for size in sizes)
        if (files := plane_files(task)) is not None:  # as many as the first has, each
            first = self.size(files.task(task, 1, 1))
            if first is None or files.pages:
                return first
            planes = needed_planes(task, files, self._z)
            return first * len(planes) * len(needed_frames(task, files, self._frames_needed))
        if self.is_zarr(task):
            return self._omezarr.size(task)
        transport, remote, _ = self.resolve(task)
        return transport.size(remote)

    def address(self, task: ImageTask) -> str:
        """Return the path or address of a task's movie; see `Downloader.address`."""
        if channels := tasks_of_channels(task, self._channels):
            return " ".join(map(self.locator.movie_path, channels.values()))
        return self.locator.movie_path(task)

    def limit_to(
        self,
        frames_needed: FramesNeeded | None,
        *,
        channels: Channels | None = None,
        z: int | None = None,
        all_planes: bool = False,
    ) -> None:
        """Limit later downloads; of one file with all channels and planes only to some frames."""
        self._frames_needed = frames_needed  # chunks of a CellH5 movie hold several channels
        self._channels, self._z = channels, z
        self._omezarr.limit_to(frames_needed, channels=channels, z=z, all_planes=all_planes)

    def interrupt(self) -> None:
        """Interrupt running downloads; called from another thread."""
        self.transport.interrupt()
        self.addresses.interrupt()

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Download the movie of `task` into `folder`; see `Downloader.download`.

        A file that several tasks share is downloaded once while it is on disk. The other files of
        an OME-TIFF that are needed are put beside the one that the task names.
        """
        if channels := tasks_of_channels(task, self._channels):
            return download_channels(task, channels, folder, self._download_alone)
        if (files := plane_files(task)) is not None:
            frames = needed_frames(task, files, self._frames_needed)
            needed = (frames, needed_planes(task, files, self._z))
            return download_planes(task, files, needed, folder, self._download_alone)
        if self.is_zarr(task):
            return self._omezarr.download(task, folder)
        movie = self._download_file(task, folder)
        try:
            names = files_beside(movie, self._channels, self._z, self._frames_needed)
            beside = partial(self._download_file, task, folder)
            return download_beside(movie, names, beside) if names else movie
        except BaseException:
            movie.path.unlink(missing_ok=True)
            raise

    def _download_alone(self, task: ImageTask, folder: Path) -> Movie:
        """Download a file of one channel or plane, of which nothing but its own pixels is read."""
        if plane_files(task) is not None or self.is_zarr(task):
            return self.download(task, folder)
        return self._download_file(task, folder)

    def _download_file(self, task: ImageTask, folder: Path, beside: str = "") -> Movie:
        """Download the file that a task names, or one of another name in the same folder."""
        transport, remote, name = self.resolve(task)
        location = self.locator.movie_path(task)  # two servers may have the same path
        if beside:
            name, remote = beside, "".join((*remote.rpartition("/")[:2], beside))
            location = f"{location.rpartition('/')[0]}\n{beside}"  # addresses are quoted
        target = Path(folder) / name
        fetch = partial(
            fetch_movie, transport, remote, task, target,
            mode="file" if beside else self.fetch, frames_needed=self._frames_needed,
            deep_verify=self._settings.deep_verify,
        )  # fmt: skip
        if not is_given(task):
            return fetch()
        with self._shared.lock(location):
            target.parent.mkdir(parents=True, exist_ok=True)
            known = self._shared.link(location, target)
            if known is not None:
                return Movie(target, task, *known)
            movie = fetch()
            if movie.frames is None:  # another task may need other frames
                self._shared.remember(location, movie.path, movie.source, movie.size_bytes)
            return movie

    def has_one_file(self, task: ImageTask) -> bool:
        """Return whether a task's movie is one file, which `resolve` names."""
        several = tasks_of_channels(task) or plane_files(task) is not None
        return not (several or self.is_zarr(task))

    def is_local(self, task: ImageTask) -> bool:
        """Return whether a task's movie is on this machine, or on a disk mounted there."""
        alone = next(iter(tasks_of_channels(task, self._channels).values()), task)
        files = plane_files(alone)
        one = alone if files is None else files.task(alone, 1, 1)
        return isinstance(self.resolve(one).transport, LocalTransport)

    def is_zarr(self, task: ImageTask) -> bool:
        """Return whether a task's movie is OME-Zarr."""
        location = self.locator.movie_path(task)
        path = urlsplit(location).path if "://" in location else location
        return any(part.lower().endswith(".zarr") for part in PurePosixPath(path).parts)

    def zarr_addresses(self, task: ImageTask) -> list[str]:
        """Return where a task's OME-Zarr may be."""
        location = self.locator.movie_path(task)
        if "://" in location:
            return [location]
        chain = self.transport
        links = chain.transports if isinstance(chain, TransportChain) else (chain,)
        found = [
            t.address(location) for t in links if isinstance(t, HttpTransport | LocalTransport)
        ]
        if not found:
            msg = (
                f"{task.name}: {location} is OME-Zarr, which {chain.name} cannot fetch: set "
                "https_root, s3_root or root, or give its whole address in the column URL"
            )
            raise DownloadError(msg)
        return found


def limit_to_needed(downloader: Downloader, preprocessor: BasePreprocessor) -> None:
    """Limit a downloader to the frames, channels and planes that a preprocessor will read.

    Parameters
    ----------
    downloader : Downloader
        See `Downloader.limit_to`.
    preprocessor : BasePreprocessor
        Its ``frames_needed`` returns frame numbers; its ``keys``, or the channel of its
        ``reader``, and the reader's planes say what is read of each frame.
    """
    needed = preprocessor.frames_needed if preprocessor.chooses_frames else None
    reader = preprocessor.reader
    if preprocessor.all_channels:
        downloader.limit_to(needed, all_planes=True)
        return
    if reader is None:
        downloader.limit_to(needed, channels=preprocessor.keys or None)
        return
    chosen = reader.selection
    downloader.limit_to(
        needed,
        channels=preprocessor.keys or (("", str(chosen.channel)),),
        z=chosen.z,
        all_planes=chosen.projection is not None,
    )
