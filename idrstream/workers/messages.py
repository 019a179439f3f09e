"""What a worker process and the one who started it say to each other.

A message is four bytes of length (big-endian), a JSON header of that length, and as many bytes
as the header's ``nbytes`` says.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

PREFIX = struct.Struct(">I")

FOLDER_VARIABLE = "IDRSTREAM_WORKER_FOLDER"
"""Environment variable that tells a worker its own folder, which is made for it alone."""


def write_message(stream: IO[bytes], header: dict[str, Any], body: bytes = b"") -> None:
    """Write one message and flush it."""
    text = json.dumps({**header, "nbytes": len(body)}).encode()
    stream.write(PREFIX.pack(len(text)) + text)
    stream.write(body)
    stream.flush()


def read_message(stream: IO[bytes]) -> dict[str, Any] | None:
    """Read one message, its body as ``body`` if it has one; None when the input has ended.

    It may end within a message: whoever wrote it was killed.
    """
    prefix = stream.read(PREFIX.size)
    if len(prefix) < PREFIX.size:
        return None
    length = PREFIX.unpack(prefix)[0]
    text = stream.read(length)
    if len(text) < length:
        return None
    request: dict[str, Any] = json.loads(text)
    if count := request.get("nbytes", 0):
        request["body"] = stream.read(count)
        if len(request["body"]) < count:
            return None
    return request


def watched_requests(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield requests until the input ends; end the process if that happens during one.

    The input ends when the one who asks is gone, even if it was killed. Nobody waits for the
    answer then, and a worker that is busy for minutes, or hangs, must not outlive it. Nor is there
    anybody else to delete the worker's own folder.
    """
    folder = os.environ.pop(FOLDER_VARIABLE, "")  # not that of what is started from here
    arrived: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    answered = 0

    def listen() -> None:
        asked = 0
        with suppress(OSError):  # a socket of one who was killed is reset instead
            while (request := read_message(stream)) is not None:
                asked += 1
                arrived.put(request)
        _delete_own(folder)
        arrived.put(None)
        if answered < asked:
            os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    while (request := arrived.get()) is not None:
        yield request
        answered += 1


def _delete_own(folder: str) -> None:
    with suppress(OSError):
        if folder and Path(folder).samefile(Path.cwd()):
            shutil.rmtree(folder, ignore_errors=True)
