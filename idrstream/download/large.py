"""Large images where they are: opened by ranges, so that nothing of them is copied to this disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from idrstream.config import DownloadSettings
from idrstream.download.downloader import TransportDownloader
from idrstream.download.omezarr._store import Store
from idrstream.download.protocol import Downloader, RangeTransport
from idrstream.errors import ConfigError, DownloadError
from idrstream.formats.large.image import LargeImage
from idrstream.formats.large.tiff import open_tiff
from idrstream.formats.large.zarr import open_zarr
from idrstream.records import ImageTask, Movie
from idrstream.redact import redact

_HEAD_BYTES = 64 * 1024
_OPEN_AT_ONCE = 3
REFERENCE = "image.txt"
"""File that stands for an image on the disk: the address alone."""


class LargeImages:
    """Opens the images of tasks by ranges, and keeps the last few open.

    Parameters
    ----------
    downloader : Downloader
        Knows where the images are.
    z : int, optional
        Plane to read, counted from 0, of images with several.

    Raises
    ------
    ConfigError
        If the downloader is one of the user's own.
    """

    def __init__(self, downloader: Downloader, *, z: int | None = None) -> None:
        if not isinstance(downloader, TransportDownloader):
            raise ConfigError(
                "large images are read where they are: that needs download.method auto, https, "
                "s3 or local, not one of your own or omezarr"
            )
        self._downloader = downloader
        self._z = z
        self._lock = threading.Lock()
        self._open: dict[str, tuple[LargeImage, float]] = {}

    def open(self, task: ImageTask) -> LargeImage:
        """Return the image of a task, opened; it is closed by `close`, or when others come.

        Raises
        ------
        DownloadError, MovieError
            If it cannot be read.
        """
        address = self._downloader.locator.movie_path(task)
        # A client of ours gives a file only so much time, and a slide may take longer.
        limit_s = self._downloader.settings.total_timeout_s / 2
        with self._lock:
            image, opened = self._open.pop(address, (None, 0.0))
            if image is None or time.monotonic() - opened > limit_s:
                image, opened = self._opened(task, address), time.monotonic()
            self._open[address] = (image, opened)
            while len(self._open) > _OPEN_AT_ONCE:
                del self._open[next(iter(self._open))]  # another thread may still read it
            return image

    def close(self) -> None:
        """Close the images."""
        with self._lock:
            for image, _ in self._open.values():
                image.close()
            self._open.clear()

    def _opened(self, task: ImageTask, address: str) -> LargeImage:
        downloader, where = self._downloader, redact(address)
        if downloader.is_zarr(task):
            (first, *_) = downloader.zarr_addresses(task)
            return open_zarr(_Objects(first, downloader.settings), redact(first), z=self._z)
        transport, remote, _ = downloader.resolve(task)
        file = None
        if isinstance(transport, RangeTransport):
            file = transport.open_ranges(remote, _HEAD_BYTES)
        if file is None:
            raise DownloadError(
                f"{task.name}: {where} cannot be read by ranges, as large images must: its source "
                f"({transport.name}) sends whole files only"
            )
        try:
            return open_tiff(file, where, z=self._z)
        except BaseException:
            file.close()
            raise


class ReferenceDownloader(Downloader):
    """Puts a small file on the disk in place of a large image, which is read where it is.

    Parameters
    ----------
    inner : Downloader
        Knows where the images are.
    """

    def __init__(self, inner: Downloader) -> None:
        self.inner = inner
        self.settings: DownloadSettings = getattr(inner, "settings", DownloadSettings())

    def describe(self) -> dict[str, object]:
        """Return what the inner one says of itself."""
        from idrstream.describe import describe_part

        return describe_part(self.inner)

    def download(self, task: ImageTask, folder: Path) -> Movie:
        """Write the file that stands for the image."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / REFERENCE
        address = redact(self.inner.address(task) or "")
        content = f"{address}\n".encode()
        path.write_bytes(content)
        return Movie(path, task, urlsplit(address).scheme or "local", len(content))

    def size(self, task: ImageTask) -> int | None:
        """Return the size of the file that stands for the image."""
        return len(redact(self.inner.address(task) or "").encode()) + 1

    def address(self, task: ImageTask) -> str | None:
        """Return where the image is."""
        return self.inner.address(task)

    def interrupt(self) -> None:
        """Interrupt the inner one."""
        self.inner.interrupt()


class _Objects:
    """The objects of a hierarchy, for `open_zarr`."""

    def __init__(self, address: str, settings: DownloadSettings) -> None:
        self._store = Store(address, settings)
        self.get: Callable[..., bytes | None] = self._store.get

    @property
    def bytes_moved(self) -> int:
        """Bytes received so far."""
        return self._store.traffic.bytes_moved
