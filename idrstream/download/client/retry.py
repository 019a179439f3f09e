"""Retries of whole files, ranges of files and small objects."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from idrstream.download.client.errors import BusyError, InterruptedDownloadError
from idrstream.errors import TransientDownloadError
from idrstream.formats.hdf5_ranges.errors import RemoteFileChangedError

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from idrstream.config import DownloadSettings

T = TypeVar("T")


def may_pass(error: BaseException) -> bool:
    """Return whether an error may be gone at the next attempt."""
    final = (InterruptedDownloadError, RemoteFileChangedError)
    return isinstance(error, TransientDownloadError) and not isinstance(error, final)


def with_retries(
    attempt: Callable[[], T],
    settings: DownloadSettings,
    *,
    give_up: Callable[[int, BaseException], bool],
    may_pass: Callable[[BaseException], bool] = may_pass,
    sleep: Callable[[float], None] | None = None,
) -> T:
    """Call `attempt` until it returns.

    Pauses grow exponentially, with jitter, from ``retry_wait_s``. They are at least what a
    `BusyError` asks for but never longer than ``longest_retry_wait_s``.

    Parameters
    ----------
    attempt : callable
        The function to call.
    settings : DownloadSettings
        Pauses.
    give_up : callable
        Return whether to raise the error nevertheless, given the number of attempts and the
        error.
    may_pass : callable
        Return whether an error may be gone at the next attempt.
    sleep : callable, optional
        Waits; by default `time.sleep`.

    Returns
    -------
    object
        What `attempt` returned.
    """
    from tenacity import Retrying, retry_if_exception, wait_random_exponential

    longest = settings.longest_retry_wait_s
    growing = wait_random_exponential(multiplier=settings.retry_wait_s, max=longest)

    def error_of(state: RetryCallState) -> BaseException:
        error = state.outcome.exception() if state.outcome else None
        return error or RuntimeError("no outcome")

    def pause(state: RetryCallState) -> float:
        error = error_of(state)
        asked = error.wait_s if isinstance(error, BusyError) else 0.0
        return max(min(asked, longest), growing(state))

    retrying = Retrying(
        retry=retry_if_exception(may_pass),
        stop=lambda state: give_up(state.attempt_number, error_of(state)),
        wait=pause,
        sleep=sleep or time.sleep,
        reraise=True,
    )
    return retrying(attempt)


def retry_after_s(text: str | None) -> float:
    """Return the seconds that a ``Retry-After`` header asks for; 0 if it cannot be read."""
    if not text:
        return 0.0
    if re.fullmatch(r"[0-9]{1,9}", text.strip()):
        return float(text)
    from datetime import datetime

    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return 0.0
