"""Measures objects in a process of its own: Python's lock lets one thread measure at a time.

Run as ``python -m idrstream.profile.classical.worker``. It answers requests on standard input
with replies on its original standard output, and ends when its input does. The body of a request
has the label image, the rows and the pixels one after the other; that of a reply the values.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from idrstream.errors import ProfileError
from idrstream.profile.classical.measure import measure_objects
from idrstream.workers.messages import watched_requests, write_message


def answer(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return header and body of the reply to a request."""
    body = memoryview(request["body"])
    height, width = request["shape"]
    count, channels = request["rows"], request["channels"]
    labels = np.frombuffer(body, np.int32, height * width).reshape(height, width)
    rows = np.frombuffer(body, np.int32, count, labels.nbytes)
    pixels = np.frombuffer(
        body, np.dtype(request["dtype"]), offset=labels.nbytes + rows.nbytes
    ).reshape(len(channels), height, width)
    try:
        columns, values = measure_objects(
            request["kind"], labels, rows, pixels, channels, request["families"]
        )
    except ProfileError as error:
        return {"error": str(error)}, b""
    return {"columns": columns}, values.tobytes()


def main() -> None:
    """Answer requests until there are no more."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what others print must not get between the replies
    for request in watched_requests(sys.stdin.buffer):
        header, body = answer(request)
        write_message(replies, header, body)


if __name__ == "__main__":
    main()
