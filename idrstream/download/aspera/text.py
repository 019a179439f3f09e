"""The meaning of ascp's messages.

``ascp`` exits with 0 or 1 whatever happened; the kind of a failure is only in its text, on
either stream or in its log file. The table below lists all known messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from idrstream.errors import (
    ConfigError,
    DownloadError,
    IdrStreamError,
    MissingToolError,
    StorageError,
    TransientDownloadError,
)

Retry = Literal["yes", "once", "never"]


@dataclass(frozen=True, slots=True)
class AscpFailure:
    """A class of failure of ascp.

    Attributes
    ----------
    kind : str
        Short name, for the log and for the tests.
    retry : {"yes", "once", "never"}
        Whether the same call may succeed later.
    error : type
        The error to raise when no attempt is left.
    advice : str
        How to solve it; may be empty.
    """

    kind: str
    retry: Retry
    error: type[IdrStreamError]
    advice: str = ""


_NOT_INSTALLED = AscpFailure(
    "not installed",
    "never",
    MissingToolError,
    "install IBM Aspera Connect or the ascp command line client and give the path of ascp",
)
_UNKNOWN = AscpFailure("unknown", "yes", TransientDownloadError)

# First match wins: fatal failures come before those worth a retry.
_FAILURES: tuple[tuple[str, AscpFailure], ...] = (
    (
        r"failed to authenticate|authentication failed|permission denied \(publickey",
        AscpFailure(
            "authentication",
            "once",
            DownloadError,
            "use a key that the server accepts: aspera_bypass_rsa.pem; the old DSA key is "
            "refused by newer servers",
        ),
    ),
    (
        r"host key|remote host is not who we expected",
        AscpFailure("host key", "never", DownloadError, "check the host name"),
    ),
    (
        r"no such file or directory|file not found|path not found",
        AscpFailure("no such file", "never", DownloadError),
    ),
    (
        r"no space left|disk full|quota exceeded|disk write",
        AscpFailure("disk", "never", StorageError, "free space on the disk or move tmp_dir"),
    ),
    (
        r"licen[sc]e",
        AscpFailure("licence", "never", ConfigError, "ascp needs a valid licence file"),
    ),
    (
        r"(?:unrecognized|unknown|invalid) option|^usage:",
        AscpFailure(
            "usage", "never", ConfigError, "this ascp does not know an option; install a newer one"
        ),
    ),
    (r"permission denied|access denied", AscpFailure("permission", "never", DownloadError)),
    (
        r"failed to open tcp connection for ssh",
        AscpFailure(
            "tcp blocked",
            "yes",
            TransientDownloadError,
            "outgoing TCP port 33001 may be blocked by a firewall",
        ),
    ),
    (
        r"errcode=(?:14|15|44)\b|client unable to connect to server|udp session initiation",
        AscpFailure(
            "udp blocked",
            "yes",
            TransientDownloadError,
            "UDP port 33001 may be blocked by a firewall",
        ),
    ),
    (
        r"name or service not known|resolve host|resolve address|unknown host|name resolution",
        AscpFailure(
            "name not found",
            "yes",
            TransientDownloadError,
            "check how aspera_host is spelled, and whether this machine has a network and DNS",
        ),
    ),
    (
        r"connection refused",
        AscpFailure(
            "refused",
            "yes",
            TransientDownloadError,
            "check aspera_host and aspera_port; the server may be down or behind a firewall",
        ),
    ),
    (
        r"timeout|timed out|connection reset|peer aborted|data transfer stalled",
        AscpFailure("connection", "yes", TransientDownloadError, "try again later"),
    ),
)
_COMPILED = tuple((re.compile(text, re.I | re.M), failure) for text, failure in _FAILURES)
_STOPPED = re.compile(r"session stop\s+\(error|^error:|server aborted session", re.I | re.M)


def classify(text: str, returncode: int) -> AscpFailure | None:
    """Return how a finished ascp failed.

    Parameters
    ----------
    text : str
        All its output: both streams and the log file.
    returncode : int
        Its exit status, negative for a signal.

    Returns
    -------
    AscpFailure or None
        None if neither the exit status nor the text indicates a failure.
    """
    if returncode == 127:
        return _NOT_INSTALLED
    if returncode == 0 and _STOPPED.search(text) is None:
        return None
    for pattern, failure in _COMPILED:
        if pattern.search(text):
            return failure
    return _UNKNOWN


def last_words(text: str, limit: int = 300) -> str:
    """Return the end of a text on one line, for an error message."""
    words = " ".join(text.split())
    return words if len(words) <= limit else f"... {words[-limit:]}"
