"""Times as text."""

from __future__ import annotations

import time


def moment(seconds: float) -> str:
    """Return a time as text, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
