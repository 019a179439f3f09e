"""How a user knows the settings of a folder as their own."""

from __future__ import annotations

import shutil
import socket

import pytest

from idrstream.folder.seal import is_sealed, seal

SETTINGS = {"stream": {"tmp_dir": "/tmp/x", "idr_id": "idr0013"}}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_the_same_user_machine_path_and_settings_match(folder, tmp_path):
    found = seal(folder, SETTINGS)
    assert is_sealed(folder, SETTINGS, found)
    (tmp_path / "link").symlink_to(folder)
    assert is_sealed(tmp_path / "link", SETTINGS, found)
    assert is_sealed(folder, None, seal(folder, None))
    key = tmp_path / "state" / "idrstream" / "key"
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, 32)
    assert [path.name for path in key.parent.iterdir()] == ["key"]


def test_nothing_else_does(folder, tmp_path, monkeypatch):
    found = seal(folder, SETTINGS)
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert not is_sealed(moved, SETTINGS, found)
    assert not is_sealed(folder, {"stream": {"tmp_dir": "/home"}}, found)
    for other in ("", "0" * 64, None, 3, b"", "ü"):
        assert not is_sealed(folder, SETTINGS, other)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "elsewhere")
        assert not is_sealed(folder, SETTINGS, found)
    with monkeypatch.context() as patch:
        patch.setattr("os.getuid", lambda: 12345)
        assert not is_sealed(folder, SETTINGS, found)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another key"))
    assert not is_sealed(folder, SETTINGS, found)


def test_without_a_place_for_a_key_nothing_matches(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert seal(folder, SETTINGS) == ""
    assert not is_sealed(folder, SETTINGS, "")
