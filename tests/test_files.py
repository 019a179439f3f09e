from __future__ import annotations

import subprocess
import sys

import pytest

from idrstream.files import atomic_path, is_partial, leftovers, leftovers_of


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic_path(path) as part:
        part.write_text("whole")
        assert not path.exists()
        assert part.parent == path.parent
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with atomic_path(path) as part:
            part.write_text("half")
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("form", [".a.txt.part", ".a.txt.0123456789abcdef.part"])
def test_what_a_killed_process_left_is_found_and_never_published(tmp_path, form):
    path = tmp_path / "a.txt"
    left = tmp_path / form
    left.write_text("left behind by a process that was killed")
    with atomic_path(path) as part:
        assert not part.exists()
        part.write_text("whole")
    assert path.read_text() == "whole"
    assert list(leftovers_of(path)) == list(leftovers(tmp_path)) == [left]
    assert is_partial(form)


@pytest.mark.parametrize("name", ["a.txt", "a.part", ".part", "..part", ".a.txt"])
def test_other_files_are_not_partial(tmp_path, name):
    assert not is_partial(name)
    (tmp_path / name).touch()
    assert list(leftovers(tmp_path)) == []


WRITER = """
import sys
from pathlib import Path
from idrstream.files import atomic_path
path, letter = Path(sys.argv[1]), sys.argv[2]
for _ in range(60):
    with atomic_path(path, durable=False) as part, part.open("w") as file:
        for _ in range(40):
            file.write(letter * 500)
            file.flush()
"""


def test_writers_of_one_file_never_mix(tmp_path):
    path = tmp_path / "a.txt"
    wholes = {letter * 20_000 for letter in "abc"}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "abc"
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_text())
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    seen.add(path.read_text())
    assert seen <= wholes
    assert names(tmp_path) == ["a.txt"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(OSError, match="part"), atomic_path(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []
