"""A stand-in for IBM's proprietary ``ascp``, for the tests only. It is not ascp.

It takes exactly the options that ascp takes (anything else: usage text, exit 1), copies from a
local folder that plays the server, and plays one behaviour of its plan per call. Called as
``fake_ascp.py STATE_FOLDER <ascp's own arguments>``; the folder has ``server/`` (the files),
``plan.json`` (behaviours still to play) and gets ``calls.jsonl``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

USAGE = "Usage: ascp [OPTION] SRC... DEST\n"
FLAGS = {"-T", "-q", "-Q", "-d", "-p", "-v"}
VALUED = {"-l", "-m", "-P", "-O", "-i", "-k", "-L", "-Z"}
LONG = {
    "overwrite": r"never|always|diff|older|diff\+older",
    "partial-file-suffix": r"\.?[\w.]+",
    "mode": "send|recv",
    "user": r"\S+",
    "host": r"\S+",
}
VALUES = {"-l": r"\d+[kKmMgG]?", "-P": r"\d+", "-k": "[0-3]"}


def usage(why: str) -> int:
    sys.stderr.write(f"ascp: {why}\n{USAGE}")
    return 1


def parse(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """Parse as strictly as ascp; ValueError says what is wrong."""
    options: dict[str, str] = {}
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, _, value = argument[2:].partition("=")
        if argument.startswith("--"):
            if name not in LONG or not re.fullmatch(LONG[name], value):
                raise ValueError(f"unrecognized option '{argument}'")
            options[name] = value
        elif argument in FLAGS:
            options[argument] = ""
        elif argument in VALUED:
            value = next(waiting, "")
            if not re.fullmatch(VALUES.get(argument, r".+"), value):
                raise ValueError(f"invalid option value {argument} '{value}'")
            options[argument] = value
        elif argument.startswith("-"):
            raise ValueError(f"invalid option -- '{argument}'")
        else:
            rest.append(argument)
    if len(rest) != 2 or not re.fullmatch(r"[\w.-]+@[\w.-]+:.+", rest[0]):
        raise ValueError("expected USER@HOST:PATH DEST")
    return options, rest


def next_behaviour(state: Path) -> str:
    plan = json.loads((state / "plan.json").read_text())
    if not plan:
        return "ok"
    (state / "plan.json").write_text(json.dumps(plan[1:]))
    return plan[0]


def copy(source: Path, target: Path, suffix: str, stop_at: int, pause_s: float) -> None:
    """Append to the partial file up to `stop_at`, slowly if asked."""
    partial = target.with_name(target.name + suffix)
    have = partial.stat().st_size if partial.exists() else 0
    target.with_name(target.name + ".aspx").write_text("resume data")
    with source.open("rb") as reading, partial.open("ab") as writing:
        reading.seek(have)
        while have < stop_at:
            block = reading.read(min(4096, stop_at - have))
            writing.write(block)
            writing.flush()
            have += len(block)
            time.sleep(pause_s)


def main(arguments: list[str]) -> int:
    state = Path(arguments[0])
    try:
        options, (remote, destination) = parse(arguments[1:])
    except ValueError as error:
        return usage(str(error))
    target = Path(destination)
    suffix = options.get("partial-file-suffix", "")
    partial = target.with_name(target.name + suffix)
    with (state / "calls.jsonl").open("a") as calls:
        have = partial.stat().st_size if partial.exists() else 0
        stdin = sys.stdin.read() if not sys.stdin.isatty() else "a terminal"
        call = {"argv": arguments[1:], "resumed_from": have, "stdin": stdin, "pid": os.getpid()}
        calls.write(json.dumps(call) + "\n")
    kind, _, text = next_behaviour(state).partition(":")
    return play(kind, text, state, options, remote, target, suffix)


def play(kind, text, state, options, remote, target, suffix) -> int:
    partial = target.with_name(target.name + suffix)
    if kind in ("stdout", "stderr", "log"):
        if kind == "log":
            (Path(options["-L"]) / "aspera-scp-transfer.log").write_text(text)
        else:
            getattr(sys, kind).write(text + "\n")
        return 1
    if kind == "status":
        return int(text)
    source = state / "server" / remote.split(":", 1)[1].lstrip("/")
    if not source.is_file():
        sys.stdout.write("ascp: Source file open: No such file or directory, exiting.\n")
        sys.stdout.write(
            "Session Stop  (Error: Server aborted session: No such file or directory)\n"
        )
        return 1
    size = source.stat().st_size
    if kind in ("killed", "hang", "family"):
        copy(source, target, suffix, size // 2, 0)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if kind == "family":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (state / "child.pid").write_text(str(child.pid))
        time.sleep(600)
    if kind == "short":
        target.write_bytes(source.read_bytes()[: size // 2])
        return 0
    if kind == "nofile":
        return 0
    if kind == "saidstop":
        sys.stdout.write("Session Stop  (Error: Session data transfer timeout)\n")
        return 0
    copy(source, target, suffix, size, float(text or 0))
    partial.rename(target)
    target.with_name(target.name + ".aspx").unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
