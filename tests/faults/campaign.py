"""Kills and faults over streams of a small simulated screen: is anything ever lost?

    python tests/faults/campaign.py --out benchmarks/results/faults.json  # all, some minutes
    python tests/faults/campaign.py --short                               # one of each, 30 s

Each trial runs a stream in a process of its own, hurts it (see `KINDS`), lets others go on until
all is done, and compares the output folder with that of an undisturbed stream: every table and
illumination model the same bytes, nothing left in ``tmp_dir``, no batch begun again after it was
published, and every published file proven. Movies, projects, journal and tables are real; see
`quick_parts`. Everything is drawn from the seed.

Child processes are forked from this one, which has imported everything, and end with
``os._exit`` or by a signal.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pyarrow.parquet  # noqa: F401, imported here once for all children
import pycytominer  # noqa: F401
import quick_parts as quick
import scipy.ndimage  # noqa: F401
import tifffile  # noqa: F401

import idrstream.folder.journal.journal as journal_module
import idrstream.run.session  # noqa: F401
from idrstream import make_downloader
from idrstream.errors import IdrStreamError, LockedError
from idrstream.folder.journal.writer import JournalWriter
from idrstream.folder.verify import verify_folder

DONE, REFUSED, INTERRUPTED, BROKEN, FAILED = 0, 3, 4, 5, 6
BATCH_SIZE = 2
PATIENCE_S = 120
GO_ON = 8  # starts after the fault, at most


@dataclass
class Trial:
    """One fault: what was done, and what came of it."""

    kind: str
    detail: dict = field(default_factory=dict)
    exits: list = field(default_factory=list)
    struck: bool = False
    identical: bool = False
    left_in_tmp: list = field(default_factory=list)
    processed_again: list = field(default_factory=list)
    verified: bool = False
    told: list = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_good(self):
        return (
            self.identical and self.verified and not self.left_in_tmp and not self.processed_again
        )


class Bench:
    """The screen, what an undisturbed stream makes of it, and how to start streams."""

    def __init__(self, folder):
        self.folder = folder
        self.screen = quick.make_screen(folder / "mirror", wells=3)
        self.table = quick.table_of(self.screen)
        self.events = []
        self.syncs = 0
        self.seconds = 0.0
        self.wanted = self._undisturbed()

    def _undisturbed(self):
        place = self.folder / "undisturbed"
        started = time.monotonic()
        counts = place / "counts.json"
        place.mkdir()

        def count(stream):
            seen = {"events": [], "syncs": 0}
            with patched_syncs(lambda number: seen.update(syncs=number)):
                run(stream, self.table, [lambda event: seen["events"].append(type(event).__name__)])
            counts.write_text(json.dumps(seen))

        code, told = self.start(place, count)
        assert code == DONE, told
        self.seconds = time.monotonic() - started
        seen = json.loads(counts.read_text())
        self.events, self.syncs = seen["events"], seen["syncs"]
        again = self.folder / "undisturbed too"
        assert self.start(again, lambda stream: run(stream, self.table))[0] == DONE
        wanted = quick.results(place / "out")
        assert wanted == quick.results(again / "out"), "the stream is not deterministic"
        return wanted

    def fork(self, place, work, **options):
        """Start a stream in a process of its own."""
        place.mkdir(parents=True, exist_ok=True)
        bound = options.pop("bound", False)
        pid = os.fork()
        if pid:
            return pid
        code = FAILED
        try:
            if bound:
                obey_permissions()
            with (place / "told.txt").open("a") as told:
                os.dup2(told.fileno(), 1)
                os.dup2(told.fileno(), 2)
                code = _child(self.screen, place, work, told, options)
                told.flush()
        finally:
            os._exit(code)

    def start(self, place, work, **options):
        """Run a stream in a process of its own to its end; return exit code and last words."""
        code = wait(self.fork(place, work, **options))
        words = (place / "told.txt").read_text().splitlines()
        return code, words[-1] if words else ""

    def finish(self, trial, place, **options):
        """Go on until a start says that all is done."""
        for number in range(GO_ON):
            verb = (
                (lambda stream: run(stream, self.table))
                if number % 2
                else (lambda stream: resume_or_run(stream, self.table))
            )
            code, told = self.start(place, verb, **options)
            trial.exits.append(code)
            if code == DONE:
                return
            trial.told.append(told)

    def judge(self, trial, place, *, out=None, tmp=None):
        """Compare what a trial left with the undisturbed stream."""
        out, tmp = out or place / "out", tmp or place / "tmp"
        trial.identical = quick.results(out) == self.wanted
        trial.left_in_tmp = [
            name
            for name in quick.files_below(tmp)
            if "/inputs/config/" not in name and "/checkpoint/" not in name
        ]
        trial.processed_again = processed_again(out / "journal.sqlite")
        found = verify_folder(out)
        trial.verified = found.is_good
        if not found.is_good:
            trial.told.append(str(found))


def _child(screen, place, work, told, options):
    try:
        stream = quick.make_stream(screen, place, **options)
        work(stream)
    except LockedError as error:
        told.write(f"{error}\n")
        return REFUSED
    except KeyboardInterrupt:
        told.write("interrupted\n")
        return INTERRUPTED
    except IdrStreamError as error:
        told.write(f"{type(error).__name__}: {error}\n")
        return BROKEN
    except BaseException as error:  # the boundary of the process
        told.write(f"unforeseen {type(error).__name__}: {error}\n")
        return FAILED
    return DONE


def run(stream, table, listeners=(), **options):
    result = stream.run_stream(table, BATCH_SIZE, progress=False, listeners=listeners, **options)
    if result.failed_batches or result.remaining_batches or len(result.failures()):
        msg = f"failures: {result.failures().to_dict('records')}"
        raise RuntimeError(msg)
    return result


def resume_or_run(stream, table):
    from idrstream.errors import JournalError

    try:
        return stream.resume(progress=False)
    except JournalError:
        return run(stream, table)


def wait(pid):
    """Return the exit code of a child, minus the signal that ended it."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -99


