"""Plans of whole tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from idrstream.records import ImageTask
from idrstream.screen import Plan


def plan_of(
    tasks: Sequence[ImageTask], batch_size: int, numbers: Sequence[int] | None = None
) -> Plan:
    """Return the plan of all batches of a table, or of some."""
    if numbers is None:
        numbers = range(math.ceil(len(tasks) / batch_size))
    return Plan(tuple(tasks), batch_size, tuple(numbers))
