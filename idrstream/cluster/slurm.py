"""SLURM: tested against real daemons; its accounting (`sacct`) is not needed and used if there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from idrstream.cluster.queues import (
    FOR_MEMORY,
    KILLED,
    Account,
    JobState,
    QueueSystem,
    Resources,
    as_array,
    as_word,
    named_words,
    run_command,
)
from idrstream.cluster.work import EndKind

_OF_ARRAY = re.compile(r"(\d+)_(\d+)(\.\w+)?")
_MEBIBYTES = re.compile(r"(\d+(?:\.\d+)?)M")


class Slurm(QueueSystem):
    """SLURM, with or without its accounting."""

    name, index = "slurm", "SLURM_ARRAY_TASK_ID"

    def header(self, resources: Resources, logs: Path) -> list[str]:
        """Return the lines of a script that ask for resources."""
        wanted = [
            "--job-name=idrstream",
            f"--output={as_word(logs)}/slurm-%A_%a.out",
            "--nodes=1",
            "--ntasks=1",
            f"--cpus-per-task={resources.cores}",
            f"--mem={resources.megabytes}M",
            f"--time={resources.duration}",
            "--signal=B:TERM@60",
            *([f"--gpus-per-node={resources.gpus}"] if resources.gpus else []),
            *named_words(resources, partition="--partition=", account="--account=", qos="--qos="),
        ]
        return [f"#SBATCH {word}" for word in wanted]

    def submit(self, script: Path, numbers: Sequence[int], at_once: int) -> str:
        """Submit an array of jobs."""
        array = f"--array={as_array(numbers)}%{at_once}"
        said = run_command(["sbatch", "--parsable", array, str(script)])
        return said.strip().partition(";")[0]

    def states(self, array: str, numbers: Iterable[int]) -> dict[int, JobState]:
        """Return what became of jobs; also without `sacct`."""
        found: dict[int, JobState] = {}
        said = run_command(["scontrol", "show", "job", "-o", array], may_fail=True)
        for line in said.splitlines():
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            for number in _numbers_in(fields.get("ArrayTaskId", "")):
                found[number] = _slurm_state(fields)
        wanted = set(numbers)
        return {number: state for number, state in found.items() if number in wanted}

    def accounts(self, array: str) -> dict[int, Account]:
        """Return what `sacct` has of the jobs of an array; empty where there is no accounting."""
        if shutil.which("sacct") is None:
            return {}
        fields = ["JobID", "State", "ExitCode", "Elapsed", "MaxRSS", "NodeList"]
        words = ["sacct", "--noheader", "--parsable2", "--units=M", "--array", "--jobs", array]
        said = run_command([*words, "--format", ",".join(fields)], may_fail=True)
        found: dict[int, Account] = {}
        for line in said.splitlines():
            values = line.split("|")
            match = _OF_ARRAY.fullmatch(values[0])
            if match is None or match[1] != array or len(values) != len(fields):
                continue
            number, (_, state, code, elapsed, peak, nodes) = int(match[2]), values
            peak_bytes = _bytes_of(peak)
            if match[3]:  # a step of a job: only steps have memory
                if number in found:
                    most = max(peak_bytes, found[number].peak_bytes)
                    found[number] = replace(found[number], peak_bytes=most)
                continue
            told = state if code in ("", "0:0") else f"{state}, exit code {code}"
            found[number] = Account(state=told, elapsed=elapsed, peak_bytes=peak_bytes, nodes=nodes)
        return found

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
        return JobState("ended", f"{state}: {FOR_MEMORY}", EndKind.DIED)
    if state == "FAILED":
        why = KILLED if code == "0:9" else f"exit code {code}"
        return JobState("ended", f"{state}: {why}", EndKind.DIED)
    return JobState("ended", state, EndKind.LOST)


def _bytes_of(text: str) -> int:
    """Return ``12.5M`` in bytes; 0 for anything else."""
    match = _MEBIBYTES.fullmatch(text)
    return round(float(match[1]) * (1 << 20)) if match else 0


def _numbers_in(text: str) -> list[int]:
    """Return the numbers of ``1-4,7%2``."""
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found += range(int(first), int(last or first) + 1)
    return found
