"""From the shell alone: a stream killed half-way, and one whose movie was missing, end whole."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from idrstream import ScreenSpec, simulate_screen
from idrstream.cli.main import main
from idrstream.demo import config_for
from idrstream.folder.verify import verify_folder

PROJECT = Path(__file__).parents[2]
BATCHES = ["batch_0.csv.gz", "batch_1.csv.gz", "batch_2.csv.gz", "batch_3.csv.gz"]

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screen")
    return simulate_screen(
        folder / "screen",
        ScreenSpec(
            plates=1, wells_per_plate=4, frames=2, height=160, width=192, nuclei_per_frame=8
        ),
    )


def settings_of(screen, folder):
    folder.mkdir(exist_ok=True)
    path = folder / "stream.toml"
    path.write_text(
        f"""
        [stream]
        table = '{screen.table_path}'
        final_data_dir = "features"
        tmp_dir = "tmp"
        batch_size = 1
        [download]
        method = "local"
        root = '{screen.folder}'
        screens_path = '{screen.screens_path}'
        [preprocess]
        illumination_context = "frames"
        [segment]
        diameter = 17
        [profile]
        dp_config = '{config_for(160, 192, folder)}'
        """
    )
    return path


@pytest.fixture(scope="module")
def undisturbed(screen, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert main(["run", str(settings_of(screen, folder)), "--progress", "false"]) == 0
    return {name: (folder / "features" / name).read_bytes() for name in BATCHES}


def left_in(folder):
    """Return what a stream left in its ``tmp_dir``, without its project's config and model."""
    kept = (".json", ".h5", ".lock", ".sqlite")
    return [p for p in (folder / "tmp").rglob("*") if p.is_file() and p.suffix not in kept]


def test_killed_half_way_then_resumed(screen, undisturbed, tmp_path):
    settings = settings_of(screen, tmp_path)
    out = tmp_path / "features"
    process = subprocess.Popen(
        [sys.executable, "-m", "idrstream", "run", str(settings), "--progress", "false"],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 120
        while not list(out.glob("batch_*.csv.gz")) and time.monotonic() < end:
            assert process.poll() is None
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    published = {path.name: path.stat().st_mtime_ns for path in out.glob("batch_*.csv.gz")}
    assert 0 < len(published) < len(BATCHES)
    assert main(["resume", str(out), "--progress", "false"]) == 0
    for name, content in undisturbed.items():
        assert (out / name).read_bytes() == content, name
    assert verify_folder(out).is_good
    assert not left_in(tmp_path)


def test_missing_movie_then_rerun(screen, undisturbed, tmp_path, capsys):
    settings = settings_of(screen, tmp_path)
    out = tmp_path / "features"
    movie = sorted(screen.folder.rglob("*.ch5"))[1]
    away = tmp_path / "away"
    movie.rename(away)
    try:
        assert main(["run", str(settings), "--progress", "false"]) != 0
    finally:
        away.rename(movie)
    assert "rerun" in capsys.readouterr().out
    done = {path.name: path.stat().st_mtime_ns for path in out.glob("batch_*.csv.gz")}
    assert main(["rerun", str(out), "--progress", "false"]) == 0
    for name, content in undisturbed.items():
        assert (out / name).read_bytes() == content, name
    # What was whole was left alone.
    assert sum(done.get(n) == (out / n).stat().st_mtime_ns for n in BATCHES) >= len(BATCHES) - 1
    assert not left_in(tmp_path)
