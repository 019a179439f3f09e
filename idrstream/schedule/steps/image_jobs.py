"""What the lanes do with one image: bring its movie, read it, segment its frames, write them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from idrstream.errors import UserError
from idrstream.records import Frame, ImageTask, Movie, Nuclei, Skipped
from idrstream.schedule.context import Context
from idrstream.schedule.disk.budget import tree_bytes
from idrstream.schedule.stages import Rooms
from idrstream.schedule.state import FrameState, ImageState

log = logging.getLogger(__name__)


def fetch(rooms: Rooms, task: ImageTask, folder: Path) -> tuple[Movie, int]:
    """Bring a movie to the disk, proven complete; nothing is left when that fails."""
    try:
        movie = rooms.downloader.download(task, folder)
        rooms.wait_until_complete(movie)
        size_bytes = tree_bytes(folder)
        if movie.path.parent != folder:
            size_bytes += movie.path.stat().st_size
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return movie, size_bytes


def read(context: Context, image: ImageState) -> Sequence[Frame | Skipped]:
    """Read a movie and delete it."""
    assert image.movie is not None  # noqa: S101, it was downloaded
    try:
        return context.rooms.preprocessor.process(image.movie)
    finally:
        if not context.abandoned:  # the folder may be another stream's by now
            delete(image.movie, image.folder)


def delete(movie: Movie, folder: Path | None) -> None:
    """Delete a movie with its folder."""
    movie.path.unlink(missing_ok=True)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def segment(rooms: Rooms, frames: Sequence[Frame]) -> Sequence[Nuclei | BaseException]:
    """Segment frames together, and one by one where that fails, so that only bad ones fail."""
    if rooms.segment_many is not None and len(frames) > 1:
        try:
            found = list(rooms.segment_many(frames))
        except UserError:
            raise
        except Exception as error:
            log.debug("segmenting %d frames one by one after %s", len(frames), error)
        else:
            if len(found) == len(frames):
                return found
    return [_segment_one(rooms, frame) for frame in frames]


def _segment_one(rooms: Rooms, frame: Frame) -> Nuclei | BaseException:
    try:
        return rooms.segment(frame)
    except BaseException as error:  # the border of a frame; its owner decides what it means
        return error


def write(state: FrameState) -> None:
    """Write a frame and its nuclei into the project of its batch."""
    assert state.nuclei is not None  # noqa: S101, it is segmented
    state.image.batch.profiling.add(state.frame, state.nuclei)
