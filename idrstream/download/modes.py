"""How much of a movie is brought, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FetchMode = Literal["auto", "frames", "file"]
"""What is brought of a movie: what moves fewer bytes, the wanted frames, or the whole file."""

FETCH_MODES: tuple[FetchMode, ...] = ("auto", "frames", "file")
"""All of `FetchMode`."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What it took.

    Attributes
    ----------
    bytes_moved : int
        Bytes of content that came over the wire.
    requests : int
        Requests made.
    """

    bytes_moved: int = 0
    requests: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        """Return both together."""
        return Traffic(self.bytes_moved + other.bytes_moved, self.requests + other.requests)
