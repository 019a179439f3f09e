"""How much of a movie is downloaded, and the traffic it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FetchMode = Literal["auto", "frames", "file"]
"""Whichever moves fewer bytes, only the needed frames, or the whole file."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Traffic of a download.

    Attributes
    ----------
    bytes_moved : int
        Bytes of content received.
    requests : int
        Requests made.
    """

    bytes_moved: int = 0
    requests: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        """Return the sum."""
        return Traffic(self.bytes_moved + other.bytes_moved, self.requests + other.requests)
