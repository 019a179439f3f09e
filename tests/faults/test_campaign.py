"""The short form of the fault campaign; the long one is ``make faults``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).with_name("campaign.py")


def run(tmp_path, *options):
    out = tmp_path / "faults.json"
    words = [sys.executable, str(CAMPAIGN), "--out", str(out), *options]
    done = subprocess.run(words, capture_output=True, text=True)
    assert out.exists(), done.stderr
    return json.loads(out.read_text()), done


def test_nothing_is_lost_whatever_happens(tmp_path):
    report, done = run(tmp_path, "--short")
    bad = [trial for trial in report["results"] if not trial["identical"]]
    assert bad == [], done.stdout
    assert done.returncode == 0, done.stdout
    assert report["trials"] >= 12 or not report["can_mount"]
    assert report["struck"] >= report["trials"] // 2  # the faults do happen


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_at_every_transition(tmp_path):
    report, done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert report["trials"] >= 200


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_workers_and_coordinators_are_killed(tmp_path):
    out = tmp_path / "faults.json"
    words = [sys.executable, str(CAMPAIGN.with_name("cluster_campaign.py")), "--out", str(out)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    report = json.loads(out.read_text())
    assert report["kills"] >= 200
    assert report["good"] == report["trials"]
