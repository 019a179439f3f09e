"""How many threads PyTorch uses for what one thread of ours does, and calls in several threads.

PyTorch's number of threads is that of the calling thread, but new threads begin with the number
that was set last, in whatever thread. Here a number that is set for one is that thread's only.

PyTorch's threads wait for each other by spinning after every operation: on a busy machine several
for one image take longer than one. So work is given out in pieces, an image, a tile or some crops,
to threads of our own that have one of PyTorch's each (`in_threads`). How many of ours the calling
thread may use for that is `free_threads`.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

_setting = threading.Lock()


class _Share(threading.local):
    """How many threads of ours the current one may use; None where nobody gave it a share."""

    count: int | None = None


_share = _Share()

Item = TypeVar("Item")
Result = TypeVar("Result")


def all_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def torch_threads() -> int:
    """Return how many threads PyTorch may use for what the calling thread does."""
    import torch

    return torch.get_num_threads()


def limit_threads(count: int) -> None:
    """Let PyTorch use so many threads for what the calling thread does, and no other one."""
    import torch

    with _setting:
        torch.get_num_threads()  # the first look at it would take the usual number again
        usual = _in_a_new_thread(torch.get_num_threads)
        torch.set_num_threads(count)
        _in_a_new_thread(lambda: torch.set_num_threads(usual))


@contextmanager
def threads_limited(count: int) -> Iterator[None]:
    """Let PyTorch use so many threads for what the calling thread does inside."""
    before = torch_threads()
    limit_threads(count)
    try:
        yield
    finally:
        limit_threads(before)


def free_threads(wanted: int | None = None) -> int:
    """Return how many threads the calling thread may use for its work.

    In a call by `in_threads`, its share of them; else `wanted`, by default PyTorch's number.
    """
    return _share.count or wanted or torch_threads()


@contextmanager
def one_thread_each(count: int) -> Iterator[None]:
    """Let PyTorch use one thread inside, and `in_threads` as many threads as given."""
    before = _share.count
    with threads_limited(1):
        _share.count = count
        try:
            yield
        finally:
            _share.count = before


def torch_is_there() -> bool:
    """Return whether PyTorch has been imported."""
    return hasattr(sys.modules.get("torch"), "set_num_threads")  # or only half


def in_threads(call: Callable[[Item], Result], items: Iterable[Item], threads: int) -> list[Result]:
    """Call for each item, in several threads that use one thread of PyTorch each.

    Where there are fewer items than threads, the calls may share the others; see `free_threads`.
    """
    items = list(items)
    count = min(threads, len(items))
    if count == 0:
        return []
    share = threads // count
    if count == 1:
        with one_thread_each(share):
            return [call(item) for item in items]
    results: list[Future[Result]] = [Future() for _ in items]
    jobs = iter(zip(items, results, strict=True))
    taking = threading.Lock()

    def work() -> None:
        limited = False
        while True:
            with taking:
                job = next(jobs, None)
            if job is None:  # nobody waits for a thread that got no job: it may change nothing
                return
            try:
                if not limited:
                    limit_threads(1)
                    _share.count = share
                    limited = True
                job[1].set_result(call(job[0]))
            except BaseException as error:  # goes to the one who waits
                job[1].set_exception(error)

    # Not those of a pool: the interpreter waits for these at its end, also for one that hangs.
    for number in range(count):
        threading.Thread(target=work, name=f"idrstream-call-{number}", daemon=True).start()
    wait(results)
    return [result.result() for result in results]


def _in_a_new_thread(call: Callable[[], Result]) -> Result:
    result: Future[Result] = Future()
    thread = threading.Thread(target=lambda: result.set_result(call()))
    thread.start()
    thread.join()
    return result.result()
