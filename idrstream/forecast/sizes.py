"""How much is to download: sizes from the sources, of a sample if there are many movies."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.errors import ImageError, TransientDownloadError, UserError
from idrstream.forecast.plan import Amount, Check
from idrstream.forecast.work import spread
from idrstream.records import ImageTask
from idrstream.text import format_size, shorten_list

if TYPE_CHECKING:
    from idrstream.download import Downloader

MOST_ASKED = 200
_FRAMES_TRIED = 3
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of its movies a stream downloads.

    Attributes
    ----------
    part : float
        0 to 1.
    error : float
        Relative error of it, 95 %; 0 where it is no estimate.
    basis : str
        What it is based on.
    """

    part: float
    error: float
    basis: str


WHOLE = Share(1.0, 0.0, "whole files")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of movies as their sources state them.

    Attributes
    ----------
    of : int
        Number of images.
    asked : tuple of ImageTask
        Images whose source was asked.
    known : tuple of int
        Sizes in bytes of their movies, where the source states them.
    missing, unreachable : tuple of str
        Errors of movies that do not exist, and of sources that did not answer.
    broken : str
        Why no source could be asked; empty if it could.
    local : bool
        Whether all are on this machine, so that none is downloaded.
    """

    of: int
    asked: tuple[ImageTask, ...]
    known: tuple[int, ...]
    missing: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    broken: str = ""
    local: bool = False

    @property
    def largest(self) -> int:
        """Size of the largest movie."""
        return max(self.known, default=0)

    def check(self) -> Check:
        """Return whether the movies exist."""
        what = "movies at their source"
        sampled = f", a sample of {self.of:,}" if len(self.asked) < self.of else ""
        if self.broken:
            return Check(what, "failed", self.broken, "see the message; nothing can be downloaded")
        for name, found, remedy in (
            ("do not exist", self.missing, "correct the table, or let the stream skip them"),
            ("did not answer", self.unreachable, "try again, or see idrstream doctor --network"),
        ):
            if found:
                # Of a server that does not answer, one answer says as much as all.
                shown = _SHOWN if found is self.missing else 1
                some = shorten_list(found, shown, "; ")
                detail = f"{len(found)} of {len(self.asked)} asked{sampled} {name}: {some}"
                return Check(what, "failed", detail, remedy)
        if not self.asked:
            return Check(what, "ok", "none is needed")
        if not self.known:
            return Check(what, "unknown", "this source does not state sizes before a download")
        return Check(what, "ok", f"{len(self.asked):,} asked{sampled}, all exist")

    def total(self, count: int, share: Share = WHOLE) -> Amount | None:
        """Return the bytes to download for `count` movies, of which a share is needed."""
        if not self.known:
            return Amount(0, 0, 0, "nothing to do") if not self.of else None
        number = len(self.known)
        best = count * math.fsum(self.known) / number * share.part
        basis, off = share.basis, share.error
        if number < self.of:
            basis += f"; sizes of {number:,} of {self.of:,}"
            # Finite population correction: a sample without repeats.
            off = math.hypot(off, spread(self.known) * math.sqrt(1 - number / self.of))
        margin = best * off
        low, high = round(max(0.0, best - margin)), round(best + margin)
        moved = Amount(round(best), low, high, basis)
        return Amount(0, 0, 0, f"copied on this machine: {moved}") if self.local else moved


def ask_sizes(downloader: Downloader, tasks: Sequence[ImageTask], *, at_once: int = 4) -> Sizes:
    """Ask the sources for the sizes of movies; of over 200 a random sample, always the same."""
    asked = tuple(tasks)
    if len(asked) > MOST_ASKED:
        asked = tuple(random.Random(0).sample(asked, MOST_ASKED))  # noqa: S311, no secret
    with ThreadPoolExecutor(max(1, at_once)) as pool:
        answers = list(pool.map(lambda task: _ask(downloader, task), asked))
    broken = next((str(answer) for answer in answers if isinstance(answer, UserError)), "")
    errors = [answer for answer in answers if isinstance(answer, ImageError)]
    return Sizes(
        len(tasks),
        asked,
        tuple(answer for answer in answers if isinstance(answer, int)),
        tuple(str(error) for error in errors if not isinstance(error, TransientDownloadError)),
        tuple(str(error) for error in errors if isinstance(error, TransientDownloadError)),
        broken,
        local=all(
            _is_local(downloader, task)
            for task, answer in zip(asked, answers, strict=True)
            if isinstance(answer, int)
        ),
    )


def share_downloaded(parts: Any, sizes: Sizes, folder: Path) -> Share:
    """Return the share of a movie that is downloaded.

    Where only frames are fetched, those of up to three movies are downloaded to a temporary
    folder.
    """
    from idrstream.download import RangeTransport, TransportDownloader, limit_to_needed
    from idrstream.download.fetch import fetch_movie

    downloader = parts.downloader
    if not isinstance(downloader, TransportDownloader) or downloader.fetch == "file":
        return WHOLE
    limit_to_needed(downloader, parts.preprocessor)
    moved: list[int] = []
    of = 0
    tries = sizes.asked[:: max(1, len(sizes.asked) // _FRAMES_TRIED)][:_FRAMES_TRIED]
    for number, task in enumerate(tries):
        try:
            if not downloader.has_one_file(task):
                return WHOLE
            transport, remote, name = downloader.resolve(task)
            if not isinstance(transport, RangeTransport):
                return WHOLE
            movie = fetch_movie(
                transport, remote, task, folder / str(number) / name,
                mode="frames", frames_needed=downloader.frames_needed,
            )  # fmt: skip
            size = transport.size(remote)
        except ImageError:  # the stream downloads the whole file, or reports the error
            return WHOLE
        moved.append(movie.bytes_moved or 0)
        of += size or 0
    if not of or (downloader.fetch == "auto" and sum(moved) > of / 3):
        return WHOLE
    basis = f"frames only, {format_size(sum(moved) / len(tries))} a movie in {len(tries)} tries"
    return Share(sum(moved) / of, spread(moved), basis)


def _is_local(downloader: Downloader, task: ImageTask) -> bool:
    from idrstream.download import TransportDownloader

    return isinstance(downloader, TransportDownloader) and downloader.is_local(task)


def _ask(downloader: Downloader, task: ImageTask) -> int | Exception | None:
    try:
        return downloader.size(task)
    except (ImageError, UserError) as error:
        return error
