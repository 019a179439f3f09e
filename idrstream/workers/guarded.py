"""Runs a Python module that ends when the one who started it does, however that ended.

Run by path as ``python _guarded.py MODULE ARGUMENTS`` with a pipe as standard input that is never
written to: it ends when the other side is gone, also after ``kill -9``. The module gets an empty
input. The process must lead a group of its own, which is ended as a whole.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _end_with_the_pipe(pipe: int) -> None:
    while os.read(pipe, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Watch the pipe in a thread and run the module."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_end_with_the_pipe, args=(pipe,), daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
