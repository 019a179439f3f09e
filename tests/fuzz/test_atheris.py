"""The coverage-guided targets, briefly, where atheris is installed."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("what", ["table", "settings"])
def test_nothing_crashes_within_seconds(what):
    pytest.importorskip("atheris")
    target = Path(__file__).with_name("atheris_readers.py")
    words = [sys.executable, str(target), what, "3"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done" in done.stderr
