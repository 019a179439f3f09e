"""What `make demo` and `make test` say when something they need is missing."""

import shutil
import subprocess
from pathlib import Path

import pytest

from idrstream.packages import INSTALLED_ALONE

PROJECT = Path(__file__).resolve().parents[2]


SHELL = ("sh", "cat", "cksum", "dirname", "df", "awk", "rm", "mkdir", "cp")
# A python whose virtual environments are copies of itself; pip's calls go to a file.
PYTHON = """case "$*" in
*"-m venv"*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python";;
*"pip install"*) echo "$*" >> "$CALLS";;
esac"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout in a folder with a space, and a PATH with nothing on it but the shell's tools."""
    place = tmp_path / "my check out"
    (place / "tools").mkdir(parents=True)
    for name in (
        "tools/venv.sh", "pyproject.toml", "constraints.txt", "constraints-deepprofiler.txt",
    ):  # fmt: skip
        shutil.copy(PROJECT / name, place / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in SHELL:
        (tools / name).symlink_to(shutil.which(name))
    return place, tools


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def run(checkout, *arguments, **environment):
    place, tools = checkout
    calls = place.parent / "calls"
    return subprocess.run(
        [place / "tools" / "venv.sh", *arguments],
        env={"PATH": str(tools), "CALLS": str(calls), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def installed(checkout):
    """Return the arguments of every pip install so far."""
    calls = checkout[0].parent / "calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    return [line.split("--disable-pip-version-check ")[1] for line in lines]


def test_a_python_that_does_not_fit_is_told(checkout):
    program(checkout[1] / "python3", "exit 1")  # the version check fails
    done = run(checkout)
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert "needs Python 3.11, 3.12 or 3.13" in said
    assert "make PYTHON=" in said
    done = run(checkout, "--deepprofiler")
    assert done.returncode == 2
    assert "DeepProfiler needs Python 3.10 or 3.11" in done.stderr


def test_a_missing_venv_module_is_told(checkout):
    program(checkout[1] / "python3", 'case "$*" in *ensurepip*) exit 1;; *print*) echo 3.12;; esac')
    done = run(checkout)
    assert done.returncode == 2
    assert "has no venv module" in done.stderr
    assert "python3.12-venv" in done.stderr


def test_an_environment_that_could_not_be_made_is_not_left_behind(checkout):
    place, tools = checkout
    program(
        tools / "python3", PYTHON.replace("""cp "$0" "$3/bin/python";;""", "cp $0 $3; exit 3;;")
    )
    done = run(checkout)
    assert done.returncode == 2
    assert ".venv could not be made" in done.stderr
    assert not (place / ".venv").exists()


def test_a_full_disk_is_told(checkout):
    place, tools = checkout
    program(tools / "python3", "exit 0")
    (tools / "df").unlink()
    program(tools / "df", "echo head; echo '/dev/x 1 1 12 1% /'")
    done = run(checkout)
    assert done.returncode == 2
    assert "needs 8 GB" in done.stderr
    assert f"12 MB in {place}" in done.stderr


def test_a_failed_installation_is_told_and_can_be_repeated(checkout):
    place, tools = checkout
    program(
        tools / "python3", PYTHON.replace('echo "$*" >> "$CALLS"', "echo no network >&2; exit 1")
    )
    done = run(checkout)
    assert done.returncode == 2
    assert "no network" in done.stderr
    assert "Run the same command again" in done.stderr
    assert not list((place / ".venv").glob(".installed*"))


def test_packages_with_needless_bounds_go_in_by_themselves_and_all_of_it_once(checkout):
    place, tools = checkout
    program(tools / "python3", PYTHON)
    assert run(checkout, "dev").returncode == 0
    assert run(checkout, "dev").returncode == 0
    once = [
        "--no-warn-conflicts -c constraints.txt -e .[dev]",
        f"--no-deps -c constraints.txt {' '.join(INSTALLED_ALONE)}",
    ]
    assert installed(checkout) == once
    (place / "constraints.txt").write_text("numpy==1.26.4\n")
    assert run(checkout, "dev").returncode == 0
    assert installed(checkout) == once * 2


def test_the_constraints_pin_what_goes_in_by_itself():
    pinned = (PROJECT / "constraints.txt").read_text().lower()
    for name in INSTALLED_ALONE:
        assert f"\n{name}==" in pinned


def test_deepprofiler_has_an_environment_of_its_own(checkout):
    place, tools = checkout
    program(tools / "python3", PYTHON)
    assert run(checkout, "--deepprofiler").returncode == 0
    assert run(checkout, "--deepprofiler").returncode == 0
    assert installed(checkout) == ["-c constraints-deepprofiler.txt deepprofiler"]
    assert (place / ".venv-deepprofiler" / "bin" / "python").exists()
    assert not (place / ".venv").exists()


def test_a_python_of_pyenv_and_one_that_is_named_are_found(checkout, tmp_path):
    place, tools = checkout
    program(tools / "python3", "exit 1")
    bin_folder = tmp_path / "pyenv" / "versions" / "3.12.1" / "bin"
    bin_folder.mkdir(parents=True)
    program(bin_folder / "python", PYTHON)
    assert run(checkout, PYENV_ROOT=str(tmp_path / "pyenv")).returncode == 0
    shutil.rmtree(place / ".venv")
    named = tmp_path / "a named python"
    program(named, PYTHON)
    assert run(checkout, PYTHON=str(named)).returncode == 0


def test_the_next_python_is_taken_when_one_cannot_make_environments(checkout):
    _, tools = checkout
    program(tools / "python3.11", 'case "$*" in *ensurepip*) exit 1;; esac')
    program(tools / "python3.12", PYTHON)
    assert run(checkout).returncode == 0


def test_uv_is_taken_where_no_python_fits(checkout):
    place, tools = checkout
    program(tools / "python3", "exit 1")
    source = tools.parent / "uvs python"
    program(source, PYTHON)
    program(
        tools / "uv",
        f"""echo "$*" > '{place}/asked'; mkdir -p .venv/bin; cp '{source}' .venv/bin/python""",
    )
    assert run(checkout).returncode == 0
    assert "--seed --python 3.11 .venv" in (place / "asked").read_text()
    assert len(installed(checkout)) == 2
