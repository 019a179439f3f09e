"""Control and live files that somebody else wrote are ignored."""

from __future__ import annotations

import json
import os

import pytest

from idrstream.folder.live import LIVE_NAME, read_live, read_small
from idrstream.folder.locks import Holder


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "content",
    ["[" * 500_000, '{"id":' * 100_000, "1" * 100_000, '{"id": ' + "9" * 5000 + "}", "[]", "\x00"],
)
def test_nonsense_is_no_request(tmp_path, content):
    (tmp_path / "control.json").write_text(content)
    assert read_small(tmp_path / "control.json") == {}


@pytest.mark.timeout(20)
def test_neither_are_pipes_devices_and_large_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "large").write_text(json.dumps({"id": "x" * 2**20}))
    for name in ("pipe", "device", "large", "missing"):
        assert read_small(tmp_path / name) == {}


@pytest.mark.parametrize(
    "change", [{"lanes": 7}, {"lanes": [[]]}, {"holder": None}, {"phase": []}, {"more": 1}]
)
def test_a_live_file_of_another_shape_is_none(tmp_path, change):
    who = Holder(1, "host", 2.0)
    good = {
        "holder": {"pid": 1, "host": "host", "since": 2.0}, "time": 1.0, "phase": "running",
        "lanes": [],
    }  # fmt: skip
    (tmp_path / LIVE_NAME).write_text(json.dumps(good))
    assert read_live(tmp_path, who) is not None
    (tmp_path / LIVE_NAME).write_text(json.dumps({**good, **change}))
    assert read_live(tmp_path, who) is None
