"""The allocator's arenas."""

import os
import platform
import subprocess
import sys

import pytest

_CODE = """
import ctypes, os, sys, threading
from idrstream.workers.memory import limit_arenas

os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
if "limited" in sys.argv:
    limit_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(24)

def take():
    libc.malloc(ctypes.c_size_t(1000))
    together.wait(30)

threads = [threading.Thread(target=take) for _ in range(24)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def arenas(*arguments: str, **environment: str) -> int:
    usual = {name: of for name, of in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    command = [sys.executable, "-c", _CODE, *arguments]
    done = subprocess.run(
        command, env={**usual, **environment}, stdout=subprocess.PIPE, check=True, timeout=60
    )
    return done.stdout.count(b"<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator only")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor")
def test_there_are_as_many_arenas_as_processors() -> None:
    assert arenas() > 4
    assert arenas("limited") == 2
    assert arenas("limited", MALLOC_ARENA_MAX="3") == 3  # the user's word
