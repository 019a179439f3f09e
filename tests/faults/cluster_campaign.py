"""Kills of workers and coordinators: is every batch done once, with the right bytes?

    python tests/faults/cluster_campaign.py --out benchmarks/results/cluster_faults.json

Each trial runs a stream of a small simulated screen on two workers, kills (-9) some of them, the
coordinator or the scheduler of Dask, at one of their transitions (before or after a flush, rename,
link or deletion; before, in or after an event's transaction in the journal) or at a random time,
lets other coordinators go on until all is done, and compares the output folder with that of
an undisturbed stream on one machine: the same bytes, nothing left in inbox, staging or ``tmp_dir``,
no batch begun again after it was published, every published file proven. Workers, receipts,
movies, tables and journal are real; see `quick_parts`. Everything is drawn from the seed.

Processes are forked from ones that have imported everything, so that a kill costs no start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

import campaign
import distributed
import quick_parts

import idrstream.stream.worker as worker_module
from idrstream.cluster import Ended, EndKind, Executor, Recipe
from idrstream.cluster.dask_clusters import connect
from idrstream.cluster.dasks import Dask
from idrstream.cluster.layout import ClusterFolder, file_digest
from idrstream.folder.journal.journal import Journal
from idrstream.workers.messages import PREFIX, write_message

WORKERS = 2
KILLED = "killed.txt"  # numbers of the workers that were killed
MOMENTS = ("fsync", "rename", "replace", "link", "unlink", "rmdir")
NOTE = "note"  # an event that the journal records


class Zygote:
    """A process of one thread that has imported everything, and forks workers when asked."""

    def __init__(self):
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork():
            theirs.close()
            return
        self.ours.close()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            try:
                message, fds, _, _ = socket.recv_fds(theirs, 1 << 16, 1)
            except OSError:
                message = b""
            if not message:  # who asks is gone
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                theirs.close()
                _become(json.loads(message), fds[0])
            os.close(fds[0])
            theirs.send(f"{json.loads(message)['asker']} {pid}".encode())

    def fork(self, asked, fd=0):
        asker = uuid.uuid4().hex
        socket.send_fds(self.ours, [json.dumps({**asked, "asker": asker}).encode()], [fd])
        while True:
            whose, pid = self.ours.recv(100).decode().split()
            if whose == asker:  # others are of a coordinator that was killed before it read them
                return int(pid)


def _become(asked, fd):
    """Do in a forked process what was asked."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        with Path(asked["told"]).open("ab") as told:
            os.dup2(told.fileno(), 2)
        if asked["role"] == "worker":
            code = _be_worker(asked, fd)
        else:
            asyncio.run(_be_of_dask(asked))
    finally:
        os._exit(code)


def _be_worker(asked, fd):
    os.dup2(fd, 0)
    os.dup2(fd, 1)
    os.close(fd)
    sys.stdin = os.fdopen(0, "rb", closefd=False)
    sys.stdin.buffer = sys.stdin
    place = Path(asked["told"]).parent
    if asked["calls"]:
        tell_calls(place / f"calls-worker-{os.getpid()}")
    if asked["die"]:
        die_at(*asked["die"], note=place / KILLED)
    return worker_module.main([asked["stream"], asked["digest"], "--name", asked["name"]])


async def _be_of_dask(asked):
    kind = {"scheduler": distributed.Scheduler, "dask worker": distributed.Worker}[asked["role"]]
    here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    if kind is distributed.Worker:
        here |= {"nthreads": 1, "local_directory": asked["folder"]}
    async with kind(scheduler_file=asked["file"], **here) as server:
        await server.finished()


def _wrapped(moment, make):
    owner = Journal if moment == NOTE else os
    name = "__call__" if moment == NOTE else moment
    setattr(owner, name, make(getattr(owner, name)))


