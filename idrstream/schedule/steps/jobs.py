"""What the lanes' threads do with one image: download its movie, read it, segment its frames."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from idrstream.errors import UserError
from idrstream.records import Frame, ImageTask, Movie, Objects, Skipped
from idrstream.schedule.context import Context
from idrstream.schedule.disk.budget import tree_bytes
from idrstream.schedule.stages import Stages
from idrstream.schedule.state import ImageState
from idrstream.schedule.stop import StreamState

log = logging.getLogger(__name__)


def download(stages: Stages, task: ImageTask, folder: Path) -> tuple[Movie, int]:
    """Return a verified movie and the bytes of all its files; a failure leaves no file behind."""
    try:
        movie = stages.downloader.download(task, folder)
        stages.wait_until_complete(movie)
        size_bytes = tree_bytes(folder)
        outside = [file.path for file in movie.files if folder not in file.path.parents]
        size_bytes += sum(path.stat().st_size for path in outside)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return movie, size_bytes


@dataclass(frozen=True, slots=True)
class FramesRead:
    """Some frames of a movie.

    Attributes
    ----------
    task : ImageTask
        The image, with the frames that its movie has.
    results : sequence of Frame or Skipped
        The frames.
    rest : iterator or None
        What reads the next ones; None if these were the last, and the movie is deleted.
    """

    task: ImageTask
    results: Sequence[Frame | Skipped]
    rest: Iterator[Sequence[Frame | Skipped]] | None


def read(context: Context, image: ImageState, count: int) -> FramesRead:
    """Read the next frames of a movie; delete it after the last, or if that fails."""
    assert image.movie is not None  # noqa: S101, it was downloaded
    task, rest = image.task, image.rest
    more = False
    try:
        if rest is None:
            preprocessor = context.stages.preprocessor
            task = preprocessor.resolve(image.movie)
            rest = iter(preprocessor.iterate(replace(image.movie, task=task), count))
        results = next(rest, None)
        more = results is not None and image.n_read + len(results) < len(task.frames)
        if not task.frames:  # a preprocessor of the user's, which reads all frames at once
            task = replace(task, frames=tuple(map(_number, results or ())))
        return FramesRead(task, results or (), rest if more else None)
    finally:
        # Else another stream may use the folder.
        if not more and context.state is not StreamState.ABANDONED:
            delete(image.movie, image.folder)


def _number(result: Frame | Skipped) -> int:
    return (result.number if isinstance(result, Frame) else result.frame_number) or 0


def delete(movie: Movie, folder: Path | None) -> None:
    """Delete a movie with its folder."""
    for file in movie.files:
        file.path.unlink(missing_ok=True)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def segment(stages: Stages, frames: Sequence[Frame]) -> Sequence[Objects | BaseException]:
    """Segment frames together, and one by one if that fails, so that only bad ones fail."""
    if len(frames) > 1:
        try:
            results = stages.segment(frames)
        except UserError:
            raise
        except Exception as error:
            log.debug("segmenting %d frames one by one after %s", len(frames), error)
        else:
            if len(results) == len(frames):
                return results
    return [_segment_one(stages, frame) for frame in frames]


def _segment_one(stages: Stages, frame: Frame) -> Objects | BaseException:
    try:
        (result,) = stages.segment([frame])
    except BaseException as error:  # of this frame only; the deciding thread handles it
        return error
    return result
