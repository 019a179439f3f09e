"""The other side of a Java reader: a process of its own that holds the JVM.

Run as ``python -m idrstream.formats.java.worker KIND LOCATION FOLDER``. It answers requests
on standard input with replies on its original standard output; what Java or Python print goes
to standard error, so that it cannot get between the replies. It ends when its input does.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from typing import IO, Any

from idrstream.formats.java.protocol import Backend, MissingError
from idrstream.workers.messages import watched_requests, write_message


def serve(backend: Backend, requests: Iterable[dict[str, Any]], replies: IO[bytes]) -> None:
    """Answer requests until there are no more."""
    for request in requests:
        try:
            _answer(backend, request, replies)
        except MissingError as error:
            write_message(replies, {"error": "missing", "message": str(error)})
        # The boundary of the process: whatever Java throws is reported to the other side.
        except Exception as error:
            write_message(replies, {"error": "image", "message": describe(error)})


def _answer(backend: Backend, request: dict[str, Any], replies: IO[bytes]) -> None:
    path = request["path"]
    if request["ask"] == "close":
        backend.close()
        write_message(replies, {"closed": path})
        return
    if request["ask"] == "info":
        write_message(replies, {"info": backend.info(path, request["image"])})
        return
    wanted = (request[name] for name in ("image", "t", "channel", "z"))
    pixels = backend.plane(path, *wanted)
    write_message(replies, {"plane": request["t"]}, pixels)


def describe(error: BaseException) -> str:
    """Return an exception's words on one line, with its class if it is Java's."""
    words = " ".join(str(error).split())
    return words or type(error).__name__


def make_backend(kind: str, location: str, folder: str) -> Backend:
    """Start the JVM and return the library that `kind` means."""
    if kind == "bioformats":
        from idrstream.formats.java.bioformats_backend import BioFormats

        return BioFormats(location, folder)
    if kind == "imagej":
        from idrstream.formats.java.imagej_backend import ImageJ

        return ImageJ(location, folder)
    msg = f"unknown kind of Java reader {kind!r}"
    raise MissingError(msg)


def main(arguments: list[str]) -> int:
    """Serve until the input ends; remove the folder that was lent."""
    kind, location, folder = arguments
    # Keep the pipe for replies and give everybody else's standard output to standard error.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        try:
            backend = make_backend(kind, location, folder)
        except MissingError as error:
            write_message(replies, {"error": "missing", "message": str(error)})
            return 1
        # The boundary of the process: whatever Java throws is reported to the other side.
        except Exception as error:
            write_message(replies, {"error": "start", "message": describe(error)})
            return 1
        write_message(replies, {"ready": kind})
        serve(backend, watched_requests(sys.stdin.buffer), replies)
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Java's threads may outlive main; nothing is left that they could write.
    os._exit(status)
