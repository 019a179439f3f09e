"""A downloader out of a locator, which knows where movies are, and a transport."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from idrstream.download.addresses import Addresses
from idrstream.download.fetch import fetch_movie
from idrstream.download.legacy import well_task
from idrstream.download.locate.table import SharedFiles, TableLocator, is_given, target_name
from idrstream.download.modes import FETCH_MODES
from idrstream.download.protocol import Locator, Transport
from idrstream.errors import ConfigError
from idrstream.records import ImageTask, Movie

if TYPE_CHECKING:
    from idrstream.download.modes import FetchMode
    from idrstream.download.ranges.fetch import FramesNeeded


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
