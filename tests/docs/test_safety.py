"""Every row of the page about safety names tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "tests/" in line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:40])
def test_the_tests_of_a_row_are_there(row):
    shown = row.rstrip(" |").rpartition(" | ")[2]
    named = re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", shown)
    assert named
    for path, name in named:
        assert re.search(rf"\b(def|class) {name}\b", (ROOT / path).read_text(encoding="utf-8"))


def test_every_row_has_one():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert len(ROWS) == len(rows) - 1  # the header
    assert len(ROWS) > 10
