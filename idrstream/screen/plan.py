"""The plan of a stream: the tasks of a table, cut into batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from idrstream.records import Batch, ImageTask


@dataclass(frozen=True, slots=True)
class Plan:
    """Which images a stream processes, in which batches.

    Batch *n* holds the tasks ``n * batch_size`` and following, whatever subset of the batches
    is run, so that a number always names the same images of a table. In an output folder whose
    table grew or was replanned the batches are those in `arranged` instead.

    Attributes
    ----------
    tasks : tuple of ImageTask
        All images of the table.
    batch_size : int
        Images per batch.
    numbers : tuple of int
        The batches to run, ascending.
    arranged : Mapping[int, tuple of ImageTask], optional
        Every batch by number, where they are not cut from the table in order.
    """

    tasks: tuple[ImageTask, ...]
    batch_size: int
    numbers: tuple[int, ...]
    arranged: Mapping[int, tuple[ImageTask, ...]] | None = None

    @property
    def batch_count(self) -> int:
        """Number of batches in the whole table."""
        if self.arranged is not None:
            return len(self.arranged)
        return math.ceil(len(self.tasks) / self.batch_size)

    def batch(self, number: int) -> Batch:
        """Return one batch of the table."""
        if self.arranged is not None:
            return Batch(number=number, tasks=self.arranged[number])
        first = number * self.batch_size
        return Batch(number=number, tasks=self.tasks[first : first + self.batch_size])

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the batches to run."""
        return (self.batch(number) for number in self.numbers)

    def __len__(self) -> int:
        """Return the number of batches to run."""
        return len(self.numbers)

    @property
    def image_count(self) -> int:
        """Number of images in the batches to run."""
        return sum(len(batch.tasks) for batch in self)
