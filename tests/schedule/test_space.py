"""Reservations cover what is on the disk and never exceed the limit, whatever movies need."""

from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from idrstream.config import RunOptions
from idrstream.records import Batch, ImageTask
from idrstream.schedule.context import Context
from idrstream.schedule.disk.space import Space
from idrstream.schedule.lanes import Outcome
from idrstream.schedule.options import choose_sizes
from idrstream.schedule.stages import DiskNeed, Stages
from idrstream.schedule.state import BatchState, FrameState
from idrstream.screen import well_name

FRAMES = (1, 2)
FRAME_BYTES = 40_000


class Profiling:
    """Frames need up to twice what is expected of them."""

    def expected_need(self, task):
        return DiskNeed(len(task.frames) * FRAME_BYTES // 2, 0)

    def disk_need(self, frame, objects):
        return DiskNeed(frame, frame // 2)


class InstantLane:
    has_capacity = True

    def submit(self, call, done):
        done(Outcome(call(), None, 0.0))


def make_space(limit, sizes):
    downloader = SimpleNamespace(size=lambda task: sizes[task.row], interrupt=lambda: None)
    stages = Stages(downloader, None, None, None, [])
    lanes = {"size": InstantLane()}
    context = Context(stages, choose_sizes(RunOptions()), SimpleQueue(), lanes)
    return context, Space(context, Path("downloads").absolute(), limit)


class SpaceMachine(RuleBasedStateMachine):
    """Images are downloaded, read, segmented and written in any order that the space allows."""

    @initialize(
        limit=st.none() | st.integers(150_000, 600_000),
        sizes=st.lists(st.none() | st.integers(1, 200_000), min_size=1, max_size=8),
        batch_size=st.integers(1, 3),
    )
    def start(self, limit, sizes, batch_size):
        self.limit = limit
        self.context, self.space = make_space(limit, sizes)
        tasks = [
            ImageTask("P", well_name(row + 1), row + 1, FRAMES, row=row)
            for row in range(len(sizes))
        ]
        for number, first in enumerate(range(0, len(tasks), batch_size)):
            batch = Batch(number, tuple(tasks[first : first + batch_size]))
            self.context.batches.append(BatchState(batch, number, number, Profiling()))
        self.all = [image for batch in self.context.batches for image in batch.images]
        self.downloading, self.downloaded, self.read = [], [], []
        self.on_disk = dict.fromkeys(self.all, 0)

    def pick(self, data, items):
        return items.pop(data.draw(st.integers(0, len(items) - 1)))

    @rule(data=st.data())
    def download_the_next(self, data):
        batches = [batch for batch in self.context.batches if batch.waiting]
        if batches:
            batch = data.draw(st.sampled_from(batches))
            if self.space.reserve_movie(batch.waiting[0]):
                self.downloading.append(batch.waiting.popleft())

    @precondition(lambda self: self.downloading)
    @rule(data=st.data(), share=st.floats(0, 1))
    def a_movie_arrives(self, data, share):
        image = self.pick(data, self.downloading)
        most = self.space.budget.held(image) if self.limit is not None else 200_000
        self.on_disk[image] = int(share * (most if image.size_bytes is None else image.size_bytes))
        self.space.movie_arrived(image, self.on_disk[image])
        self.downloaded.append(image)

    @precondition(lambda self: self.downloading)
    @rule(data=st.data())
    def a_download_fails(self, data):
        image = self.pick(data, self.downloading)
        image.n_pending_frames = 0
        image.finished = True
        self.space.release_movie(image)

    @precondition(lambda self: self.downloaded)
    @rule(data=st.data())
    def a_movie_is_read_and_deleted(self, data):
        image = self.pick(data, self.downloaded)
        self.on_disk[image] = 0
        self.space.release_movie(image)
        self.read.append(image)

    @precondition(lambda self: self.read)
    @rule(data=st.data(), size=st.integers(1, FRAME_BYTES))
    def a_frame_is_profiled(self, data, size):
        image = data.draw(st.sampled_from(self.read))
        state = FrameState(image, 0, size)
        state.objects = ()
        if self.space.reserve_frame(state):
            self.on_disk[image] += size + size // 2
            self.the_budget_holds()
            self.space.settle_frame(state)
            self.on_disk[image] -= size // 2
            image.n_pending_frames -= 1
        if not image.n_pending_frames:
            image.finished = True
            self.read.remove(image)
            self.space.trim(image)

    @rule(data=st.data())
    def a_batch_ends_or_is_postponed(self, data):
        idle = [
            batch for batch in self.context.batches
            if not {*batch.images} & {*self.downloading, *self.downloaded}
        ]  # fmt: skip
        if idle:
            batch = data.draw(st.sampled_from(idle))
            self.context.batches.remove(batch)
            self.read = [image for image in self.read if image.batch is not batch]
            self.on_disk.update(dict.fromkeys(batch.images, 0))
            self.space.release_batch(batch)

    @invariant()
    def the_budget_holds(self):
        if hasattr(self, "space"):
            budget = self.space.budget
            assert all(size <= budget.held(image) for image, size in self.on_disk.items())
            assert self.limit is None or budget.used_bytes <= self.limit

    def teardown(self):
        if hasattr(self, "space"):
            for batch in self.context.batches:
                self.space.release_batch(batch)
            assert self.space.budget.used_bytes == 0
            assert self.limit is None or self.space.budget.peak_bytes <= self.limit


TestSpace = SpaceMachine.TestCase
