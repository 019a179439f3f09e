"""``idrstream run --detach``: a stream in a process of its own, which outlives the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from idrstream.errors import StorageError
from idrstream.folder.live import DETACHED_LOG, LivePhase, read_live
from idrstream.folder.locks import holder
from idrstream.opening import open_own

_TAIL_BYTES = 4000


def start_detached(config: Path, options: Mapping[str, str], folder: Path) -> tuple[int, str]:
    """Start ``idrstream run`` in a session of its own, and wait until its first batch begins.

    Parameters
    ----------
    config : Path
        The TOML file.
    options : Mapping
        Settings that were given on the command line, by name.
    folder : Path
        Output folder; what the process writes to its terminal goes to ``detached.log`` there.

    Returns
    -------
    tuple of int and str
        Exit code, and what is to be said: 0 when it runs; the code and last words of the process
        when it ended at once.

    Raises
    ------
    StorageError
        If its output cannot be written.
    """
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "idrstream", "run", str(config), *given, "--progress=false"]
    path = folder / DETACHED_LOG
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open_own(path, os.O_WRONLY | os.O_APPEND, "ab") as output:
            begin = output.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # Python would import modules that happen to lie in the working directory.
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}"
        raise StorageError(msg) from error
    while process.poll() is None:
        who = holder(folder)
        live = read_live(folder, who)
        if live is not None and live.holder.pid == process.pid and live.phase != LivePhase.STARTING:
            process.returncode = 0  # it outlives this process: Python must not warn about it
            return 0, (
                f"The stream runs as process {process.pid}; its messages go to {path}\n"
                f"Watch it with:\n  idrstream status {quote(str(folder))} --watch\n"
                f"Stop it with:\n  idrstream stop {quote(str(folder))}\n"
            )
        time.sleep(0.1)
    with path.open("rb") as output:
        output.seek(begin)
        said = output.read()[-_TAIL_BYTES:].decode("utf-8", "replace")
    return process.returncode, said
