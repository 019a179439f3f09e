"""The ledger of the disk budget against a simple model, and what is said of sizes."""

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
