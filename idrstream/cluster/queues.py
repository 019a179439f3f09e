"""Queue systems: scripts of job arrays, their submission, and what became of their jobs.

SLURM is tested against a real one. PBS and LSF follow their manuals and are untested.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, Protocol

import idrstream
from idrstream.cluster.work import EndKind
from idrstream.errors import ClusterError, ConfigError, MissingToolError
from idrstream.text import as_ranges, parse_size

_TIMEOUT_S = 60.0
_TEXT = re.compile(r"[\w.,:/+@%=-]+")  # values that become words of a script's header
_DURATION = re.compile(r"(?:(\d{1,4})-)?(?:(\d{1,4}):)?([0-5]?\d):([0-5]\d)")
_FOR_MEMORY = "it used more memory than its job may: ask for more (--memory)"
_KILLED = "it was killed (signal 9), as by a system that has no memory left, or by somebody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What each job asks for.

    Attributes
    ----------
    cores, gpus : int
        Processor cores and GPUs.
    memory : str
        For example ``16GB``.
    duration : str
        Time limit, ``HH:MM:SS`` or ``D-HH:MM:SS``.
    partition, account, qos : str
        Names in the queue system; empty for its defaults.
    prologue : tuple of str
        Lines of shell before the worker, for example ``module load cuda``.
    """

    cores: int = 4
    gpus: int = 0
    memory: str = "16GB"
    duration: str = "06:00:00"
    partition: str = ""
    account: str = ""
    qos: str = ""
    prologue: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what becomes part of a script."""
        for name in ("partition", "account", "qos"):
            value = getattr(self, name)
            if value and not _TEXT.fullmatch(value):
                msg = f"{name} {value!r} cannot stand in a job script"
                raise ConfigError(msg)
        duration_s(self.duration)
        if parse_size(self.memory, "memory") is None:
            msg = "memory is needed for jobs, such as 16GB"
            raise ConfigError(msg)

    @property
    def seconds(self) -> int:
        """The time limit in seconds."""
        return duration_s(self.duration)

    @property
    def megabytes(self) -> int:
        """The memory in MiB, rounded up."""
        return -(-(parse_size(self.memory) or 0) // (1 << 20))


@dataclass(frozen=True, slots=True)
class JobState:
    """What a queue system says of a job.

    Attributes
    ----------
    phase : str
        ``waiting``, ``running`` or ``ended``.
    reason : str
        Why it waits, or how it ended.
    kind : EndKind
        How its work ended, if it did and the worker did not say.
    """

    phase: str
    reason: str = ""
    kind: EndKind = EndKind.LOST


class QueueSystem(Protocol):
    """A queue system."""

    name: str
    index: str
    """Variable with the number of a job in its array."""

    def header(self, resources: Resources, logs: Path) -> list[str]:
        """Return the lines of a script that ask for resources."""
        ...

    def submit(self, script: Path, numbers: Sequence[int], at_once: int) -> str:
        """Submit an array of jobs; return its number in the queue system."""
        ...

    def states(self, array: str, numbers: Iterable[int]) -> dict[int, JobState]:
        """Return what became of jobs of an array, by their numbers; without those forgotten."""
        ...

    def cancel(self, array: str, numbers: Iterable[int]) -> None:
        """Cancel jobs of an array."""
        ...


class Slurm(QueueSystem):
    """SLURM, with or without its accounting."""

    name, index = "slurm", "SLURM_ARRAY_TASK_ID"

    def header(self, resources: Resources, logs: Path) -> list[str]:
        """Return the lines of a script that ask for resources."""
        wanted = [
            "--job-name=idrstream",
            f"--output={_word(logs)}/slurm-%A_%a.out",
            "--nodes=1",
            "--ntasks=1",
            f"--cpus-per-task={resources.cores}",
            f"--mem={resources.megabytes}M",
            f"--time={resources.duration}",
            "--signal=B:TERM@60",
            *([f"--gpus-per-node={resources.gpus}"] if resources.gpus else []),
            *_named(resources, partition="--partition=", account="--account=", qos="--qos="),
        ]
        return [f"#SBATCH {word}" for word in wanted]

    def submit(self, script: Path, numbers: Sequence[int], at_once: int) -> str:
        """Submit an array of jobs."""
        array = f"--array={_array(numbers)}%{at_once}"
        said = run_command(["sbatch", "--parsable", array, str(script)])
        return said.strip().partition(";")[0]

    def states(self, array: str, numbers: Iterable[int]) -> dict[int, JobState]:
        """Return what became of jobs; also without `sacct`."""
        found: dict[int, JobState] = {}
        said = run_command(["scontrol", "show", "job", "-o", array], may_fail=True)
        for line in said.splitlines():
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            for number in _numbers(fields.get("ArrayTaskId", "")):
                found[number] = _slurm_state(fields)
        wanted = set(numbers)
        return {number: state for number, state in found.items() if number in wanted}

    def job_state(self, job: str) -> JobState | None:
        """Return what became of a job outside arrays; None if nobody knows."""
        said = run_command(["scontrol", "show", "job", "-o", job], may_fail=True)
        fields = dict(word.split("=", 1) for word in said.split() if "=" in word)
        return _slurm_state(fields) if fields else None

    def cancel(self, array: str, numbers: Iterable[int]) -> None:
        """Cancel jobs."""
        ids = [f"{array}_{number}" for number in numbers]
        if ids:
            run_command(["scancel", *ids], may_fail=True)


def _slurm_state(fields: Mapping[str, str]) -> JobState:
    state = fields.get("JobState", "")
    reason = fields.get("Reason", "")
    if state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED"):
        return JobState("waiting", reason)
    if state in ("RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "RESIZING"):
        return JobState("running")
    code = fields.get("ExitCode", "")
    if state == "OUT_OF_MEMORY" or code == "0:125":
        return JobState("ended", f"{state}: {_FOR_MEMORY}", EndKind.DIED)
    if state == "FAILED":
        why = _KILLED if code == "0:9" else f"exit code {code}"
        return JobState("ended", f"{state}: {why}", EndKind.DIED)
    return JobState("ended", state, EndKind.LOST)


class Pbs(QueueSystem):
    """PBS Pro and OpenPBS; untested."""

    name, index = "pbs", "PBS_ARRAY_INDEX"

    def header(self, resources: Resources, logs: Path) -> list[str]:
        """Return the lines of a script that ask for resources."""
        gpus = f":ngpus={resources.gpus}" if resources.gpus else ""
        select = f"select=1:ncpus={resources.cores}:mem={resources.megabytes}mb{gpus}"
        wanted = [
            "-N idrstream",
            "-j oe",
            f"-o {_word(logs)}/",
            f"-l {select}",
            f"-l walltime={_hours(resources.seconds)}",
            *_named(resources, partition="-q ", account="-A ", qos="-l qos="),
        ]
        return [f"#PBS {word}" for word in wanted]

    def submit(self, script: Path, numbers: Sequence[int], at_once: int) -> str:
        """Submit an array of jobs; PBS takes a range, jobs that are not wanted leave at once."""
        first, last = min(numbers), max(max(numbers), min(numbers) + 1)
        return run_command(["qsub", "-J", f"{first}-{last}%{at_once}", str(script)]).strip()

    def states(self, array: str, numbers: Iterable[int]) -> dict[int, JobState]:
        """Return what became of jobs."""
        said = run_command(["qstat", "-x", "-t", "-f", "-F", "json", array], may_fail=True)
        jobs: Mapping[str, Mapping[str, Any]] = json.loads(said or "{}").get("Jobs", {})
        found = {}
        for name, job in jobs.items():
            index = re.search(r"\[(\d+)\]", name)
            if index and int(index[1]) in set(numbers):
                found[int(index[1])] = _pbs_state(job)
        return found

    def cancel(self, array: str, numbers: Iterable[int]) -> None:
        """Cancel jobs."""
        ids = [array.replace("[]", f"[{number}]") for number in numbers]
        if ids:
            run_command(["qdel", *ids], may_fail=True)


def _pbs_state(job: Mapping[str, Any]) -> JobState:
    state, code = job.get("job_state"), job.get("Exit_status", 0)
    if state in ("Q", "H", "W", "S"):
        return JobState("waiting", str(job.get("comment", "")))
    if state in ("R", "B", "E", "T"):
        return JobState("running")
    if code in (137, 265):
        return JobState("ended", f"exit status {code}: {_KILLED}", EndKind.DIED)
    kind = EndKind.DIED if code and code > 0 else EndKind.LOST  # negative: PBS's own doing
    return JobState("ended", f"exit status {code}", kind)


class Lsf(QueueSystem):
    """IBM Spectrum LSF; untested."""

    name, index = "lsf", "LSB_JOBINDEX"

    def header(self, resources: Resources, logs: Path) -> list[str]:
        """Return the lines of a script that ask for resources."""
        wanted = [
            f"-o {_word(logs)}/lsf-%J_%I.out",
            f"-n {resources.cores}",
            '-R "span[hosts=1]"',
            f'-R "rusage[mem={resources.megabytes}MB]"',
            f"-M {resources.megabytes}MB",
            f"-W {-(-resources.seconds // 60)}",
            *([f'-gpu "num={resources.gpus}"'] if resources.gpus else []),
            *_named(resources, partition="-q ", account="-P ", qos="-sla "),
        ]
        return [f"#BSUB {word}" for word in wanted]

    def submit(self, script: Path, numbers: Sequence[int], at_once: int) -> str:
        """Submit an array of jobs."""
        name = f"idrstream[{_array(numbers)}]%{at_once}"
        said = run_command(["bsub", "-J", name, "bash", str(script)])
        match = re.search(r"Job <(\d+)>", said)
        if match is None:
            msg = f"bsub said {said!r}, which names no job"
            raise ClusterError(msg)
        return match[1]

    def states(self, array: str, numbers: Iterable[int]) -> dict[int, JobState]:
        """Return what became of jobs."""
        fields = "jobindex stat exit_code exit_reason pend_reason"
        said = run_command(["bjobs", "-a", "-json", "-o", fields, array], may_fail=True)
        records = json.loads(said or "{}").get("RECORDS", [])
        wanted = set(numbers)
        return {
            int(record["JOBINDEX"]): _lsf_state(record)
            for record in records
            if str(record.get("JOBINDEX", "")).isdigit() and int(record["JOBINDEX"]) in wanted
        }

    def cancel(self, array: str, numbers: Iterable[int]) -> None:
        """Cancel jobs."""
        ids = [f"{array}[{number}]" for number in numbers]
        if ids:
            run_command(["bkill", *ids], may_fail=True)


def _lsf_state(record: Mapping[str, str]) -> JobState:
    state, reason = record.get("STAT", ""), record.get("EXIT_REASON", "")
    if state in ("PEND", "PSUSP", "USUSP", "SSUSP", "WAIT"):
        return JobState("waiting", record.get("PEND_REASON", ""))
    if state in ("RUN", "PROV"):
        return JobState("running")
    if "TERM_MEMLIMIT" in reason:
        return JobState("ended", _FOR_MEMORY, EndKind.DIED)
    lost = state == "DONE" or "TERM_" in reason  # run limit, preemption, owner, administrator
    return JobState("ended", reason or state, EndKind.LOST if lost else EndKind.DIED)


SYSTEMS: Mapping[str, QueueSystem] = {one.name: one for one in (Slurm(), Pbs(), Lsf())}
"""The queue systems by name."""


def queue_system(name: str) -> QueueSystem:
    """Return a queue system.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    if name not in SYSTEMS:
        msg = f"queue_system {name!r} is none of {', '.join(SYSTEMS)}"
        raise ConfigError(msg)
    return SYSTEMS[name]