def processed_again(path):
    """Return the batches that were begun again after they had been published."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        found = connection.execute(
            "SELECT DISTINCT a.batch FROM attempts a JOIN attempts b ON a.batch = b.batch "
            "AND a.attempt > b.attempt WHERE b.outcome IN ('published', 'done')"
        ).fetchall()
    connection.close()
    return [number for (number,) in found]


# Faults. Each is a function of bench, place, random numbers and trial.


def die():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def kill_at_event(bench, place, rng, trial, *, event=None, moment=None):
    """SIGKILL before, during or after the journal's note of an event."""
    number = rng.randrange(len(bench.events)) if event is None else event
    moment = moment or rng.choice(["before", "during", "after"])
    trial.detail = {"event": number, "name": bench.events[number], "moment": moment}

    def work(stream):
        noted = journal_module.Journal.__call__
        seen = Counter()

        def note(self, told):
            mine = seen["events"] == number
            seen["events"] += 1
            if mine and moment == "before":
                die()
            if mine and moment == "during":
                with killing_before_commit():
                    noted(self, told)
            else:
                noted(self, told)
            if mine:
                die()

        journal_module.Journal.__call__ = note
        run(stream, bench.table)

    code, _ = bench.start(place, work)
    trial.exits.append(code)
    trial.struck = code == -signal.SIGKILL
    bench.finish(trial, place)
    bench.judge(trial, place)


@contextmanager
def killing_before_commit():
    """Make the journal's next transaction die when everything but its end is written."""

    @contextmanager
    def transaction(self, *, flushed):
        self.connection.execute("BEGIN IMMEDIATE")
        yield
        die()

    JournalWriter.transaction = transaction
    yield


@contextmanager
def patched_syncs(told):
    """Call `told` with 1, 2, ... before each flush to the disk."""
    flush, count = os.fsync, Counter()

    def fsync(descriptor):
        count["n"] += 1
        told(count["n"])
        flush(descriptor)

    os.fsync = fsync
    try:
        yield
    finally:
        os.fsync = flush


