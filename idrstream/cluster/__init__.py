"""Many machines: executors, workers' results, and the coordinator that takes them."""

from idrstream.cluster.processes import Processes
from idrstream.cluster.work import Ended, EndKind, Executor, Recipe, Work

__all__ = ["EndKind", "Ended", "Executor", "Processes", "Recipe", "Work"]
