"""A worker: a process that holds the models and does pieces of a stream's work.

    python -m idrstream.stream.worker STREAM.json DIGEST --name NAME            # asked by a pipe
    python -m idrstream.stream.worker STREAM.json DIGEST --work WORK.json ...   # one job

It writes into folders of its own, and its results into the inbox of the output folder; it opens
no journal, takes no lock of the stream and gives no final names.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.cluster.attempt import AttemptWriter, plate_attempt
from idrstream.cluster.beats import BEAT_S, WorkerState, state_path
from idrstream.cluster.layout import ClusterFolder, StreamFile
from idrstream.cluster.processes import DEADLINE
from idrstream.cluster.receipts import Receipt
from idrstream.cluster.work import EndKind, Work, identity_key
from idrstream.errors import ClusterError, ImageError, MovieError, UserError, storage_error
from idrstream.files import own_folder
from idrstream.folder.versions import versions
from idrstream.records import Batch
from idrstream.screen import Plan
from idrstream.stream.worker_parts import (
    host_name,
    job_here,
    make_worker_stream,
    memory,
    mirror_models,
    plate_models,
)
from idrstream.workers.messages import watched_requests, write_message

if TYPE_CHECKING:
    from idrstream.run.session import Session
    from idrstream.stream.stream import IdrStream

_MARGIN = 1.25
_LEAVE_S = 30.0
OK, REFUSED = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _TimedPlan(Plan):
    """A plan of which no batch begins that cannot end in time."""

    worker: Worker

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the batches as long as there is time for another."""
        for number in self.numbers:
            if not self.worker.has_time():
                return
            yield self.batch(number)


