"""Batch numbers, written short."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idrstream.config import load_settings
from idrstream.errors import ConfigError
from idrstream.text import as_python, as_ranges

NUMBERS = st.sets(st.integers(0, 60))
NEEDED = {"table": "t", "tmp_dir": "a", "final_data_dir": "b"}


@settings(deadline=None, max_examples=30)
@given(numbers=NUMBERS)
def test_the_python_list_is_the_numbers(numbers):
    text = as_python(numbers)
    ast.parse(text)
    assert eval(text) == sorted(numbers)


@settings(deadline=None, max_examples=20)
@given(numbers=NUMBERS.filter(bool))
def test_the_command_line_takes_what_is_shown(numbers):
    options = {**NEEDED, "batch_nums": as_ranges(numbers)}
    found = load_settings(None, environment={}, options=options)
    assert found.stream.batch_nums == tuple(sorted(numbers))


def test_long_ones_are_cut_and_counted():
    assert as_ranges([*range(3, 18), 20]) == "3-17, 20"
    assert as_ranges(range(0, 100, 2), most=2) == "0, 2, and 48 more"
    assert as_ranges([*range(9), 20, 30, 31], ",", most=1) == "0-8,and 3 more"


@pytest.mark.parametrize("text", ["17-3", "1-", "-1-2", "1-999999999", "1-2-3"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(ConfigError, match="batch_nums"):
        load_settings(None, environment={}, options={**NEEDED, "batch_nums": text})
