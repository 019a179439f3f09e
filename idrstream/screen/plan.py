"""The plan of a stream: the tasks of a table, cut into batches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idrstream.errors import ConfigError
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

    @classmethod
    def of(
        cls,
        tasks: tuple[ImageTask, ...],
        *,
        batch_size: int = 10,
        start_batch: int = 0,
        batch_nums: str | Iterable[int] = "all",
    ) -> Plan:
        """Cut tasks into batches and choose those to run.

        Parameters
        ----------
        tasks : tuple of ImageTask
            All images of the table.
        batch_size : int
            Images per batch, at least 1.
        start_batch : int
            First batch to run, counted from 0.
        batch_nums : ``"all"`` or iterable of int
            Batches to run; those below `start_batch` are left out.

        Raises
        ------
        ConfigError
            If a value is out of range; the message names the option and the range.
        """
        if batch_size < 1:
            msg = f"batch_size is {batch_size}; it must be at least 1"
            raise ConfigError(msg)
        count = math.ceil(len(tasks) / batch_size)
        if not 0 <= start_batch < count:
            msg = f"start_batch is {start_batch}, but the table has the batches 0 to {count - 1}"
            raise ConfigError(msg)
        if isinstance(batch_nums, str):
            if batch_nums != "all":
                msg = f'batch_nums is {batch_nums!r}; give "all" or a list of batch numbers'
                raise ConfigError(msg)
            wanted = set(range(count))
        else:
            wanted = {int(number) for number in batch_nums}
        beyond = sorted(number for number in wanted if not 0 <= number < count)
        if beyond:
            msg = f"batch_nums has {beyond}, but the table has the batches 0 to {count - 1}"
            raise ConfigError(msg)
        numbers = tuple(sorted(number for number in wanted if number >= start_batch))
        return cls(tasks=tasks, batch_size=batch_size, numbers=numbers)

    @classmethod
    def from_idr(
        cls,
        plates_tsv: Path | str,
        annotation_csv: Path | str | None = None,
        screen_files: Path | str | Iterable[Path | str] = (),
        *,
        batch_size: int = 10,
        **choice: Any,
    ) -> Plan:
        """Plan a stream over a study of the archive, from the study's own files.

        Parameters
        ----------
        plates_tsv, annotation_csv, screen_files
            The study's files; see `table_from_idr`, which gives the same images as a table to
            look at and to hand to ``run_stream``.
        batch_size : int
            Images per batch.
        **choice
            Frames, filters and the other options of `table_from_idr`.

        Returns
        -------
        Plan
            Of all batches.

        Raises
        ------
        TableError, ConfigError
            Naming file, line and column, or the option.
        """
        from idrstream.screen.study.idr import table_from_idr
        from idrstream.screen.tasks import tasks_from_table

        table = table_from_idr(plates_tsv, annotation_csv, screen_files, **choice)
        return cls.of(tasks_from_table(table), batch_size=batch_size)

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
