"""From a transport and a remote path to a movie that is proven complete."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from idrstream.download.modes import Traffic
from idrstream.download.protocol import RangeTransport, Transport
from idrstream.errors import ConfigError, DownloadError
from idrstream.formats.complete import check_complete
from idrstream.records import ImageTask, Movie

if TYPE_CHECKING:
    from idrstream.download.modes import FetchMode
    from idrstream.download.ranges.fetch import FramesNeeded

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
    from idrstream.download.ranges.fetch import TakenFrames, fetch_frames

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
