"""A stand-in for the Java process, for the tests only: no Java, but every way to misbehave.

Called as ``fake_worker.py LOCATION FOLDER``; the location says how it behaves. Its movie has 3
frames of 4 x 5 pixels whose value is the frame number.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from pathlib import Path

from idrstream.formats.java.protocol import ImageProblemError, MissingError
from idrstream.formats.java.worker import serve
from idrstream.workers.messages import watched_requests, write_message

INFO = {
    "n_images": 1,
    "n_frames": 3,
    "n_planes": 1,
    "n_channels": 1,
    "height": 4,
    "width": 5,
    "dtype": "uint16",
}


class Fake:
    def __init__(self, behaviour: str) -> None:
        self.behaviour = behaviour
        self.closed = 0

    def info(self, path: str, image: int) -> dict:
        sys.stdout.write("noise on standard output, as Java libraries make it\n")
        sys.stdout.flush()
        if self.behaviour == "cannot":
            raise ImageProblemError("not an\nimage")
        if self.behaviour == "nowords":
            raise ValueError
        if self.behaviour == "missing later":
            raise MissingError("install it")
        if self.behaviour == "where":
            raise ImageProblemError(f"in {Path.cwd()} with {os.environ['PYTHONPATH']}")
        changes = {
            "float": {"dtype": "float32"},
            "planes": {"n_planes": 3},
            "channels": {"n_channels": 2},
            "images": {"n_images": 3, "n_frames": 3 + image},
        }
        return {**INFO, **changes.get(self.behaviour, {})}

    def plane(self, path: str, image: int, t: int, channel: int, z: int) -> bytes:
        if self.behaviour == "dies" and not Path(path).with_suffix(".died").exists():
            Path(path).with_suffix(".died").touch()
            sys.stderr.write("Out of memory, says Java\n")
            sys.stderr.flush()
            os._exit(3)
        if self.behaviour == "hangs":
            Path(path).with_suffix(".hangs").touch()
            time.sleep(600)
        if self.behaviour == "one bad" and t == 1:
            raise ImageProblemError("bad chunk")
        if self.behaviour == "short":
            return b"abc"
        if self.behaviour == "planes":
            t = 10 * z
        if self.behaviour == "channels":
            t = 100 * channel
        if self.behaviour == "images":
            t += 1000 * image
        value = 0 if self.behaviour == "hole" and t == 1 else t + 1
        return struct.pack("<H", value) * 20

    def close(self) -> None:
        self.closed += 1


def main() -> None:
    behaviour, folder = sys.argv[1:]
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if behaviour == "no start":
        sys.stderr.write("Error occurred during initialization of VM\n")
        sys.exit(1)
    if behaviour == "slow start":
        time.sleep(600)
    if behaviour == "babble":
        replies.write(b"Hello, this is Java\n" * 10)
        replies.flush()
        time.sleep(600)
    if behaviour == "not installed":
        write_message(replies, {"error": "missing", "message": "no Java was found"})
        sys.exit(1)
    (Path(folder) / "java leaves this").touch()
    write_message(replies, {"ready": "fake"})
    serve(Fake(behaviour), watched_requests(sys.stdin.buffer), replies)


if __name__ == "__main__":
    main()
