"""Maven coordinates, which name an ImageJ to download."""

from __future__ import annotations

import re

_COORDINATE = re.compile(r"[\w.-]+:[\w.-]+(:[\w.-]+)?(\+[\w.:-]+)*")


def is_coordinate(text: str) -> bool:
    """Return whether a text is a Maven coordinate, such as ``sc.fiji:fiji:2.14.0``."""
    return _COORDINATE.fullmatch(text) is not None
