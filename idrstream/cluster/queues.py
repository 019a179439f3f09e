"""Queue systems: scripts of job arrays, their submission, and what became of their jobs.

Each system has a module of its own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Protocol

import idrstream
from idrstream.cluster.work import EndKind
from idrstream.errors import ClusterError, ConfigError, MissingToolError
from idrstream.text import as_ranges, parse_size

_TIMEOUT_S = 60.0
_TEXT = re.compile(r"[\w.,:/+@%=-]+")  # values that become words of a script's header
_DURATION = re.compile(r"(?:(\d{1,4})-)?(?:(\d{1,4}):)?([0-5]?\d):([0-5]\d)")
FOR_MEMORY = "it used more memory than its job may: ask for more (--memory)"
KILLED = "it was killed (signal 9), as by a system that has no memory left, or by somebody"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What the accounting of a queue system has of a job.

    Attributes
    ----------
    state : str
        How it is or ended, in the system's own words.
    elapsed : str
        How long it ran, ``[D-]HH:MM:SS``.
    peak_bytes : int
        Largest memory; 0 if that is not known.
    nodes : str
        Where it ran.
    """

    state: str
    elapsed: str = ""
    peak_bytes: int = 0
    nodes: str = ""


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

    def accounts(self, array: str) -> dict[int, Account]:  # noqa: ARG002
        """Return what the system's accounting has of the jobs of an array; empty without one."""
        return {}

    def cancel(self, array: str, numbers: Iterable[int]) -> None:
        """Cancel jobs of an array."""
        ...


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


def named_words(resources: Resources, **words: str) -> list[str]:
    """Return the words of a header for the names that are given, each after its option."""
    return [f"{word}{value}" for name, word in words.items() if (value := getattr(resources, name))]


def as_word(path: Path) -> str:
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


def as_array(numbers: Iterable[int]) -> str:
    """Return numbers as an array of jobs is given: ``1-4,7``."""
    return as_ranges(numbers, ",", most=sys.maxsize)
