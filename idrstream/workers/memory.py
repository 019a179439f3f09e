"""How the memory allocator of a process works for many threads."""

from __future__ import annotations

import ctypes
import os
import platform

from idrstream.workers.threads import all_processors

_ARENA_MAX = -8  # M_ARENA_MAX in glibc's malloc.h


def limit_arenas() -> None:
    """Let glibc use as many arenas of memory as there are processors, at least two.

    By default it takes eight for each processor, and what a thread frees stays in its arena. The
    arrays that pass through the threads of a stream then hold several times their size: on two
    cores half a gigabyte more, which grew with every frame (`mallopt(3)`). It must come early: once
    there are more than eight arenas, their limit is fixed. What a user set (``MALLOC_ARENA_MAX``,
    ``GLIBC_TUNABLES``) comes first. Other allocators and systems are left alone.
    """
    given = "MALLOC_ARENA_MAX" in os.environ or "arena_max" in os.environ.get("GLIBC_TUNABLES", "")
    if given or platform.libc_ver()[0] != "glibc":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, max(2, all_processors()))