def tell_calls(path):
    """Let this process write down every transition that it could be killed at."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def make(moment):
        def wrap(call):
            def told(*arguments, **options):
                os.write(file, f"{moment}\n".encode())
                return call(*arguments, **options)

            return told

        return wrap

    for moment in (*MOMENTS, NOTE):
        _wrapped(moment, make(moment))


def die_at(moment, number, when, *, note=None):
    """Let this process be killed before, during or after its n-th call of a function of `os`.

    A worker notes that it dies in a file; of the coordinator it is known by its exit code.
    """
    count, lock = Counter(), threading.Lock()

    def die():
        if note is not None:
            _note_kill(note, os.getpid())
        campaign.die()

    def wrap(call):
        def counted(*arguments, **options):
            with lock:  # whoever makes this call in another thread waits for the end
                count["n"] += 1
                mine = count["n"] == number
                if mine and when == "before":
                    die()
            if mine and when == "during":
                with campaign.killing_before_commit():
                    call(*arguments, **options)
            result = call(*arguments, **options)
            if mine:
                die()
            return result

        return counted

    _wrapped(moment, wrap)


def _note_kill(path, pid):
    with path.open("a") as file:
        file.write(f"{pid}\n")


class Forked(Executor):
    """Workers that a zygote forks; `deaths` says where the first ones die."""

    def __init__(self, zygote, recipe, place, deaths=(), *, calls=False):
        self.workers = WORKERS
        self.recipe = recipe
        self.place = place
        self.zygote = zygote
        self.deaths = list(deaths)
        self.calls = calls
        self.ended = SimpleQueue()
        self.idle = []
        self.busy = 0
        self.pids = []

    def capacity(self):
        return self.workers - self.busy

    def give(self, work, stream_file):
        self.busy += 1
        child = self.idle.pop() if self.idle else self._fork(stream_file)
        threading.Thread(target=self._do, args=(child, work), daemon=True).start()

    def _fork(self, stream_file):
        ours, theirs = socket.socketpair()
        name = f"forked-{os.getpid()}-{len(self.pids)}"
        asked = {
            "role": "worker", "calls": self.calls, "name": name,
            "stream": str(stream_file), "digest": file_digest(stream_file),
            "told": str(self.place / "workers.txt"), "die": self.deaths and self.deaths.pop(0),
        }  # fmt: skip
        self.pids.append(self.zygote.fork(asked, theirs.fileno()))
        theirs.close()
        return name, ours

    def _do(self, child, work):
        name, pipe = child
        try:
            with pipe.makefile("rwb") as stream:
                write_message(stream, work.as_json())
                prefix = stream.read(PREFIX.size)
                said = json.loads(stream.read(PREFIX.unpack(prefix)[0])) if prefix else None
        except OSError:
            said = None
        end = Ended(work, EndKind.DIED, name, "its pipe is closed")
        if said is not None:
            end = Ended(work, EndKind(said["kind"]), name, said["message"])
        self.ended.put((child if said is not None else None, end))

    def wait(self, timeout_s):
        try:
            child, ended = self.ended.get(timeout=min(timeout_s, 0.05))
        except Empty:
            return []
        self.busy -= 1
        if child is not None:
            self.idle.append(child)
        return [ended]

    def close(self):
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while self.busy and time.monotonic() < deadline:
            self.wait(0.05)
        for _, pipe in self.idle:
            pipe.close()
        while any(map(_runs, self.pids)) and time.monotonic() < deadline:
            time.sleep(0.01)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@dataclass
class Trial:
    """One trial, and what came of it."""

    kind: str
    detail: dict = field(default_factory=dict)
    exits: list = field(default_factory=list)
    kills: int = 0
    identical: bool = False
    left: list = field(default_factory=list)
    processed_again: list = field(default_factory=list)
    verified: bool = False
    told: list = field(default_factory=list)
    seconds: float = 0.0
    struck: bool = False
    left_in_tmp: list = field(default_factory=list)
    told_well: bool = True

    @property
    def is_good(self):
        clean = not (self.left or self.left_in_tmp or self.processed_again)
        return self.identical and self.verified and clean and self.told_well


class ClusterBench(campaign.Bench):
    """The screen, the undisturbed results, and how coordinators are started."""

    def __init__(self, folder, zygote):
        super().__init__(folder)
        self.zygote = zygote
        self.recipe = Recipe(
            function="quick_parts:make_worker_stream",
            arguments={"screen": str(self.screen.folder)},
        )

        self.transitions = self._count_transitions()

    def _count_transitions(self):
        """Return every transition of a coordinator and of a worker, in an undisturbed stream."""
        place = self.folder / "counted"
        code, told = self.start(place, self.coordinate(place, calls=True))
        assert code == campaign.DONE, told
        found = {"coordinator": [], "worker": []}
        for who, transitions in found.items():
            files = place.glob(f"calls-{who}*")
            counts = min((Counter(file.read_text().split()) for file in files), key=Counter.total)
            for moment, count in counts.items():
                whens = ("before", "during", "after") if moment == NOTE else ("before", "after")
                transitions += [(moment, n + 1, when) for n in range(count) for when in whens]
        return found

    def draw(self, rng, who):
        return rng.choice(self.transitions[who])

    def coordinate(self, place, deaths=(), own=None, kill_worker_after=None, *, calls=False):
        """Return what a coordinator does in its process."""

        def work(stream):
            executor = Forked(self.zygote, self.recipe, place, deaths, calls=calls)
            if calls:
                tell_calls(place / "calls-coordinator")
            if own is not None:
                die_at(*own)
            if kill_worker_after is not None:
                threading.Thread(
                    target=_kill_later, args=(executor, kill_worker_after), daemon=True
                ).start()
            campaign.run(stream, self.table, executor=executor)

        return work


def _kill_later(executor, delays):
    for delay in delays:
        time.sleep(delay)
        alive = [pid for pid in executor.pids if _runs(pid)]
        if alive:
            with suppress(ProcessLookupError):
                os.kill(alive[0], signal.SIGKILL)
                _note_kill(executor.place / KILLED, alive[0])


def worker_transition(bench, place, rng, trial):
    """A worker is killed before or after a flush, rename, link or deletion; often two."""
    deaths = [bench.draw(rng, "worker") for _ in range(rng.randint(1, 3))]
    trial.detail = {"deaths": deaths}
    trial.exits.append(bench.start(place, bench.coordinate(place, deaths))[0])


def worker_random(bench, place, rng, trial):
    """Workers are killed at random times."""
    delays = [rng.uniform(0.05, 0.8) for _ in range(rng.randint(1, 3))]
    trial.detail = {"delays_s": [round(delay, 3) for delay in delays]}
    work = bench.coordinate(place, kill_worker_after=delays)
    trial.exits.append(bench.start(place, work)[0])


def coordinator_transition(bench, place, rng, trial):
    """The coordinator is killed at a flush, rename, link, deletion, or note in the journal."""
    own = bench.draw(rng, "coordinator")
    trial.detail = {"own": own}
    trial.exits.append(bench.start(place, bench.coordinate(place, own=own))[0])


def coordinator_random(bench, place, rng, trial):
    """The coordinator is killed at a random time, up to three times in a row."""
    delays = [rng.uniform(0.1, 2.0) for _ in range(rng.randint(1, 3))]
    trial.detail = {"delays_s": [round(delay, 3) for delay in delays]}
    for delay in delays:
        pid = bench.fork(place, bench.coordinate(place))
        time.sleep(delay)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        trial.exits.append(campaign.wait(pid))


def both(bench, place, rng, trial):
    """Workers and the coordinator are killed at their transitions."""
    own, deaths = bench.draw(rng, "coordinator"), [bench.draw(rng, "worker")]
    trial.detail = {"own": own, "deaths": deaths}
    trial.exits.append(bench.start(place, bench.coordinate(place, deaths, own))[0])


def scheduler(bench, place, rng, trial):
    """The scheduler of Dask is killed after some event; in every second trial a worker of Dask too.

    The coordinator says so and ends; the next one goes on with workers of its own.
    """
    number, delay, also = rng.randint(2, 40), rng.uniform(0, 0.2), rng.random() < 0.5
    trial.detail = {"event": number, "delay_s": round(delay, 3), "worker": also}
    place.mkdir()
    file = place / "scheduler.json"
    asked = {"told": str(place / "dask.txt"), "file": str(file), "folder": str(place / "dask")}
    pids = [bench.zygote.fork({"role": "scheduler", **asked})]
    while not file.exists():
        time.sleep(0.01)
    pids += [bench.zygote.fork({"role": "dask worker", **asked}) for _ in range(WORKERS)]

    def work(stream):
        seen = Counter()

        def kill(_):
            seen["events"] += 1
            if seen["events"] == number:
                time.sleep(delay)
                for pid in pids[: 1 + also]:
                    os.kill(pid, signal.SIGKILL)
                    _note_kill(place / KILLED, pid)

        executor = Dask(connect(scheduler_file=file), WORKERS, recipe=bench.recipe)
        campaign.run(stream, bench.table, [kill], executor=executor)

    code, told = bench.start(place, work)
    trial.exits.append(code)
    trial.told_well = code == campaign.DONE or "ClusterError: the Dask scheduler" in told
    trial.told.append(told)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    while any(map(_runs, pids)):
        time.sleep(0.01)


KINDS = {
    worker_transition: 60, worker_random: 30, coordinator_transition: 60, coordinator_random: 30,
    both: 30, scheduler: 12,
}  # fmt: skip


def judge(bench, place, trial):
    for _ in range(campaign.GO_ON):
        code, told = bench.start(place, bench.coordinate(place))
        trial.exits.append(code)
        if code == campaign.DONE:
            break
        trial.told.append(told)
    bench.judge(trial, place)
    folder = ClusterFolder(place / "out")
    trial.left = [
        str(path.relative_to(folder.root))
        for below in (folder.inbox, folder.staging, folder.workers)
        for path in below.rglob("*")
    ]
    killed = place / KILLED
    trial.kills = sum(code == -signal.SIGKILL for code in trial.exits)
    trial.kills += len(set(killed.read_text().split())) if killed.exists() else 0
    trial.struck = trial.kills > 0


def run_trials(planned, numbers, folder, given):
    """Run some of the planned trials; return them as plain values, with what can be struck."""
    folder.mkdir()
    bench = ClusterBench(folder, Zygote())
    results = []
    for number in numbers:
        if given.minutes and time.monotonic() - given.started > 60 * given.minutes:
            break
        place = folder / f"trial_{number}"
        trial = Trial(planned[number].__name__)
        began = time.monotonic()
        planned[number](bench, place, random.Random(f"{given.seed} {number}"), trial)
        judge(bench, place, trial)
        trial.seconds = round(time.monotonic() - began, 2)
        results.append({"number": number, "is_good": trial.is_good, **asdict(trial)})
        if not trial.is_good:
            print("BAD", json.dumps(results[-1]), place, flush=True)
        if trial.is_good or not given.keep:
            shutil.rmtree(place, ignore_errors=True)
    found = {who: len(transitions) for who, transitions in bench.transitions.items()}
    return {"results": results, "transitions": found}


def run_apart(part, planned, folder, given):
    """Run every n-th trial in a process of its own; return its number."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            numbers = range(part, len(planned), given.at_once)
            found = run_trials(planned, numbers, folder / f"part_{part}", given)
            (folder / f"part_{part}.json").write_text(json.dumps(found))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the trials of each kind")
    parser.add_argument("--at-once", type=int, default=1, help="trials side by side")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--only", help="trials of this kind")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the folders of bad trials")
    given = parser.parse_args(namespace=argparse.Namespace(started=time.monotonic()))
    here = str(Path(__file__).parent)  # for workers beside Dask's: their recipe is in quick_parts
    campaign.PATIENCE_S = 600  # three processes must import Dask and more, on a busy machine
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    folder = Path(tempfile.mkdtemp(prefix="idrstream-cluster-faults-"))
    planned = [
        kind for kind, count in KINDS.items() for _ in range(max(1, round(count * given.share)))
    ]
    if given.only:
        planned = [kind for kind in planned if kind.__name__ == given.only]
    random.Random(given.seed).shuffle(planned)
    pids = [run_apart(part, planned, folder, given) for part in range(given.at_once)]
    broken = [pid for pid in pids if os.waitpid(pid, 0)[1]]
    parts = [json.loads(path.read_text()) for path in folder.glob("part_*.json")]
    results = sorted((one for part in parts for one in part["results"]), key=lambda t: t["number"])
    report = {
        "method": __doc__, "seed": given.seed, "planned": len(planned), "trials": len(results),
        "at_once": given.at_once, "broken_parts": len(broken),
        "kills": sum(trial["kills"] for trial in results),
        "struck": sum(trial["struck"] for trial in results),
        "good": sum(trial["is_good"] for trial in results),
        "identical": sum(trial["identical"] for trial in results),
        "left_behind": sum(bool(trial["left"] or trial["left_in_tmp"]) for trial in results),
        "processed_again": sum(bool(trial["processed_again"]) for trial in results),
        "kinds": Counter(trial["kind"] for trial in results),
        "kills_by_kind": sum((Counter({t["kind"]: t["kills"]}) for t in results), Counter()),
        "transitions": parts[0]["transitions"] if parts else {},
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count()},
        "load": os.getloadavg(), "seconds": round(time.monotonic() - given.started, 1),
        "results": results,
    }  # fmt: skip
    if given.out:
        given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({k: v for k, v in report.items() if k not in ("results", "method")}, indent=1))
    if not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if broken or report["good"] < report["trials"] else 0


_ = quick_parts  # the workers' recipe names it

if __name__ == "__main__":
    sys.exit(main())
