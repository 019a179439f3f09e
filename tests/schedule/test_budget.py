"""The ledger of the disk budget against a simple model, and what is said of sizes."""

import importlib.util
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from idrstream.schedule.disk.budget import DiskBudget, DiskMeter, tree_bytes

KEYS = st.sampled_from(["fixed", ("image", 0, 0), ("image", 0, 1), ("model", "P", 0)])


class BudgetMachine(RuleBasedStateMachine):
    """The model: a dictionary whose values never add up to more than the limit."""

    @initialize(limit=st.none() | st.integers(1, 100))
    def begin(self, limit):
        self.limit, self.model, self.most = limit, {}, 0
        self.budget = DiskBudget(limit)

    @rule(key=KEYS, size=st.integers(0, 60))
    def reserve(self, key, size):
        wanted = {**self.model, key: size}
        fits = self.limit is None or sum(wanted.values()) <= self.limit
        fits = fits or size <= self.model.get(key, 0)
        assert self.budget.try_reserve(key, size) == fits
        if fits:
            self.model = wanted
            self.most = max(self.most, sum(wanted.values()))

    @rule(key=KEYS)
    def release(self, key):
        self.budget.release(key)
        self.model.pop(key, None)

    @invariant()
    def agrees(self):
        if not hasattr(self, "budget"):
            return
        used = sum(self.model.values())
        assert self.budget.used_bytes == used
        assert self.budget.peak_bytes == self.most
        assert self.budget.free_bytes == (None if self.limit is None else self.limit - used)
        assert all(self.budget.held(key) == size for key, size in self.model.items())
        assert self.limit is None or used <= self.limit


TestBudget = BudgetMachine.TestCase


def test_links_count_once_and_folders_that_vanish_not_at_all(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(100))
    (tmp_path / "link").hardlink_to(tmp_path / "a" / "file")
    (tmp_path / "symbolic").symlink_to("/etc")
    assert 100 < tree_bytes(tmp_path) < 110
    assert tree_bytes(tmp_path / "gone") == 0


def test_the_meter_sees_the_end(tmp_path):
    meter = DiskMeter(tmp_path, 60)
    meter.start()
    (tmp_path / "file").write_bytes(bytes(100))
    meter.close()
    assert meter.peak_bytes == 100


def test_what_is_deleted_while_it_is_counted_hides_nothing_else(tmp_path, monkeypatch):
    for name in "abc":
        (tmp_path / name).write_bytes(bytes(1000))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "d").write_bytes(bytes(1000))
    scandir = os.scandir

    @contextmanager
    def then_others_delete(folder):
        with scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        Path(folder, "a").unlink(missing_ok=True)
        yield iter(found)

    monkeypatch.setattr(os, "scandir", then_others_delete)
    assert tree_bytes(tmp_path) == 3000


def test_the_benchmark_samples_on_when_folders_go_away(tmp_path, monkeypatch):
    benchmarks = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    spec = importlib.util.spec_from_file_location("benchmark_stream", benchmarks / "stream.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "kept").write_bytes(bytes(5000))
    watch = module.Watch(os.getpid(), tmp_path)
    watch.start()
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        (tmp_path / "1" / "2").mkdir(parents=True)
        (tmp_path / "1" / "2" / "x").write_bytes(bytes(10))
        shutil.rmtree(tmp_path / "1")
    watch.close()
    assert watch.peak_disk >= 5000
    assert watch.peak_rss > 0
    monkeypatch.setattr("idrstream.schedule.disk.budget.tree_bytes", lambda folder: 1 // 0)
    broken = module.Watch(os.getpid(), tmp_path)
    broken.start()
    time.sleep(0.3)
    with pytest.raises(ZeroDivisionError):
        broken.close()
