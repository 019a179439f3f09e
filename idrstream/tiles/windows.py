"""Windows that a network sees of a large image: the same ones whatever the tiles. Pure functions.

A network looks at squares of an image that was enlarged or reduced by `scale`. These windows are
fixed to the image's upper left corner: they begin every 256 of its pixels and overlap by 32. A tile
that holds all windows around an object finds it as any other tile does, and as it is found in the
whole image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SIDE_PX = 288
STEP_PX = 256
_LEAD_PX = 16  # of the first window lie before the image: the network is less sure at a border
_BEHIND_PX = 8  # the last window ends at least so far behind the image


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows along one axis of an image.

    Attributes
    ----------
    length : int
        Pixels of the image along the axis.
    scale : float
        Pixels that the network sees for each of them.
    """

    length: int
    scale: float

    @property
    def seen(self) -> int:
        """How many pixels the network sees along the axis."""
        return max(1, int(self.length * self.scale))

    @property
    def count(self) -> int:
        """How many windows cover the axis."""
        return 1 + max(0, math.ceil((self.seen + _BEHIND_PX + _LEAD_PX - SIDE_PX) / STEP_PX))

    def start(self, window: int) -> int:
        """Return where a window begins, in pixels that the network sees; it has `SIDE_PX`."""
        return STEP_PX * window - _LEAD_PX

    def middle(self, first: int, last: int) -> int:
        """Return the middle of some windows, in pixels of the image."""
        return round((self.start(first) + self.start(last) + SIDE_PX) / 2 / self.scale)

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Return the pixels of the image that some windows are made of.

        One more at each end than their area: they are interpolated.
        """
        start = math.floor(self.start(first) / self.scale) - 1
        stop = math.ceil((self.start(last) + SIDE_PX) / self.scale) + 1
        whole = last == self.count - 1
        return (0 if first == 0 else max(0, start)), (
            self.length if whole else min(stop, self.length)
        )

    def within(self, start: int, stop: int) -> tuple[int, int]:
        """Return the first and last window that a part of the image is looked at through.

        Of a part that is no `span` the outer ones are not whole.
        """
        rounded = math.ceil(2 * self.scale) + 1
        first = (math.floor(start * self.scale) + _LEAD_PX + rounded) // STEP_PX
        last = math.ceil((stop * self.scale - rounded + _LEAD_PX - SIDE_PX) / STEP_PX)
        first = min(max(first, 0), self.count - 1)
        if stop >= self.length:
            last = self.count - 1
        return first, min(max(last, first), self.count - 1)
