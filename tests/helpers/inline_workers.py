"""An executor whose workers are threads of this process: real workers without their start."""

from __future__ import annotations

import threading
import uuid
from queue import Empty, SimpleQueue

from idrstream.cluster import Ended, Executor
from idrstream.cluster.layout import StreamFile, file_digest
from idrstream.stream.worker import Worker


def make_worker(stream_file, **options):
    file = StreamFile.load(stream_file, file_digest(stream_file))
    return Worker(file, f"inline-{uuid.uuid4().hex[:8]}", **options)


class InlineWorkers(Executor):
    def __init__(self, workers=1, recipe=None, **options):
        self.workers = workers
        self.recipe = recipe
        self.options = options
        self.idle = []
        self.busy = 0
        self.given = []
        self.ended = SimpleQueue()

    def capacity(self):
        return self.workers - self.busy

    def give(self, work, stream_file):
        self.busy += 1
        self.given.append(work)
        worker = self.idle.pop() if self.idle else make_worker(stream_file, **self.options)
        threading.Thread(target=self._do, args=(worker, work), daemon=True).start()

    def _do(self, worker, work):
        kind, message = worker.do(work)
        self.ended.put((worker, Ended(work, kind, worker.state.worker, message)))

    def wait(self, timeout_s):
        try:
            worker, ended = self.ended.get(timeout=timeout_s)
        except Empty:
            return []
        self.busy -= 1
        self.idle.append(worker)
        return [ended]

    def close(self):
        while self.busy:
            self.wait(1)
        while self.idle:
            self.idle.pop().__exit__()