def kill_at_flush(bench, place, rng, trial):
    """SIGKILL before the n-th flush of a file or folder: around the renames of tables."""
    number = rng.randint(1, bench.syncs)
    trial.detail = {"flush": number}

    def work(stream):
        with patched_syncs(lambda n: die() if n == number else None):
            run(stream, bench.table)

    code, _ = bench.start(place, work)
    trial.exits.append(code)
    trial.struck = code == -signal.SIGKILL
    bench.finish(trial, place)
    bench.judge(trial, place)


def kill_at_times(bench, place, rng, trial):
    """SIGKILL at a random time, up to three times in a row."""
    delays = [rng.uniform(0, bench.seconds) for _ in range(rng.randint(1, 3))]
    trial.detail = {"delays_s": [round(delay, 3) for delay in delays]}
    for delay in delays:
        pid = bench.fork(place, lambda stream: run(stream, bench.table))
        time.sleep(delay)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        trial.exits.append(wait(pid))
    trial.struck = -signal.SIGKILL in trial.exits
    bench.finish(trial, place)
    bench.judge(trial, place)


def stop_by_signal(bench, place, rng, trial):
    """SIGINT or SIGTERM at a random time; half of the times a second one."""
    number = rng.choice([signal.SIGINT, signal.SIGTERM])
    delay, twice = rng.uniform(0.1, bench.seconds * 0.8), rng.random() < 0.5
    trial.detail = {"signal": number.name, "delay_s": round(delay, 3), "twice": twice}
    pid = bench.fork(place, lambda stream: run(stream, bench.table))
    time.sleep(delay)
    for wait_s in [0, 0.02][: 1 + twice]:
        time.sleep(wait_s)
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    trial.exits.append(wait(pid))
    trial.struck = trial.exits[0] != DONE
    bench.finish(trial, place)
    bench.judge(trial, place)


def disk_full(bench, place, rng, trial):
    """A full disk, of the output folder or of the intermediates: a real small one."""
    where = rng.choice(["out", "tmp"])
    size_kb = rng.randint(160, 700) if where == "out" else 17_000 + rng.randint(0, 500)
    trial.detail = {"where": where, "size_kb": size_kb}
    with mounted(place / "small", f"size={size_kb}k") as small:
        folders = {where: small / where}
        code, told = bench.start(place, lambda stream: run(stream, bench.table), **folders)
        trial.exits.append(code)
        trial.told.append(told)
        trial.struck = code != DONE
        remount(small, "size=200m")
        bench.finish(trial, place, **folders)
        bench.judge(trial, place, **folders)


def read_only(bench, place, rng, trial):
    """The output folder cannot be written: from the start, or from an event on."""
    number = rng.choice([0, rng.randrange(1, len(bench.events) - 1)])
    trial.detail = {"event": number, "name": bench.events[number] if number else "start"}

    def refuse(stream):
        for path in (stream.final_data_dir, *stream.final_data_dir.glob("*/")):
            path.chmod(0o555)

    def work(stream):
        count = Counter()

        def turn(event):
            count["n"] += 1
            if count["n"] == number:
                refuse(stream)

        if number == 0:
            refuse(stream)
        run(stream, bench.table, [turn])

    code, told = bench.start(place, work, bound=True)
    trial.exits.append(code)
    trial.told.append(told)
    trial.struck = code != DONE
    for path in (place / "out").rglob("*/"):
        path.chmod(0o755)
    (place / "out").chmod(0o755)
    bench.finish(trial, place, bound=True)
    bench.judge(trial, place)