class Worker:
    """Does pieces of work, with models that are loaded once.

    Parameters
    ----------
    stream_file : StreamFile
        What it needs to know.
    name : str
        Its name, unique.
    job : str
        Number of its job in a queue system.
    deadline : float, optional
        When it must have left, in seconds since 1970.
    """

    def __init__(
        self, stream_file: StreamFile, name: str, *, job: str = "", deadline: float | None = None
    ) -> None:
        self._file = stream_file
        self._deadline = deadline
        self._folder = ClusterFolder(Path(stream_file.output))
        self.output = self._folder.staging / name / "out"
        tmp = Path(os.path.expandvars(stream_file.tmp_dir)) / "idrstream_workers" / name
        self.state = WorkerState(
            worker=name, host=host_name(), pid=os.getpid(), job=job, started=time.time(),
            threads=int(os.environ.get("OMP_NUM_THREADS") or 0),
            gpus=os.environ.get("CUDA_VISIBLE_DEVICES", ""), tmp=str(tmp),
        )  # fmt: skip
        self._tmp = tmp
        self._held = ExitStack()
        self._session: Session | None = None
        self._stream: IdrStream | None = None
        self._versions: dict[str, str] = {}
        self.ended = "left"
        self._is_gone = False
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._writer = AttemptWriter(
            self.output, self._folder.inbox, stream_file.identity, self._receipt, self._changed
        )

    def __enter__(self) -> Worker:
        """Tell that it is there."""
        self._note()
        threading.Thread(target=self._beat, name="idrstream-beat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Release everything and delete what is its own."""
        self._end.set()
        self._held.close()
        shutil.rmtree(self.output.parent, ignore_errors=True)
        shutil.rmtree(self._tmp, ignore_errors=True)
        with suppress(OSError):
            self._tmp.parent.rmdir()
        if self.ended != "left":  # a job, of which people ask later
            self._note(todo=(), batches=(), ended=self.ended)
            return
        with self._lock, suppress(OSError):
            self._is_gone = True
            state_path(self._folder, self.state.worker).unlink(missing_ok=True)

    def do(self, work: Work, *, skip: frozenset[int] = frozenset()) -> tuple[EndKind, str]:
        """Do a piece of work; return how it ended.

        Parameters
        ----------
        work : Work
            The work.
        skip : frozenset of int
            Batches that have a result already.
        """
        try:
            batches = {n: tasks for n, tasks in work.batches.items() if n not in skip}
            self._writer.begin()
            self._writer.done.extend(skip)
            self._note(work=work.id, todo=tuple(work.batches), batches=(), done=tuple(skip))
            session = self._loaded()
            mirror_models(Path(self._file.output), self.output, work)
            if work.plate:
                return self._fit(session, work)
            return self._run(session, replace(work, batches=batches))
        except UserError as error:
            return EndKind.REFUSED, f"{type(error).__name__}: {error}"
        except (KeyboardInterrupt, SystemExit):
            return EndKind.RETURNED, "asked to leave"
        except Exception as error:  # told to the coordinator; the process goes on
            self._log().exception("unforeseen error in worker %s", self.state.worker)
            return EndKind.REFUSED, f"unforeseen {type(error).__name__}: {error}"
        finally:
            self._note(batches=())

    def has_time(self) -> bool:
        """Return whether a batch that begins now will probably end in time."""
        if self._deadline is None:
            return True
        need_s = _MARGIN * self._writer.longest_s + _LEAVE_S
        return self._deadline - time.time() > need_s

    def _run(self, session: Session, work: Work) -> tuple[EndKind, str]:
        tasks = tuple(task for content in work.batches.values() for task in content)
        size = max((len(content) for content in work.batches.values()), default=1)
        plan = _TimedPlan(
            tasks=tasks, batch_size=size, numbers=tuple(work.batches), arranged=work.batches,
            worker=self,
        )  # fmt: skip
        failed = {plate: MovieError(why) for plate, why in work.failed_plates.items()}
        tables = self.output / self._file.tables if self._file.tables else self.output
        tables.mkdir(parents=True, exist_ok=True)
        result = session.runner([self._writer], {}, tables, failed_plates=failed).run(plan)
        if result.remaining_batches:
            return EndKind.RETURNED, "no time for another batch"
        return EndKind.FINISHED, ""

    def _fit(self, session: Session, work: Work) -> tuple[EndKind, str]:
        """Fit the illumination model of a plate."""
        from idrstream.schedule.steps.plates import fit_alone

        begun, error = time.time(), ""
        stages = session.stages({}, self.output)
        try:
            fit_alone(stages, work.plate, work.tasks, self._tmp / "fit")
        except Exception as problem:  # as in a stream of one machine: it has no model
            cause = storage_error(problem) or problem
            if isinstance(cause, UserError):
                raise cause from problem
            if not isinstance(cause, ImageError):
                self._log().exception("unforeseen error in the illumination of %s", work.plate)
            error = str(cause)
        paths = plate_models(self.output, work.plate)
        receipt = replace(
            self._receipt(), plate=work.plate, key=self._file.identity, error=error, begun=begun,
            ended=time.time(),
        )  # fmt: skip
        names = {} if error else {p.relative_to(self.output).as_posix(): p for p in paths}
        plate_attempt(self.output, self._folder.inbox, names, receipt)
        return EndKind.FINISHED, ""

    def _loaded(self) -> Session:
        """Return the session with its models; they are made and loaded the first time."""
        if self._session is not None:
            return self._session
        from idrstream.config import RunOptions, checked
        from idrstream.run.components import identity_of
        from idrstream.run.extracting import for_extraction
        from idrstream.run.session import Session

        begun = time.monotonic()
        log = self._folder.logs / f"{self.state.worker}.log"
        stream = make_worker_stream(self._file, self.output, self._tmp, log)
        self._held.enter_context(closing(stream))
        options = checked(RunOptions, dict(self._file.options), "the options of a worker")
        components, paths = stream.components(extract=options.extract), stream.paths()
        components = for_extraction(components, options)
        paths = replace(
            paths, plate_wells=self._file.plate_wells,
            complete_timeout_s=self._file.complete_timeout_s,
        )  # fmt: skip
        components.check_channels()
        key = identity_key(identity_of(paths, components, options))
        if key != self._file.identity:
            msg = (
                f"the models or settings on {self.state.host} are not those of the stream: the "
                "same idrstream and the same model files are needed everywhere"
            )
            raise ClusterError(msg)
        session = Session(paths, components, options)
        self._held.enter_context(own_folder(paths.work_dir))
        self._held.enter_context(session.ready())
        self._versions = versions() | components.engine.versions()
        self._note(loading_s=time.monotonic() - begun)
        self._session = session
        return session

    def _receipt(self) -> Receipt:
        state = self.state
        return Receipt(
            worker=state.worker, host=state.host, job=state.job, loading_s=state.loading_s,
            peak_bytes=memory()[1], versions=self._versions,
        )  # fmt: skip

    def _changed(self, batches: tuple[int, ...], done: tuple[int, ...]) -> None:
        self._note(batches=batches, done=done, longest_s=self._writer.longest_s)

    def _note(self, **changes: Any) -> None:
        """Write what it is doing; errors with that file do not harm the work."""
        now, peak = memory()
        with self._lock, suppress(OSError):
            if self._is_gone:
                return
            self.state = replace(self.state, memory_bytes=now, peak_bytes=peak, **changes)
            self.state.save(self._folder)

    def _beat(self) -> None:
        while not self._end.wait(BEAT_S):
            self._note()

    def _log(self) -> Any:
        import logging

        return logging.getLogger("idrstream.stream.worker")


def main(arguments: list[str] | None = None) -> int:
    """Run a worker; return its exit code."""
    parser = argparse.ArgumentParser(prog="idrstream.stream.worker", description=__doc__)
    parser.add_argument("stream_file", type=Path)
    parser.add_argument("digest")
    parser.add_argument("--name", required=True)
    given = parser.parse_args(arguments)
    out = os.fdopen(os.dup(1), "wb")  # what libraries print must not get among the replies
    os.dup2(2, 1)
    worker: Worker | None = None
    with ExitStack() as held:
        for request in watched_requests(sys.stdin.buffer):
            try:
                if worker is None:
                    file = StreamFile.load(given.stream_file, given.digest)
                    deadline = float(os.environ.get(DEADLINE) or 0) or None
                    worker = held.enter_context(
                        Worker(file, given.name, job=job_here(), deadline=deadline)
                    )
                kind, message = worker.do(Work.of_json(request))
            except UserError as error:
                kind, message = EndKind.REFUSED, str(error)
            write_message(out, {"kind": kind, "message": message})
            if kind is EndKind.RETURNED and worker is not None and worker.has_time():
                return OK  # it was asked to leave
    return OK


if __name__ == "__main__":
    sys.exit(main())
