"""``idrstream cluster VERB``: a stream in the jobs of a queue system."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from idrstream.cli.options import add_setting_options, as_folder, as_path, given_options
from idrstream.cli.parser import Parser
from idrstream.cli.resume import go_on
from idrstream.cli.run import add_accept_option, announce
from idrstream.cli.terminal import say
from idrstream.errors import ClusterError
from idrstream.text import as_ranges, format_duration, format_size
from idrstream.visible import visible_line

if TYPE_CHECKING:
    from idrstream.cluster.beats import WorkerState
    from idrstream.cluster.jobs import Job, JobArrays
    from idrstream.cluster.queues import Account, JobState
    from idrstream.config import ClusterSettings

PHASES = ("init", "run", "collect")
_TAIL_BYTES = 20_000
_OPTIONS = {
    "--cores": ("worker_cores", "processor cores of a job"),
    "--memory": ("worker_memory", "memory of a job, such as 16GB"),
    "--duration": ("duration", "time limit of a job, HH:MM:SS or D-HH:MM:SS"),
    "--gpus": ("worker_gpus", "GPUs of a job"),
    "--partition": ("partition", "partition or queue"),
    "--account": ("account", "account or project that jobs are charged to"),
    "--qos": ("qos", "quality of service"),
    "--jobs": ("workers", "jobs that may run at once"),
    "--queue-system": ("queue_system", "slurm, pbs or lsf"),
    "--batches-per-job": ("batches_per_job", "batches that a new job gets"),
}


def add_arguments(parser: Parser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(
        name: str,
        text: str,
        handle: Callable[[argparse.Namespace], int],
    ) -> Parser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(verb_handler=handle)
        return sub

    init = verb("init", "record the plan of a stream and cut it into jobs", _init)
    init.add_argument("config", type=as_path, metavar="CONFIG.toml", help="settings of the stream")
    add_setting_options(init)
    submit = verb("submit", "submit the jobs and follow them", _submit)
    submit.add_argument("--dry-run", action="store_true", help="only show the script")
    resubmit = verb("resubmit", "take results, and submit what is missing", _resubmit)
    for sub in (submit, resubmit):
        _add_folder(sub)
        for flag, (name, text) in _OPTIONS.items():
            sub.add_argument(flag, dest=name, metavar="VALUE", help=text)
        sub.add_argument(
            "--prologue", action="append", metavar="LINE",
            help="a line of shell before the worker, such as \"module load cuda\"; repeatable",
        )  # fmt: skip
        sub.add_argument(
            "--interval", type=float, default=10.0, metavar="S",
            help="seconds between two questions to the queue system [10]",
        )  # fmt: skip
        sub.add_argument("--detach", action="store_true", help="submit and leave")
    collect = verb("collect", "take what workers finished", _collect)
    _add_folder(collect)
    run = verb("run", "do the work of one job here", _run)
    info = verb("info", "show jobs and workers", _info)
    log = verb("log", "show what a job wrote", _log)
    for sub in (run, info, log):
        sub.add_argument("folder", type=as_folder, metavar="DIR", help="output folder")
        sub.add_argument(
            "--job", type=int, metavar="N", required=sub is run, help="number of the job"
        )
    for sub in (info, log):
        sub.add_argument("--phase", choices=PHASES, default="run", help="[run]")
    info.add_argument("--json", action="store_true", help="write JSON")
    cleanup = verb("cleanup", "cancel jobs and delete what workers left", _cleanup)
    cleanup.add_argument("folder", type=as_folder, metavar="DIR", help="output folder")


def handle(namespace: argparse.Namespace) -> int:
    """Do what the verb says."""
    handler: Callable[[argparse.Namespace], int] = namespace.verb_handler
    return handler(namespace)


def _add_folder(parser: Parser) -> None:
    parser.add_argument("folder", type=as_folder, metavar="DIR", help="output folder of the stream")
    parser.set_defaults(json=False)
    add_accept_option(parser)


def _init(namespace: argparse.Namespace) -> int:
    from idrstream.config import load_settings
    from idrstream.run.log import errors_logged
    from idrstream.screen import read_table
    from idrstream.stream.build import build_stream, run_options
    from idrstream.stream.executors import make_arrays
    from idrstream.stream.stream import IdrStream

    settings = load_settings(namespace.config, options=given_options(namespace))
    folder = settings.stream.final_data_dir
    announce(settings)
    executor = make_arrays(settings.cluster, folder, submits=False, detached=True)
    options = run_options(settings.stream) | {"progress": False}
    stream = build_stream(IdrStream, settings)
    with closing(stream), errors_logged():
        stream.run_stream(read_table(settings.stream.table), executor=executor, **options)
    jobs = executor.book.open
    if not jobs:
        say("Nothing is left to do\n")
        return 0
    batches, plates = sum(len(job.batches) for job in jobs), sum(bool(job.plate) for job in jobs)
    first = f", and {plates} that fit the illumination of a plate" if plates else ""
    say(f"{len(jobs) - plates} jobs with {batches} batches{first}\n")
    if plates:
        say(
            "The other batches of these plates become jobs when their models are there: follow "
            "the jobs, or collect and resubmit\n"
        )
    say(f"Submit them with:\n  idrstream cluster submit {quote(str(folder))}\n")
    return 0


def _submit(namespace: argparse.Namespace) -> int:
    return _give(namespace, gives=False)


def _resubmit(namespace: argparse.Namespace) -> int:
    return _give(namespace, gives=True)


def _give(namespace: argparse.Namespace, *, gives: bool) -> int:
    """Submit jobs and follow them, or leave."""
    if namespace.prologue is not None:
        namespace.prologue = "\n".join(namespace.prologue)
    made: list[JobArrays] = []

    def make(settings: ClusterSettings, folder: Path) -> JobArrays:
        from idrstream.stream.executors import make_arrays

        executor = make_arrays(
            settings, folder, gives=gives or not namespace.detach, detached=namespace.detach,
            interval_s=max(0.2, namespace.interval),
        )  # fmt: skip
        made.append(executor)
        return executor

    if getattr(namespace, "dry_run", False):
        say(_script(namespace, make))
        return 0
    code = go_on(namespace, lambda stream, options: stream.resume(**options), make)
    if not namespace.detach:
        return code
    _tell_jobs(made[0].book.open, namespace.folder)
    return 0


def _script(namespace: argparse.Namespace, make: Callable[..., JobArrays]) -> str:
    """Return the script that would be submitted."""
    from idrstream.config import settings_from_json, usable_settings
    from idrstream.folder.recorded import read_recorded_call

    recorded = read_recorded_call(namespace.folder)
    given = given_options(namespace)
    kept = usable_settings(
        recorded.settings, f"the journal of {namespace.folder}",
        given={**given, "final_data_dir": str(namespace.folder)},
        trusted=recorded.is_own or namespace.accept_settings,
    )  # fmt: skip
    return make(settings_from_json(kept, options=given).cluster, namespace.folder).script()


def _tell_jobs(jobs: list[Job], folder: Path) -> None:
    numbers = as_ranges([job.number for job in jobs])
    arrays = ", ".join(sorted({job.array for job in jobs if job.array}))
    if not jobs:
        say("No jobs are left\n")
        return
    say(f"Jobs {numbers} are submitted as {arrays}\n")
    say(f"Take their results with:\n  idrstream cluster collect {quote(str(folder))}\n")


def _collect(namespace: argparse.Namespace) -> int:
    from idrstream.stream.executors import make_arrays

    make = partial(make_arrays, submits=False, gives=False, detached=True)
    return go_on(namespace, lambda stream, options: stream.resume(**options), make)


def _run(namespace: argparse.Namespace) -> int:
    from idrstream.cluster.layout import ClusterFolder, file_digest
    from idrstream.stream.job_worker import run_job

    stream = ClusterFolder(namespace.folder).stream
    code = run_job(stream, file_digest(stream), "", namespace.job)
    say(f"Its results are taken by:\n  idrstream cluster collect {quote(str(namespace.folder))}\n")
    return code


def _info(namespace: argparse.Namespace) -> int:
    from idrstream.cluster.jobs import JobBook
    from idrstream.cluster.layout import ClusterFolder
    from idrstream.folder.status import read_status

    if namespace.phase != "run":
        say(f"{read_status(namespace.folder)!r}\n")
        return 0
    book = JobBook(ClusterFolder(namespace.folder))
    now = {job.number: (state, worker) for job, state, worker in book.states()}
    accounts = book.accounts()
    rows = [
        _row(job, *now.get(job.number, (None, None))) | _accounted(accounts.get(job.number))
        for job in book.jobs.values()
        if namespace.job in (None, job.number)
    ]
    if namespace.job is not None and not rows:
        msg = f"{namespace.folder} has no job {namespace.job}; it has {as_ranges(book.jobs)}"
        raise ClusterError(msg)
    if namespace.json:
        say(json.dumps(rows, indent=1) + "\n")
        return 0
    for row in rows:
        say(visible_line(_line(row)) + "\n")
    counts = Counter(row["state"] for row in rows)
    say(", ".join(f"{count} {state}" for state, count in counts.items()) + "\n")
    return 0


def _row(job: Job, state: JobState | None, worker: WorkerState | None) -> dict[str, Any]:
    """Return what is known of a job."""
    phase = "cut" if not job.array else "submitted"
    if state is not None:
        phase = state.phase
    if job.ended:
        phase = job.ended.partition(":")[0]
    row: dict[str, Any] = {
        "job": job.number, "state": phase, "batches": list(job.batches), "plate": job.plate,
        "array": job.array, "system": job.system,
        "reason": job.ended.partition(": ")[2] or (state.reason if state else ""),
    }  # fmt: skip
    if worker is not None:
        row |= {
            "host": worker.host, "running": list(worker.batches), "done": len(worker.done),
            "peak_bytes": worker.peak_bytes, "seconds": time.time() - worker.started,
            "threads": worker.threads, "gpus": worker.gpus,
        }  # fmt: skip
    return row


def _accounted(account: Account | None) -> dict[str, Any]:
    return {} if account is None else {"accounting": asdict(account)}


def _line(row: dict[str, Any]) -> str:
    what = f"plate {row['plate']}" if row["plate"] else f"batches {as_ranges(row['batches'])}"
    text = f"job {row['job']}: {row['state']}, {what}"
    if row["array"]:
        text += f", {row['system']} {row['array']}"
    if "host" in row:
        at = as_ranges(row["running"]) or "none"
        text += (
            f", on {row['host']} for {format_duration(row['seconds'])}, {row['done']} done, at "
            f"{at}, memory at most {format_size(row['peak_bytes'])}"
        )
    if row["reason"]:
        text += f", {row['reason']}"
    if account := row.get("accounting"):
        text += f"; accounting: {account['state']} after {account['elapsed']}"
        text += f" on {account['nodes']}" if account["nodes"] else ""
        text += f", {format_size(account['peak_bytes'])}" if account["peak_bytes"] else ""
    return text


def _log(namespace: argparse.Namespace) -> int:
    from idrstream.cluster.jobs import JobBook
    from idrstream.cluster.layout import ClusterFolder
    from idrstream.folder.recorded import read_recorded_call

    folder = ClusterFolder(namespace.folder)
    if namespace.phase != "run":
        settings = read_recorded_call(namespace.folder).settings or {}
        log = settings.get("stream", {}).get("log")
        paths = [Path(log)] if log else []
    else:
        book = JobBook(folder)
        if namespace.job not in book.jobs:
            msg = f"give --job N; {namespace.folder} has the jobs {as_ranges(book.jobs)}"
            raise ClusterError(msg)
        job = book.jobs[namespace.job]
        outputs = sorted(folder.logs.glob(f"*{job.array}_{job.number}.out")) if job.array else []
        paths = [folder.logs / f"{job.worker}.log", *outputs]
    for path in paths:
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
                sys.stdout.write(file.read().decode("utf-8", "replace"))
    return 0


def _cleanup(namespace: argparse.Namespace) -> int:
    from idrstream.cluster.clean import clean_folder

    jobs = clean_folder(namespace.folder)
    say(f"{len(jobs)} jobs are cancelled, and what workers left is deleted\n")
    return 0