def obey_permissions():
    """Take from root what lets it write everywhere (CAP_DAC_OVERRIDE), in this process."""
    if os.getuid():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    for which in range(3):
        sets[which] &= ~(1 << 1)
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def no_handles(bench, place, rng, trial):
    """From an event on the process can open no more files."""
    number = rng.randrange(1, len(bench.events) - 1)
    trial.detail = {"event": number, "name": bench.events[number]}

    def work(stream):
        count = Counter()

        def lower(event):
            count["n"] += 1
            if count["n"] == number:
                used = len(list(Path("/proc/self/fd").iterdir()))
                resource.setrlimit(resource.RLIMIT_NOFILE, (max(3, used - 1), used + 500))

        run(stream, bench.table, [lower])

    code, told = bench.start(place, work)
    trial.exits.append(code)
    trial.told.append(told)
    trial.struck = code != DONE
    bench.finish(trial, place)
    bench.judge(trial, place)


def large_files_refused(bench, place, rng, trial):
    """From an event on files may not grow beyond a size (RLIMIT_FSIZE), as a quota refuses."""
    number, limit = rng.randrange(1, len(bench.events) - 1), rng.randint(5_000, 120_000)
    trial.detail = {"event": number, "name": bench.events[number], "limit_bytes": limit}

    def work(stream):
        count = Counter()

        def lower(event):
            count["n"] += 1
            if count["n"] == number:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

        run(stream, bench.table, [lower])

    code, told = bench.start(place, work)
    trial.exits.append(code)
    trial.told.append(told)
    trial.struck = code != DONE
    bench.finish(trial, place)
    bench.judge(trial, place)


