"""The queue systems by name."""

from __future__ import annotations

from collections.abc import Mapping

from idrstream.cluster.pbs_lsf import Lsf, Pbs
from idrstream.cluster.queues import QueueSystem
from idrstream.cluster.slurm import Slurm
from idrstream.errors import ConfigError

SYSTEMS: Mapping[str, QueueSystem] = {one.name: one for one in (Slurm(), Pbs(), Lsf())}


def queue_system(name: str) -> QueueSystem:
    """Return a queue system.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    if name not in SYSTEMS:
        msg = f"queue_system {name!r} is none of {', '.join(SYSTEMS)}"
        raise ConfigError(msg)
    return SYSTEMS[name]
