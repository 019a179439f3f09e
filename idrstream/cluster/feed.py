"""Which piece of work is given next: lazily, plates first, suspects alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from idrstream.cluster.work import Work
from idrstream.records import Batch
from idrstream.schedule.steps.plates import tasks_for_model
from idrstream.screen import Plan

_LOOK_AHEAD = 4096  # batches that may wait for a plate while others are looked for


@dataclass(slots=True)
class Plates:
    """Illumination models of plates: who has one, whose is being fitted, who gets none.

    Attributes
    ----------
    needs_model : callable
        Whether a plate has no model yet and needs one.
    ready : set of str
        Plates that need nothing.
    failed : dict
        Why a plate has no model.
    due, fitting : list and set of str
        Plates to fit, and those that a worker fits.
    waiting : dict
        Batches that wait, by plate.
    """

    needs_model: Callable[[str], bool]
    ready: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    due: deque[str] = field(default_factory=deque)
    fitting: set[str] = field(default_factory=set)
    waiting: dict[str, list[int]] = field(default_factory=dict)

    def blocks(self, batch: Batch) -> bool:
        """Return whether a batch has to wait for a model; it is remembered then."""
        for plate in dict.fromkeys(task.plate for task in batch.tasks):
            if plate in self.ready or plate in self.failed:
                continue
            if plate not in self.fitting and plate not in self.due:
                if not self.needs_model(plate):
                    self.ready.add(plate)
                    continue
                self.due.append(plate)
            self.waiting.setdefault(plate, []).append(batch.number)
            return True
        return False

    def settled(self, plate: str, why_not: str = "") -> list[int]:
        """Note that a plate has its model, or why it gets none; return who waited."""
        self.fitting.discard(plate)
        if plate in self.due:
            self.due.remove(plate)
        if why_not:
            self.failed[plate] = why_not
        else:
            self.ready.add(plate)
        return self.waiting.pop(plate, [])

    @property
    def n_waiting(self) -> int:
        """Number of batches that wait."""
        return sum(map(len, self.waiting.values()))


class Feed:
    """Cuts a plan into pieces of work, one after the other.

    Parameters
    ----------
    plan : Plan
        The batches to run.
    plates : Plates
        Which plates need a model first.
    max_wells : int
        A model is fitted on at most this many wells.
    """

    def __init__(self, plan: Plan, plates: Plates, max_wells: int) -> None:
        self.plates = plates
        self.n_left = len(plan)
        self._plan = plan
        self._max_wells = max_wells
        self._planned = frozenset(plan.numbers)
        self._fresh: Iterator[int] = iter(plan.numbers)
        self._n_fresh = len(plan)
        self._back: deque[int] = deque()  # given back, or no longer blocked
        self._alone: deque[int] = deque()  # workers died at them
        self._finished: set[int] = set()
        self._held: set[int] = set()  # somebody else's, until they are put back

    def is_open(self, number: int) -> bool:
        """Return whether a batch is of the plan and has no result."""
        return number in self._planned and number not in self._finished

    def finish(self, number: int) -> None:
        """Note that a batch has a result."""
        if self.is_open(number):
            self._finished.add(number)
            self._held.discard(number)
            self.n_left -= 1

    def hold(self, numbers: Iterable[int]) -> None:
        """Give these batches to nobody: a worker of an earlier coordinator is at them."""
        self._held.update(filter(self.is_open, numbers))

    def put_back(self, numbers: Iterable[int]) -> None:
        """Give batches that have no result to somebody else, soon."""
        opened = [number for number in numbers if self.is_open(number)]
        self._held.difference_update(opened)
        self._back.extendleft(reversed(opened))

    def put_alone(self, number: int) -> None:
        """Give a batch to somebody else, without others."""
        if self.is_open(number):
            self._alone.append(number)

    def take(self, size: int) -> Work | None:
        """Return the next piece of work of at most so many batches; None if there is none now."""
        while self._alone:
            number = self._alone.popleft()
            if self.is_open(number):
                return self._work([number])
        if self.plates.due:
            return self._fit()
        numbers: list[int] = []
        while len(numbers) < size and self.plates.n_waiting < _LOOK_AHEAD:
            following = self._next()
            if following is None:
                break
            if not self.plates.blocks(self._plan.batch(following)):
                numbers.append(following)
        if numbers:
            return self._work(numbers)
        return self._fit() if self.plates.due else None

    def settle_plate(self, plate: str, why_not: str = "") -> None:
        """Note that a plate has its model, or why it gets none."""
        self._back.extend(self.plates.settled(plate, why_not))

    def refit(self, plate: str) -> None:
        """Fit a plate again: its worker ended before."""
        if plate in self.plates.fitting:
            self.plates.fitting.discard(plate)
            self.plates.due.append(plate)

    def _next(self) -> int | None:
        for source in (self._drain(), self._fresh):
            for number in source:
                if self.is_open(number) and number not in self._held:
                    return number
        return None

    def _drain(self) -> Iterator[int]:
        while self._back:
            yield self._back.popleft()

    def _work(self, numbers: list[int]) -> Work:
        batches = {number: self._plan.batch(number).tasks for number in numbers}
        plates = {task.plate for tasks in batches.values() for task in tasks}
        failed = {plate: why for plate, why in self.plates.failed.items() if plate in plates}
        return Work(batches=batches, failed_plates=failed)

    def _fit(self) -> Work:
        plate = self.plates.due.popleft()
        self.plates.fitting.add(plate)
        return Work(plate=plate, tasks=tasks_for_model(self._plan, plate, self._max_wells))