def job_script(
    system: QueueSystem, resources: Resources, logs: Path, command: Sequence[str]
) -> str:
    """Return the script of an array of jobs.

    Parameters
    ----------
    system : QueueSystem
        The queue system.
    resources : Resources
        What each job asks for.
    logs : Path
        Folder for what jobs write to their terminal.
    command : sequence of str
        Program and arguments of a worker; number and start of the job are added.
    """
    words = " ".join(map(quote, command))
    package = str(Path(idrstream.__file__).absolute().parents[1])  # the same one everywhere
    return "\n".join(
        [
            "#!/bin/bash",
            *system.header(resources, logs),
            "started=$(date +%s)",
            "set -e",
            *resources.prologue,
            f"export OMP_NUM_THREADS={resources.cores} PYTHONSAFEPATH=1",
            f"export PYTHONPATH={quote(package)}${{PYTHONPATH:+:$PYTHONPATH}}",
            f'exec {words} --index "${system.index}" --started "$started"',
            "",
        ]
    )


def run_command(words: Sequence[str], *, may_fail: bool = False) -> str:
    """Run a command of a queue system; return what it said.

    Raises
    ------
    MissingToolError
        If it is not installed here.
    ClusterError
        If it fails, with its words, unless it may.
    """
    program = shutil.which(words[0])
    if program is None:
        msg = f"{words[0]} is not there: run this where jobs are submitted"
        raise MissingToolError(msg)
    try:
        done = subprocess.run(
            [program, *words[1:]], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        if may_fail:
            return ""
        msg = f"{words[0]} did not answer within {_TIMEOUT_S:g} s"
        raise ClusterError(msg) from error
    if done.returncode and not may_fail:
        msg = f"{words[0]} refused: {' '.join(done.stderr.split()) or done.returncode}"
        raise ClusterError(msg)
    return done.stdout


def duration_s(text: str) -> int:
    """Return ``D-HH:MM:SS``, ``HH:MM:SS`` or ``MM:SS`` in seconds.

    Raises
    ------
    ConfigError
        If it is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        msg = f"duration {text!r} is not HH:MM:SS or D-HH:MM:SS"
        raise ConfigError(msg)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _named(resources: Resources, **words: str) -> list[str]:
    return [f"{word}{value}" for name, word in words.items() if (value := getattr(resources, name))]


def _word(path: Path) -> str:
    """Return a path as one word of a header.

    Raises
    ------
    ConfigError
        If it cannot be one.
    """
    text = str(path)
    if not set(text).isdisjoint(" \t\n\"'%\\"):
        msg = f"{text} cannot stand in a job script: take an output folder without blanks or quotes"
        raise ConfigError(msg)
    return text


def _hours(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _array(numbers: Iterable[int]) -> str:
    """Return numbers as an array of jobs is given: ``1-4,7``."""
    return as_ranges(numbers, ",", most=sys.maxsize)


def _numbers(text: str) -> list[int]:
    """Return the numbers of ``1-4,7%2``."""
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found += range(int(first), int(last or first) + 1)
    return found
