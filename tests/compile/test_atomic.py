from __future__ import annotations

import pytest

from idrstream.files import atomic_path


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


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    path = tmp_path / "a.txt"
    (tmp_path / ".a.txt.part").write_text("left behind by a process that was killed")
    with atomic_path(path) as part:
        part.write_text("whole")
    assert path.read_text() == "whole"
    assert names(tmp_path) == ["a.txt"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(OSError, match="part"), atomic_path(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []
