"""A stream that is stopped while a part of it hangs ends all the same, and so does its process."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from idrstream.folder.status import read_status

HERE = Path(__file__).parent
HANGS = """
import sys, threading, time
sys.path[:0] = [{faults!r}, {formats!r}]
import quick_parts as quick
import idrstream.schedule.flow as flow
from pathlib import Path
from idrstream.formats import CellH5Reader
from idrstream.preprocess import Preprocessor
from idrstream.preprocess.illumination import NoIllumination
from idrstream.workers.threads import in_threads
from test_java_process import FakeReader

flow._GRACE_S = 1.0
folder = Path({folder!r})
screen = quick.make_screen(folder / "mirror", plates=1, wells=2)
stream = quick.make_stream(screen, folder, plate_model=False)

class Hangs:
    def segment(self, frame, *, outlines=False):
        print("at work", flush=True)
        in_threads(lambda _: time.sleep(600), [1, 2], 2)

def tell(reader):
    while reader._java.process is None:
        time.sleep(0.05)
    print("at work", reader._java.process.pid, flush=True)

if {what!r} == "reader":
    reader = FakeReader("hangs")
    stream.init_preprocessor(Preprocessor(reader, NoIllumination()))
    threading.Thread(target=tell, args=(reader,), daemon=True).start()
    CellH5Reader.problems = lambda self, path, numbers: {{}}
else:
    stream.init_segmentor(Hangs())
try:
    stream.run_stream(quick.table_of(screen), 2, progress=False)
finally:
    stream.close()
"""


@pytest.mark.parametrize("what", ["reader", "segmentor"])
def test_it_ends(tmp_path, what):
    words = HANGS.format(
        faults=str(HERE.parent / "faults"), formats=str(HERE.parent / "formats"),
        folder=str(tmp_path), what=what,
    )  # fmt: skip
    running = subprocess.Popen(
        [sys.executable, "-c", words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    told = running.stdout.readline().split()
    assert told[:2] == ["at", "work"], running.communicate()
    time.sleep(1)
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM, errors
    status = read_status(tmp_path / "out")
    assert status.state == "stopped"
    if what == "reader":
        assert not Path(f"/proc/{told[2]}").exists()
        assert status.stopped_by == "interrupted"
    else:  # a thread cannot be ended, only be told of
        assert "left behind at work, as they do not end: segment" in status.stopped_by
