from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from idrstream.errors import StorageError
from idrstream.files import (
    atomic_file,
    atomic_path,
    file_sha256,
    is_partial,
    leftovers,
    leftovers_of,
)
from idrstream.opening import (
    check_regular,
    everybody_may_write,
    inside,
    open_own,
    read_regular,
    refuse_strange,
)


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


@pytest.fixture
def strange(tmp_path):
    """Return what may stand in place of a file, by name: a pipe, a folder, links, a second name."""
    target = tmp_path / "outside" / "precious"
    target.parent.mkdir()
    target.write_text("keep")
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(target)
    (folder / "dangling").symlink_to(target.with_name("new"))
    os.link(target, folder / "hard")
    yield folder
    assert names(target.parent) == ["precious"]
    assert target.read_text() == "keep"


@pytest.mark.parametrize(
    ("name", "why"),
    [("pipe", "pipe or a device"), ("folder", "it is a folder"), ("link", "it is a link"),
     ("dangling", "it is a link"), ("hard", "second name")],
)  # fmt: skip
def test_nothing_is_written_through_what_is_no_file(strange, name, why):
    path = strange / name
    with pytest.raises(OSError, match=r"pipe|[Ff]older|directory|link"):
        open_own(path, os.O_WRONLY | os.O_APPEND, "ab")
    with pytest.raises(StorageError, match=why):
        refuse_strange(path, written=True)
    if name in ("link", "dangling", "hard"):  # the name is replaced, not what it leads to
        with atomic_file(path) as file:
            file.write(b"new")
        assert not path.is_symlink()
        assert path.read_text() == "new"
    else:
        with pytest.raises(OSError, match=r"pipe|directory"), atomic_file(path) as file:
            file.write(b"new")


@pytest.mark.parametrize("name", ["pipe", "folder", "/dev/zero"])
def test_only_regular_files_are_read(strange, name):
    path = strange / name
    for read in (file_sha256, check_regular, lambda path: read_regular(path, 10)):
        with pytest.raises(OSError, match="not a file"):
            read(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_regular(tmp_path / "a", 4)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/../../b", "a/..", "/etc/passwd", "a//b", "a/", "./a", "a\0b"]
)
def test_a_name_cannot_lead_out_of_its_folder(tmp_path, name):
    with pytest.raises(StorageError, match="no name of a file"):
        inside(tmp_path, name)


def test_a_link_cannot_either(strange):
    assert inside(strange, "folder/a b.csv") == strange / "folder" / "a b.csv"
    (strange / "qc").symlink_to(strange.parent / "outside")
    for name in ("link", "dangling", "qc", "qc/precious", "qc/new"):
        with pytest.raises(StorageError, match="is a link"):
            inside(strange, name)


def test_a_device_is_written_only_where_the_user_names_it():
    with atomic_path(Path("/dev/null"), or_device=True) as part:
        part.write_text("x")
    with pytest.raises(OSError, match="device"), atomic_path(Path("/dev/null")):
        pass


def test_who_may_write(tmp_path):
    path = tmp_path / "own"
    path.touch(mode=0o666)
    path.chmod(0o666)
    umask = os.umask(0)
    try:
        open_own(path, os.O_RDWR, "rb+").close()
        open_own(tmp_path / "new", os.O_RDWR, "rb+").close()
        with atomic_file(tmp_path / "small", mode=0o644) as file:
            file.write(b"x")
    finally:
        os.umask(umask)
    for name in ("own", "new", "small"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o644, name
    assert not everybody_may_write(tmp_path)
    tmp_path.chmod(0o777)
    assert everybody_may_write(tmp_path)
