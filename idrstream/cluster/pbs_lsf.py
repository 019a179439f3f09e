"""PBS and LSF: scripts and answers follow the manuals; both are untested."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from idrstream.cluster.queues import (
    FOR_MEMORY,
    KILLED,
    JobState,
    QueueSystem,
    Resources,
    as_array,
    as_word,
    named_words,
    run_command,
)
from idrstream.cluster.work import EndKind
from idrstream.errors import ClusterError


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
            f"-o {as_word(logs)}/",
            f"-l {select}",
            f"-l walltime={_hours(resources.seconds)}",
            *named_words(resources, partition="-q ", account="-A ", qos="-l qos="),
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
        return JobState("ended", f"exit status {code}: {KILLED}", EndKind.DIED)
    kind = EndKind.DIED if code and code > 0 else EndKind.LOST  # negative: PBS's own doing
    return JobState("ended", f"exit status {code}", kind)


class Lsf(QueueSystem):
    """IBM Spectrum LSF; untested."""

    name, index = "lsf", "LSB_JOBINDEX"

    def header(self, resources: Resources, logs: Path) -> list[str]:
        """Return the lines of a script that ask for resources."""
        wanted = [
            f"-o {as_word(logs)}/lsf-%J_%I.out",
            f"-n {resources.cores}",
            '-R "span[hosts=1]"',
            f'-R "rusage[mem={resources.megabytes}MB]"',
            f"-M {resources.megabytes}MB",
            f"-W {-(-resources.seconds // 60)}",
            *([f'-gpu "num={resources.gpus}"'] if resources.gpus else []),
            *named_words(resources, partition="-q ", account="-P ", qos="-sla "),
        ]
        return [f"#BSUB {word}" for word in wanted]

    def submit(self, script: Path, numbers: Sequence[int], at_once: int) -> str:
        """Submit an array of jobs."""
        name = f"idrstream[{as_array(numbers)}]%{at_once}"
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
        return JobState("ended", FOR_MEMORY, EndKind.DIED)
    lost = state == "DONE" or "TERM_" in reason  # run limit, preemption, owner, administrator
    return JobState("ended", reason or state, EndKind.LOST if lost else EndKind.DIED)


def _hours(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
