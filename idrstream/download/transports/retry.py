"""Trying again: one way for whole files, ranges of files and small objects."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from idrstream.download.transports.errors import BusyError

if TYPE_CHECKING:
    from tenacity import RetryCallState

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers of a web server that may pass by waiting."""

T = TypeVar("T")


def try_again(
    attempt: Callable[[], T],
    *,
    may_pass: Callable[[BaseException], bool],
    give_up: Callable[[int, BaseException], bool],
    wait_s: float,
    longest_wait_s: float,
    sleep: Callable[[float], None] | None = None,
) -> T:
    """Call `attempt` until it returns.

    Pauses grow from `wait_s`, with some chance in them, and are at least what a `BusyError`
    asks for, but never longer than `longest_wait_s`.

    Parameters
    ----------
    attempt : callable
        What to do.
    may_pass : callable
        Whether an error may be gone the next time.
    give_up : callable
        Whether to raise the error nevertheless, from the number of attempts and the error.
    wait_s, longest_wait_s : float
        Pause before the second attempt, doubled for each further one up to the longest.
    sleep : callable, optional
        Waits; by default `time.sleep`.

    Returns
    -------
    object
        What `attempt` returned.
    """
    from tenacity import Retrying, retry_if_exception, wait_random_exponential

    growing = wait_random_exponential(multiplier=wait_s, max=longest_wait_s)

    def error_of(state: RetryCallState) -> BaseException:
        error = state.outcome.exception() if state.outcome else None
        return error or RuntimeError("no outcome")

    def pause(state: RetryCallState) -> float:
        error = error_of(state)
        asked = error.wait_s if isinstance(error, BusyError) else 0.0
        return max(min(asked, longest_wait_s), growing(state))

    retrying = Retrying(
        retry=retry_if_exception(may_pass),
        stop=lambda state: give_up(state.attempt_number, error_of(state)),
        wait=pause,
        sleep=sleep or time.sleep,
        reraise=True,
    )
    return retrying(attempt)


def retry_after_s(text: str | None) -> float:
    """Return the seconds that a ``Retry-After`` header asks for; 0 when it says nothing."""
    if not text:
        return 0.0
    if text.strip().isdigit():
        return float(text)
    from datetime import datetime, timezone

    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(timezone.utc)).total_seconds())
    return 0.0
