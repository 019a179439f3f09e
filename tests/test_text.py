"""Sizes, durations, paths, lists and ranges of numbers as text."""

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import idrstream
from idrstream.config import load_settings
from idrstream.errors import ConfigError
from idrstream.text import (
    as_python,
    as_ranges,
    counted,
    format_duration,
    format_durations,
    format_size,
    parse_json,
    parse_size,
    short_path,
    shorten_list,
)

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


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GB", 20 * 10**9), ("1.5 TB", 15 * 10**11), ("512MiB", 512 * 2**20), ("7", 7),
        (12, 12), (".5k", 500), ("2g", 2 * 10**9), (None, None), ("", None),
    ],
)  # fmt: skip
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["many", "-5GB", "0", "5 PB", "1e9", True, "GB", "5 0MB", "1_000", "\u0662GB"]
)
def test_other_texts_are_not_sizes(text):
    with pytest.raises(ConfigError, match=r"20GB, 1\.5TB or 512MiB"):
        parse_size(text)


@given(st.integers(0, 10**14))
def test_sizes_read_back_nearly_the_same(size):
    text = format_size(size)
    if size:
        assert parse_size(text.replace("bytes", "")) == pytest.approx(size, rel=0.06)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (89.6, "90 s"), (600, "10 min"), (7500, "2 h 5 min"), (200_000, "2 d 7 h")],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("low_s", "high_s", "text"),
    [
        (13.9, 14.1, "13 s to 15 s"), (88, 91, "88 s to 2 min"), (610, 620, "10 min to 11 min"),
        (200_000, 200_100, "2 d 7 h to 2 d 8 h"),
    ],
)  # fmt: skip
def test_ranges_are_rounded_outwards(low_s, high_s, text):
    assert format_durations(low_s, high_s) == text


def test_a_message_names_the_option():
    with pytest.raises(ConfigError, match="pictures is 'many'"):
        parse_size("many", "pictures")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, ""), (1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2, and 1 more"), (20, "0, 1, 2, and 17 more")],
)
def test_long_lists_are_shortened(count, text):
    assert shorten_list(range(count), 3) == text


@pytest.mark.parametrize("text", ["{", "[" * 200_000, "9" * 5000, b"\xff", '{"a":' * 100_000])
def test_json_from_others_fails_in_one_way(text):
    with pytest.raises(ValueError):  # noqa: PT011, what the text is wrong in varies
        parse_json(text)


def test_one_and_many():
    assert counted(1, "well") == "1 well"
    assert counted(0, "well") == "0 wells"
    assert counted(12_000, "nucleus", "nuclei") == "12,000 nuclei"


def test_no_message_leaves_the_plural_to_its_reader():
    package = Path(idrstream.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"[a-z]\((s|es)\)", node.value), f"{path}:{node.lineno}"


def test_a_path_below_the_working_folder_is_short(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert short_path(tmp_path / "features" / "cells") == "features/cells"
    assert short_path(str(tmp_path / "features")) == "features"
    assert short_path(tmp_path.parent) == str(tmp_path.parent)
    assert short_path("features") == "features"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert short_path(tmp_path / "features") == str(tmp_path / "features")
