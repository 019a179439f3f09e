"""From a transport and a remote path to a movie that is proven complete."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from idrstream.download._modes import FETCH_MODES, Traffic
from idrstream.download._protocol import Downloader, Locator, RangeTransport, Transport
from idrstream.download.addresses import Addresses
from idrstream.download.complete import check_complete
from idrstream.download.table_locator import SharedFiles, TableLocator, is_given, target_name
from idrstream.errors import ConfigError, DownloadError
from idrstream.records import ImageTask, Movie

if TYPE_CHECKING:
    from idrstream.download.frames import FetchMode, FramesNeeded

logger = logging.getLogger("idrstream.download")


def fetch_movie(
    transport: Transport,
    remote: str,
    task: ImageTask,
    target: Path,
    *,
    mode: FetchMode = "file",
    frames_needed: FramesNeeded | None = None,
) -> Movie:
    """Fetch one movie, or the frames of it that are needed, and prove it complete.

    Parameters
    ----------
    transport : Transport
        How to fetch.
    remote : str
        Path under the transport's root.
    task : ImageTask
        What the movie is for.
    target : Path
        The file to write; its folder is made.
    mode : {"file", "auto", "frames"}
        The whole file; what moves fewer bytes; only the frames.
    frames_needed : callable, optional
        Says which frames are needed. Without it the whole file is taken.

    Returns
    -------
    Movie
        The movie, or a small one of the same name and layout with the needed frames; its source
        says which transport served it.

    Raises
    ------
    DownloadError, IncompleteFileError, MovieError
        If the movie did not arrive, or not whole, or is something else. Nothing of it is left.
    ConfigError
        If only the frames are wanted and the transport cannot read parts of a file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    probe = Traffic()
    if mode != "file" and frames_needed is not None:
        small = _fetch_small(transport, remote, task, target, frames_needed, mode=mode)
        if isinstance(small, Movie):
            return small
        probe = small
    fetched = transport.fetch(remote, target)
    try:
        check_complete(target, fetched.size_bytes)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    logger.debug("%s: %s by %s", task.name, target.name, fetched)
    moved = fetched.size_bytes if fetched.bytes_moved is None else fetched.bytes_moved
    return Movie(
        target,
        task,
        f"{fetched.served_by}: {remote}",
        fetched.size_bytes,
        bytes_moved=probe.bytes_moved + moved,
        requests=None if fetched.requests is None else probe.requests + fetched.requests,
    )


def _fetch_small(
    transport: Transport,
    remote: str,
    task: ImageTask,
    target: Path,
    frames_needed: FramesNeeded,
    *,
    mode: FetchMode,
) -> Movie | Traffic:
    """Bring the needed frames, or return what it took to see that the whole file is better."""
    from idrstream.download.frames import TakenFrames, fetch_frames

    ranges = _as_range_transport(transport, mode)
    if ranges is None:
        return Traffic()
    try:
        taken = fetch_frames(ranges, remote, task, target, frames_needed, mode=mode)
    except DownloadError as error:
        if mode == "frames":
            raise
        # A chain may have another way to the whole file; a single way fails once more.
        logger.info("%s: the whole of %s: %s", task.name, target.name, error)
        return Traffic()
    traffic = taken.traffic
    if not isinstance(taken, TakenFrames):
        logger.info("%s: the whole of %s: %s", task.name, target.name, taken.reason)
        return traffic
    logger.info(
        "%s: %d frames of %s from %s, %d bytes in %d requests",
        task.name, len(taken.frames), target.name, taken.served_by,
        traffic.bytes_moved, traffic.requests,
    )  # fmt: skip
    return Movie(
        target,
        task,
        f"{taken.served_by}: {remote}",
        target.stat().st_size,
        taken.frames,
        traffic.bytes_moved,
        traffic.requests,
    )


def _as_range_transport(transport: Transport, mode: FetchMode) -> RangeTransport | None:
    if isinstance(transport, RangeTransport):
        return transport
    if mode == "frames":
        msg = (
            f'fetch = "frames" cannot be done by {transport.name}, which moves whole files; use '
            "https, s3 or a mounted mirror, or set fetch to auto"
        )
        raise ConfigError(msg)
    return None


def tell_frames_needed(downloader: object, preprocessor: object) -> None:
    """Tell a downloader which frames a preprocessor will need, when both know of it.

    Parameters
    ----------
    downloader : object
        Gets the attribute ``frames_needed`` set if it has one, and likewise ``channel`` and
        ``z``.
    preprocessor : object
        Its ``frames_needed(task, info)``, if it has one, returns frame numbers; its reader's
        ``channel`` and ``z`` say what is read of each.
    """
    if hasattr(downloader, "frames_needed"):
        downloader.frames_needed = getattr(preprocessor, "frames_needed", None)
    reader = getattr(preprocessor, "reader", None)
    for name in ("channel", "z"):
        if hasattr(downloader, name) and hasattr(reader, name):
            setattr(downloader, name, getattr(reader, name))