def corrupt_movie(bench, place, rng, trial):
    """A movie is an error page or truncated when it is first fetched, and whole later."""
    mirror = place / "mirror"
    shutil.copytree(bench.screen.folder, mirror)
    movies = sorted(mirror.rglob("*.ch5"))
    # Not of the plates whose illumination is fitted on it: the models would be others.
    path, how = rng.choice(movies), rng.choice(["truncated", "error page"])
    trial.detail = {"movie": path.name, "how": how}
    whole = path.read_bytes()
    path.write_bytes(b"<html>" if how == "error page" else whole[: len(whole) // 2])

    def work(stream):
        stream.init_downloader(
            make_downloader(method="local", root=mirror, screens_path=bench.screen.screens_path)
        )
        models = place / "out" / "illumination"
        models.mkdir(exist_ok=True)
        for model in (bench.folder / "undisturbed" / "out" / "illumination").iterdir():
            shutil.copyfile(model, models / model.name)
        run(stream, bench.table)

    code, told = bench.start(place, work)
    trial.exits.append(code)
    trial.told.append(told)
    trial.struck = code == FAILED and "failures" in told
    path.write_bytes(whole)
    trial.exits.append(bench.start(place, lambda stream: stream.rerun_failed(progress=False))[0])
    bench.finish(trial, place)
    bench.judge(trial, place)
    trial.processed_again = []  # on demand: its table lacked an image


def clock_jumps(bench, place, rng, trial):
    """The machine's clock jumps by up to ten days at every look, and the stream is killed."""
    seed, delay = rng.random(), rng.uniform(0.2, bench.seconds)
    trial.detail = {"delay_s": round(delay, 3)}

    def work(stream):
        jumps, now = random.Random(seed), time.time
        time.time = lambda: now() + jumps.uniform(-864_000, 864_000)
        run(stream, bench.table)

    pid = bench.fork(place, work)
    time.sleep(delay)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    trial.exits.append(wait(pid))
    trial.struck = True
    code, told = bench.start(place, work)
    trial.exits.append(code)
    trial.told.append(told)
    bench.finish(trial, place)
    bench.judge(trial, place)


def race(bench, place, rng, trial):
    """Two processes start for one folder, again and again; who wins is killed on the way."""
    trial.detail = {"rounds": rng.randint(1, 3)}
    for _ in range(trial.detail["rounds"]):
        pids = [bench.fork(place, lambda stream: run(stream, bench.table)) for _ in range(2)]
        time.sleep(rng.uniform(0.2, bench.seconds))
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        trial.exits.append([wait(pid) for pid in pids])
    trial.struck = any(REFUSED in pair or -signal.SIGKILL in pair for pair in trial.exits)
    bench.finish(trial, place)
    bench.judge(trial, place)


@contextmanager
def mounted(folder, options):
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def can_mount():
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", name], capture_output=True)
        if done.returncode == 0:
            subprocess.run(["umount", name], check=True)
        return done.returncode == 0


# How often each kind is tried, in the short form and in the long one beside the full enumeration.
KINDS = {
    kill_at_event: (3, 0),
    kill_at_flush: (1, 30),
    kill_at_times: (1, 60),
    stop_by_signal: (1, 20),
    disk_full: (1, 12),
    read_only: (1, 8),
    no_handles: (1, 8),
    large_files_refused: (1, 6),
    corrupt_movie: (1, 8),
    clock_jumps: (1, 8),
    race: (1, 8),
}
NEED_MOUNT = (disk_full,)


def trials(bench, *, short, rng):
    """Return what is to be tried, as (fault, its fixed values)."""
    planned = []
    if not short:
        for number in range(len(bench.events)):
            # Every transition: noted or not; and halfway for those that are transactions.
            moments = ["before", "after"]
            if not bench.events[number].startswith("Stage"):
                moments.insert(1, "during")
            planned += [(kill_at_event, {"event": number, "moment": m}) for m in moments]
    for kind, counts in KINDS.items():
        planned += [(kind, {})] * counts[not short]
    if not can_mount():
        planned = [item for item in planned if item[0] not in NEED_MOUNT]
    rng.shuffle(planned)
    return planned


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="one of each, for the suite")
    parser.add_argument("--only", help="name of a kind of fault")
    parser.add_argument("--limit", type=int, help="at most so many trials")
    parser.add_argument("--minutes", type=float, help="begin no trial after so long")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the folders of bad trials")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    folder = Path(tempfile.mkdtemp(prefix="idrstream-faults-"))
    folder.chmod(0o755)
    started = time.monotonic()
    bench = Bench(folder)
    planned = trials(bench, short=given.short, rng=rng)
    if given.only:
        planned = [item for item in planned if item[0].__name__ == given.only]
    results = []
    for number, (fault, fixed) in enumerate(planned[: given.limit]):
        if given.minutes and time.monotonic() - started > 60 * given.minutes:
            break
        place = folder / f"trial_{number}"
        trial = Trial(fault.__name__)
        began = time.monotonic()
        try:
            fault(bench, place, random.Random(f"{given.seed} {number}"), trial, **fixed)
        except (OSError, sqlite3.Error, IdrStreamError) as error:  # so bad that it cannot be judged
            trial.told.append(f"{type(error).__name__}: {error}")
        trial.seconds = round(time.monotonic() - began, 2)
        results.append(trial)
        if trial.is_good or not given.keep:
            shutil.rmtree(place, ignore_errors=True)
        if not trial.is_good:
            print("BAD", json.dumps(asdict(trial)), place, flush=True)
        elif given.only:
            print(json.dumps(asdict(trial)), flush=True)
    report = {
        "method": __doc__,
        "seed": given.seed,
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count()},
        "undisturbed": {
            "events": Counter(bench.events), "flushes": bench.syncs,
            "seconds": round(bench.seconds, 2), "files": sorted(bench.wanted),
        },
        "can_mount": can_mount(),
        "planned": len(planned),
        "trials": len(results),
        "struck": sum(trial.struck for trial in results),
        "good": sum(trial.is_good for trial in results),
        "identical": sum(trial.identical for trial in results),
        "left_in_tmp": sum(bool(trial.left_in_tmp) for trial in results),
        "processed_again": sum(bool(trial.processed_again) for trial in results),
        "kinds": Counter(trial.kind for trial in results),
        "seconds": round(time.monotonic() - started, 1),
        "results": [asdict(trial) for trial in results],
    }  # fmt: skip
    if given.out:
        given.out.write_text(json.dumps(report, indent=1) + "\n")
    shown = {key: value for key, value in report.items() if key not in ("results", "method")}
    print(json.dumps(shown, indent=1))
    if not given.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if report["good"] == report["trials"] else 1


if __name__ == "__main__":
    sys.exit(main())
