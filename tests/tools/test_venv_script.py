"""What `make demo` and `make test` say when something they need is missing."""

import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    """A checkout in a folder with a space, and a PATH with nothing on it but the shell's tools."""
    place = tmp_path / "my check out"
    (place / "tools").mkdir(parents=True)
    for name in ("tools/venv.sh", "pyproject.toml", "constraints.txt"):
        shutil.copy(PROJECT / name, place / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "cat", "cksum", "dirname", "df", "awk", "rm"):
        (tools / name).symlink_to(shutil.which(name))
    return place, tools


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(checkout, **environment):
    place, tools = checkout
    return subprocess.run(
        [place / "tools" / "venv.sh"],
        env={"PATH": str(tools), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_that_does_not_fit_is_told(checkout):
    program(checkout[1] / "python3", "exit 1")  # the version check fails
    done = run(checkout)
    assert done.returncode == 2
    assert "needs Python 3.10 or 3.11" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_a_missing_venv_module_is_told(checkout):
    program(checkout[1] / "python3", 'case "$*" in *ensurepip*) exit 1;; esac')
    done = run(checkout)
    assert done.returncode == 2
    assert "has no venv module" in done.stderr
    assert "python3.11-venv" in done.stderr


def test_a_full_disk_is_told(checkout):
    place, tools = checkout
    program(tools / "python3", "exit 0")
    (tools / "df").unlink()
    program(tools / "df", "echo head; echo '/dev/x 1 1 12 1% /'")
    done = run(checkout)
    assert done.returncode == 2
    assert "needs 6 GB" in done.stderr
    assert f"12 MB in {place}" in done.stderr


def test_a_failed_installation_is_told_and_can_be_repeated(checkout):
    place, tools = checkout
    # A python whose venv is a python without packages to install from.
    program(
        tools / "python3",
        'case "$*" in *"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;; '
        '*"pip install"*) echo "no network" >&2; exit 1;; esac',
    )
    for name in ("mkdir", "cp"):
        (tools / name).symlink_to(shutil.which(name))
    done = run(checkout)
    assert done.returncode == 2
    assert "no network" in done.stderr
    assert "Run the same command again" in done.stderr
    assert not list((place / ".venv").glob(".installed*"))


def test_what_is_installed_is_not_installed_again(checkout):
    place, tools = checkout
    calls = place.parent / "calls"
    program(
        tools / "python3",
        f'case "$*" in *"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;; '
        f"*\"pip install\"*) echo install >> '{calls}';; esac",
    )
    for name in ("mkdir", "cp"):
        (tools / name).symlink_to(shutil.which(name))
    assert run(checkout).returncode == 0
    assert run(checkout).returncode == 0
    assert calls.read_text().split() == ["install"]
    (place / "constraints.txt").write_text("numpy==1.26.4\n")
    assert run(checkout).returncode == 0
    assert calls.read_text().split() == ["install", "install"]