class TransportDownloader:
    """A downloader made of a locator and a transport.

    Parameters
    ----------
    transport : Transport
        How files move; a chain of transports is one too.
    locator : Locator, optional
        Where the movies are of tasks whose own ``Path`` and ``URL`` columns do not say it;
        those that do are believed first, as `TableLocator` does. None when all of them do.
    fetch : {"auto", "frames", "file"}
        Bring what moves fewer bytes; only the needed frames; or always the whole movie.
    addresses : Addresses, optional
        Knows the transports of the addresses that tasks name themselves.

    Raises
    ------
    ConfigError
        If `fetch` is something else.
    """

    def __init__(
        self,
        transport: Transport,
        locator: Locator | None = None,
        *,
        fetch: FetchMode = "auto",
        addresses: Addresses | None = None,
    ) -> None:
        if fetch not in FETCH_MODES:
            msg = f"fetch must be one of {', '.join(FETCH_MODES)}, not {fetch!r}"
            raise ConfigError(msg)
        self.fetch = fetch
        self._frames_needed: FramesNeeded | None = None
        self.transport = transport
        self.locator = (
            locator
            if isinstance(locator, TableLocator)
            else TableLocator(locator, study=str(getattr(locator, "study", "")))
        )
        self.addresses = addresses or Addresses()
        self._shared = SharedFiles()

    @property
    def frames_needed(self) -> FramesNeeded | None:
        """Says which frames of a movie are needed; None means all of them."""
        return self._frames_needed

    @frames_needed.setter
    def frames_needed(self, needed: FramesNeeded | None) -> None:
        self._frames_needed = needed

    def way(self, task: ImageTask) -> tuple[Transport, str, str]:
        """Say how the movie of a task is brought, without bringing it.

        Returns
        -------
        tuple of Transport, str and str
            The transport, the path under its root, and the name that the file gets on disk.

        Raises
        ------
        DownloadError
            If nothing says where the movie is.
        """
        remote = self.locator.movie_path(task)
        name = target_name(task, remote) if is_given(task) else PurePosixPath(remote).name
        if "://" in remote:
            transport, remote = self.addresses.transport_for(remote)
            return transport, remote, name
        return self.transport, remote, name

    def size(self, task: ImageTask) -> int | None:
        """Return the size of a task's movie at its source; None when it cannot be told."""
        transport, remote, _ = self.way(task)
        return transport.size(remote)

    def interrupt(self) -> None:
        """End the downloads that are under way at once; called from another thread."""
        for part in (self.transport, self.addresses):
            interrupt = getattr(part, "interrupt", None)
            if interrupt is not None:
                interrupt()

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Download the movie of `task` into `folder`; see `Downloader.download`.

        A file that several tasks share is brought once as long as it is on the disk.
        """
        transport, remote, name = self.way(task)
        target = Path(folder) / name
        fetch = partial(
            fetch_movie, transport, remote, task, target,
            mode=self.fetch, frames_needed=self._frames_needed,
        )  # fmt: skip
        if not is_given(task):
            return fetch()
        whole = self.locator.movie_path(task)  # two servers may have the same path
        with self._shared.lock(whole):
            target.parent.mkdir(parents=True, exist_ok=True)
            known = self._shared.link(whole, target)
            if known is not None:
                return Movie(target, task, *known)
            movie = fetch()
            if movie.frames is None:  # another task may need other frames
                self._shared.remember(whole, movie.path, movie.source, movie.size_bytes)
            return movie

    def download_image(self, plate: str, well_num: int, save_dir: Path | str) -> Path:
        """Download the movie of one well; the first IDR_stream's call.

        Parameters
        ----------
        plate : str
            Plate name, for example ``LT0001_02``.
        well_num : int
            Well number, counted from 1 along the rows.
        save_dir : Path or str
            Folder for the movie; made if need be.

        Returns
        -------
        Path
            The movie, for example ``save_dir/00004_01.ch5``.

        Raises
        ------
        DownloadError, IncompleteFileError, MovieError
            If the movie did not arrive.
        """
        task = well_task(plate, well_num)
        transport, remote, name = self.way(task)
        return fetch_movie(transport, remote, task, Path(save_dir) / name).path


class LegacyDownloader:
    """Wraps an object with the first IDR_stream's ``download_image``.

    Such an object may return before its file is complete; whoever reads the movie has to wait
    for that (`wait_until_complete`).

    Parameters
    ----------
    part : object
        Has ``download_image(plate, well_num, save_dir)`` that returns the path of the movie.
    """

    def __init__(self, part: Any) -> None:
        self.part = part

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Download the movie of `task` into `folder`; see `Downloader.download`."""
        path = Path(self.part.download_image(task.plate, task.well_number, Path(folder)))
        return Movie(path, task, type(self.part).__name__)


def as_downloader(part: object) -> Downloader:
    """Return `part` as a `Downloader`.

    Parameters
    ----------
    part : object
        Has ``download(task, folder)``, or the first IDR_stream's
        ``download_image(plate, well_num, save_dir)``.

    Returns
    -------
    Downloader
        `part` itself, or a wrapper around it.

    Raises
    ------
    ConfigError
        If it has neither.
    """
    if isinstance(part, Downloader):
        return part
    if callable(getattr(part, "download_image", None)):
        return LegacyDownloader(part)
    msg = (
        f"{type(part).__name__} is no downloader: it has neither download(task, folder) nor "
        "download_image(plate, well_num, save_dir)"
    )
    raise ConfigError(msg)


def well_task(plate: str, well_num: int) -> ImageTask:
    """Return a task for the movie of a well, site 1, without wanting frames of it."""
    return ImageTask(plate, well=str(well_num), well_number=int(well_num), frames=())
