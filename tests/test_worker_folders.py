"""The folder of a worker process goes with it, even if the one who started it was killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

STARTER = """
import sys, time
from idrstream.workers.process import WorkerProcess

code = '''
import sys, time
from idrstream.workers.messages import watched_requests, write_message
for request in watched_requests(sys.stdin.buffer):
    time.sleep(request["seconds"])
    write_message(sys.stdout.buffer, {})
'''
worker = WorkerProcess(lambda folder: [sys.executable, "-c", code], "test")
worker.ask({"seconds": 0}, 60)
print(worker.folder, flush=True)
%s
time.sleep(600)
"""


@pytest.mark.parametrize(
    "then",
    [
        "",
        'worker.ask({"seconds": 600}, 600)',
        'worker._popen.stdin.write(b"\\0\\0\\1\\0{"); worker._popen.stdin.flush()',
    ],
    ids=["idle", "busy", "within a message"],
)
def test_killed_starters_leave_no_folder(then: str, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER % then],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(tmp_path)},
    )
    assert starter.stdout is not None
    folder = Path(starter.stdout.readline().strip())
    assert folder.is_dir()
    assert folder.parent == tmp_path
    starter.kill()
    starter.wait()
    starter.stdout.close()
    until = time.monotonic() + 30
    while folder.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not folder.exists()
