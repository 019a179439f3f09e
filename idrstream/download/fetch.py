"""Fetch one movie, whole or in part, and verify that it is complete."""

from __future__ import annotations

import logging
from pathlib import Path

from idrstream.download.modes import FetchMode, Traffic
from idrstream.download.protocol import FramesNeeded, RangeTransport, Transport
from idrstream.errors import ConfigError, DownloadError
from idrstream.formats.complete import check_complete
from idrstream.records import ImageTask, Movie

logger = logging.getLogger("idrstream.download")


def fetch_movie(
    transport: Transport,
    remote: str,
    task: ImageTask,
    target: Path,
    *,
    mode: FetchMode = "file",
    frames_needed: FramesNeeded | None = None,
    deep_verify: bool = False,
) -> Movie:
    """Fetch one movie, or the frames of it that are needed, and verify it.

    Parameters
    ----------
    transport : Transport
        Transfers the file.
    remote : str
        Path under the transport's root.
    task : ImageTask
        The image that the movie is for.
    target : Path
        The file to write; its folder is made.
    mode : {"file", "auto", "frames"}
        The whole file; whichever moves fewer bytes; only the frames.
    frames_needed : callable, optional
        Returns the frames needed. Without it the whole file is fetched.
    deep_verify : bool
        Decode the frames if only some are fetched; the transport verifies whole files.

    Returns
    -------
    Movie
        The movie, or a small one of the same name and layout with the needed frames; its source
        names the transport.

    Raises
    ------
    DownloadError, IncompleteFileError, MovieError
        If the movie did not arrive, is truncated or not a movie. Nothing of it is left.
    ConfigError
        If only frames are wanted and the transport cannot read parts of a file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    probe = Traffic()
    if mode != "file" and frames_needed is not None:
        fetched_frames = _fetch_frames(
            transport, remote, task, target, frames_needed, mode=mode, deep_verify=deep_verify
        )
        if isinstance(fetched_frames, Movie):
            return fetched_frames
        probe = fetched_frames
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


def _fetch_frames(
    transport: Transport,
    remote: str,
    task: ImageTask,
    target: Path,
    frames_needed: FramesNeeded,
    *,
    mode: FetchMode,
    deep_verify: bool,
) -> Movie | Traffic:
    """Fetch the needed frames, or return the traffic it took to decide for the whole file."""
    from idrstream.download.ranges.fetch import WholeFileNeeded, fetch_frames

    if not isinstance(transport, RangeTransport):
        if mode == "frames":
            raise ConfigError(no_ranges_message(transport.name))
        return Traffic()
    try:
        fetched = fetch_frames(
            transport, remote, task, target, frames_needed, mode=mode, deep_verify=deep_verify
        )
    except DownloadError as error:
        if mode == "frames":
            raise
        # Another transport of a chain may have the whole file; a single one fails once more.
        logger.info("%s: the whole of %s: %s", task.name, target.name, error)
        return Traffic()
    traffic = fetched.traffic
    if isinstance(fetched, WholeFileNeeded):
        logger.info("%s: the whole of %s: %s", task.name, target.name, fetched.reason)
        return traffic
    logger.info(
        "%s: %d frames of %s from %s, %d bytes in %d requests",
        task.name, len(fetched.frames), target.name, fetched.served_by,
        traffic.bytes_moved, traffic.requests,
    )  # fmt: skip
    return Movie(
        target,
        task,
        f"{fetched.served_by}: {remote}",
        target.stat().st_size,
        fetched.frames,
        traffic.bytes_moved,
        traffic.requests,
    )


def no_ranges_message(name: str) -> str:
    """Return the message for ``fetch = "frames"`` with a transport of whole files."""
    return (
        f'fetch = "frames" cannot be done by {name}, which moves whole files; use https, s3 or a '
        "mounted mirror, or set fetch to auto"
    )
