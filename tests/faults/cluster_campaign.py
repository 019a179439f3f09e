"""Kills of workers and coordinators: is every batch done once, with the right bytes?

    python tests/faults/cluster_campaign.py --out benchmarks/results/cluster_faults.json

Each trial runs a stream of a small simulated screen on two workers, kills (-9) some of them or
the coordinator, at one of their transitions (a flush, a rename, a link, an event) or at a random
time, lets other coordinators go on until all is done, and compares the output folder with that of
an undisturbed stream on one machine: the same bytes, nothing left in inbox, staging or ``tmp_dir``,
no batch begun again after it was published, every published file proven. Workers, receipts,
movies, tables and journal are real; see `quick_parts`. Everything is drawn from the seed.

Processes are forked from ones that have imported everything, so that a kill costs no start.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

import campaign
import quick_parts

import idrstream.stream.worker as worker_module
from idrstream.cluster import Ended, EndKind, Executor, Recipe
from idrstream.cluster.layout import ClusterFolder, file_digest
from idrstream.workers.messages import PREFIX, write_message

WORKERS = 2
MOMENTS = ("fsync", "rename", "replace", "link", "unlink", "rmdir")


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
                _become_worker(json.loads(message), fds[0])
            os.close(fds[0])
            theirs.send(str(pid).encode())

    def fork(self, asked, fd):
        socket.send_fds(self.ours, [json.dumps(asked).encode()], [fd])
        return int(self.ours.recv(100))


def _become_worker(asked, fd):
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(fd, 0)
        os.dup2(fd, 1)
        os.close(fd)
        sys.stdin = os.fdopen(0, "rb", closefd=False)
        sys.stdin.buffer = sys.stdin
        with Path(asked["told"]).open("ab") as told:
            os.dup2(told.fileno(), 2)
        if asked["die"]:
            die_at(*asked["die"])
        code = worker_module.main([asked["stream"], asked["digest"], "--name", asked["name"]])
    finally:
        os._exit(code)


def die_at(moment, number, *, after=False):
    """Let this process be killed at the n-th call of a function of `os`."""
    call, count = getattr(os, moment), Counter()

    def counted(*arguments, **options):
        count["n"] += 1
        if count["n"] == number and not after:
            campaign.die()
        result = call(*arguments, **options)
        if count["n"] == number:
            campaign.die()
        return result

    setattr(os, moment, counted)


class Forked(Executor):
    """Workers that a zygote forks; `deaths` says where the first ones die."""

    def __init__(self, zygote, recipe, place, deaths=()):
        self.workers = WORKERS
        self.recipe = recipe
        self.place = place
        self.zygote = zygote
        self.deaths = list(deaths)
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
            "stream": str(stream_file), "digest": file_digest(stream_file), "name": name,
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

    @property
    def is_good(self):
        clean = not (self.left or self.left_in_tmp or self.processed_again)
        return self.identical and self.verified and clean


class ClusterBench(campaign.Bench):
    """The screen, the undisturbed results, and how coordinators are started."""

    def __init__(self, folder, zygote):
        super().__init__(folder)
        self.zygote = zygote
        self.recipe = Recipe(
            function="quick_parts:make_worker_stream",
            arguments={"screen": str(self.screen.folder)},
        )

    def coordinate(self, place, deaths=(), own=None, kill_worker_after=None):
        """Return what a coordinator does in its process."""

        def work(stream):
            executor = Forked(self.zygote, self.recipe, place, deaths)
            if own is not None:
                die_at(own[0], own[1], after=own[2])
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
                with (executor.place / "killed.txt").open("a") as file:
                    file.write(f"{alive[0]}\n")


def worker_transition(bench, place, rng, trial):
    """A worker is killed before or after a flush, rename, link or deletion; often two."""
    deaths = [(rng.choice(MOMENTS), rng.randint(1, 30)) for _ in range(rng.randint(1, 3))]
    trial.detail = {"deaths": deaths}
    trial.exits.append(bench.start(place, bench.coordinate(place, deaths))[0])


def worker_random(bench, place, rng, trial):
    """Workers are killed at random times."""
    delays = [rng.uniform(0.05, 0.8) for _ in range(rng.randint(1, 3))]
    trial.detail = {"delays_s": [round(delay, 3) for delay in delays]}
    work = bench.coordinate(place, kill_worker_after=delays)
    trial.exits.append(bench.start(place, work)[0])


def coordinator_transition(bench, place, rng, trial):
    """The coordinator is killed before or after a flush, rename, link or deletion."""
    own = (rng.choice(MOMENTS), rng.randint(1, 60), rng.random() < 0.5)
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
    own = (rng.choice(MOMENTS), rng.randint(10, 60), rng.random() < 0.5)
    deaths = [(rng.choice(MOMENTS), rng.randint(1, 30))]
    trial.detail = {"own": own, "deaths": deaths}
    trial.exits.append(bench.start(place, bench.coordinate(place, deaths, own))[0])


KINDS = {
    worker_transition: 60, worker_random: 30, coordinator_transition: 60, coordinator_random: 30,
    both: 30,
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
    killed = place / "killed.txt"
    trial.kills = sum(code == -signal.SIGKILL for code in trial.exits)
    trial.kills += len(killed.read_text().splitlines()) if killed.exists() else 0
    log = place / "stream.log"
    trial.kills += log.read_text().count("ended: died") if log.exists() else 0
    trial.struck = trial.kills > 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the trials of each kind")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the folders of bad trials")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="idrstream-cluster-faults-"))
    bench = ClusterBench(folder, Zygote())
    planned = [
        kind for kind, count in KINDS.items() for _ in range(max(1, round(count * given.share)))
    ]
    random.Random(given.seed).shuffle(planned)
    results, started = [], time.monotonic()
    for number, fault in enumerate(planned):
        if given.minutes and time.monotonic() - started > 60 * given.minutes:
            break
        place = folder / f"trial_{number}"
        trial = Trial(fault.__name__)
        began = time.monotonic()
        fault(bench, place, random.Random(f"{given.seed} {number}"), trial)
        judge(bench, place, trial)
        trial.seconds = round(time.monotonic() - began, 2)
        results.append(trial)
        if not trial.is_good:
            print("BAD", json.dumps(asdict(trial)), place, flush=True)
        if trial.is_good or not given.keep:
            shutil.rmtree(place, ignore_errors=True)
    report = {
        "method": __doc__, "seed": given.seed, "planned": len(planned), "trials": len(results),
        "kills": sum(trial.kills for trial in results),
        "struck": sum(trial.struck for trial in results),
        "good": sum(trial.is_good for trial in results),
        "identical": sum(trial.identical for trial in results),
        "left_behind": sum(bool(trial.left or trial.left_in_tmp) for trial in results),
        "processed_again": sum(bool(trial.processed_again) for trial in results),
        "kinds": Counter(trial.kind for trial in results),
        "load": os.getloadavg(), "seconds": round(time.monotonic() - started, 1),
        "results": [asdict(trial) for trial in results],
    }  # fmt: skip
    if given.out:
        given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps({k: v for k, v in report.items() if k not in ("results", "method")}, indent=1))
    if not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if report["good"] == report["trials"] else 1


_ = quick_parts  # the workers' recipe names it

if __name__ == "__main__":
    sys.exit(main())
