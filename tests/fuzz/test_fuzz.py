"""Whatever is in the files that a user hands over: an `IdrStreamError`, or something that works.

CellH5 files are fuzzed in ``tests/formats`` (in this process) and by
``python tests/fuzz/mutate_cellh5.py`` (long, each file in a process of its own).
"""

from __future__ import annotations

import contextlib
import gzip
import json
import string
from collections.abc import Callable, Sized
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from idrstream import models
from idrstream.archive import table_from_idr
from idrstream.config import SECTIONS, load_settings
from idrstream.errors import IdrStreamError
from idrstream.profile import ProfileConfig
from idrstream.screen import parse_frames, read_table, tasks_from_table
from idrstream.screen.study.pattern import expand_pattern
from idrstream.screen.study.plates_file import read_plates
from idrstream.screen.study.study_files import read_pattern_file, read_screen_file

fuzz = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# Pieces that meet the readers' own words more often than chance does.
WORDS = st.sampled_from(
    ["Plate", "Well", "Well Number", "Frames", "Site", "Path", "URL", "[Plate]", "[Well 0]", "Row",
     "Rows = 8", "Columns = 12", "Fields = 1", "Name = P", "Row = 0", "Column = 0", "Field_0 = a",
     "A1", "P24", "50", "1-9:2", "1-999999999", "9" * 400, "<1-3>", "<A-C>", "<1-9999999>", "..",
     "=", '"', "'", "\ufeff", "\x00", "\u00a0", "\r\n", "\n", "\t", ",", ";", "#N/A", "nan", "-1",
     "../screens/P.screen", "x.pattern", "/uod/idr/filesets/s/x"]
)  # fmt: skip
TEXTS = st.lists(st.one_of(WORDS, st.text(max_size=6)), max_size=40).map("".join)
CONTENTS = st.one_of(
    st.binary(max_size=300), TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    TEXTS.map(lambda text: gzip.compress(text.encode("utf-8", "surrogatepass"))),
)  # fmt: skip


def only_own_errors(call: Callable[..., object], *values: object, **options: object) -> None:
    try:
        call(*values, **options)
    except IdrStreamError as error:
        said = str(error)
    else:
        said = "nothing was wrong"
    assert said


@fuzz
@given(content=CONTENTS)
@example(content=b'Plate,Well,Frames\nP,A1,1\n"')
def test_table_files(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    only_own_errors(lambda: tasks_from_table(read_table(path)))


CELLS = st.one_of(
    WORDS, st.text(max_size=8), st.none(), st.integers(), st.floats(), st.booleans(),
    st.binary(max_size=3), st.just(pd.NaT), st.just(pd.NA), st.lists(st.integers(), max_size=2),
)  # fmt: skip
COLUMNS = st.lists(
    st.one_of(
        st.sampled_from(["Plate", "Well", "Frames", "well number", "Site", "Path", "x"]), CELLS
    ).filter(lambda name: not isinstance(name, list)),
    max_size=7,
)


@fuzz
@given(columns=COLUMNS, data=st.data())
def test_tables(columns, data):
    rows = data.draw(st.lists(st.tuples(*[CELLS] * len(columns)), max_size=5))
    table = pd.DataFrame(rows, columns=pd.Index(columns, dtype=object))
    only_own_errors(tasks_from_table, table)


@fuzz
@given(
    plates=st.lists(st.text(string.printable, max_size=12), min_size=1, max_size=4),
    wells=st.lists(st.sampled_from(["A1", "a01", "B2", "P24", "AF48"]), min_size=4, max_size=4),
)
def test_plates_that_are_let_through_are_folder_names(tmp_path_factory, plates, wells):
    table = pd.DataFrame({"Plate": plates, "Well": wells[: len(plates)], "Frames": "1"})
    try:
        tasks = tasks_from_table(table)
    except IdrStreamError:
        return
    root = tmp_path_factory.mktemp("plates")
    for plate in {task.plate for task in tasks}:
        (root / plate).mkdir()
    folders = sorted(path.name.casefold() for path in root.iterdir())
    assert folders == sorted({task.plate.casefold() for task in tasks})


@fuzz
@given(plates=CONTENTS, screen=CONTENTS, annotation=CONTENTS)
def test_study_files(tmp_path, plates, screen, annotation):
    for name, content in (
        ("p.tsv", plates), ("P.screen", screen), ("x.pattern", screen), ("a.csv", annotation)
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
    only_own_errors(read_plates, tmp_path / "p.tsv")
    only_own_errors(read_screen_file, tmp_path / "P.screen")
    only_own_errors(read_pattern_file, tmp_path / "x.pattern")
    only_own_errors(table_from_idr, tmp_path / "p.tsv", tmp_path / "a.csv", tmp_path)
    (tmp_path / "p.tsv").write_text("P\tP.screen\nQ\tx.pattern\nR\tfolder\n")
    only_own_errors(table_from_idr, tmp_path / "p.tsv", tmp_path / "a.csv", tmp_path)


@fuzz
@given(text=TEXTS)
@example(text="<1-3><1-99999><1-99999>")
@example(text="(" * 50)
def test_patterns_and_frames(text):
    for parse in (expand_pattern, parse_frames):
        found: Sized = ()
        with contextlib.suppress(ValueError):
            found = parse(text)
        assert len(found) <= 100_000


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("x.h5")
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


def _paths(value: object, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [prefix]
    return [prefix, *(path for key in value for path in _paths(value[key], (*prefix, key)))]


@fuzz
@given(data=st.data())
def test_deepprofiler_configs(tmp_path, data):
    config = json.loads(models.profiler_config_path().read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(_paths(config)[1:]))
        inner = config
        for key in way:
            inner = inner[key] if isinstance(inner, dict) and key in inner else {}
        inner[last] = data.draw(VALUES)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    only_own_errors(ProfileConfig.read, path)


@fuzz
@given(content=CONTENTS)
@example(content=b"[" * 100_000)
@example(content=b"\xff\xfe")
@example(content=b'{"a": ' * 50_000)
@example(content=b"[stream]\nbatch_size = " + b"9" * 5000)
def test_configs_of_any_bytes(tmp_path, content):
    path = tmp_path / "config"
    path.write_bytes(content)
    only_own_errors(ProfileConfig.read, path)
    only_own_errors(load_settings, path, environment={})


OPTIONS = st.dictionaries(
    st.sampled_from(["table", "tmp_dir", "batch_size", "batch_nums", "channels", "diameter", "z",
                     "method", "gpu", "extra_metadata", "unknown"]),
    VALUES, max_size=4,
)  # fmt: skip


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return '""' if value is None else json.dumps(value)


@fuzz
@given(sections=st.dictionaries(st.sampled_from([*SECTIONS, "other"]), OPTIONS, max_size=3))
def test_settings(tmp_path, sections):
    lines = []
    for section, options in sections.items():
        lines += [f"[{section}]", *(f"{key} = {_toml(value)}" for key, value in options.items())]
    path = tmp_path / "stream.toml"
    path.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    only_own_errors(load_settings, path, environment={})


@fuzz
@given(value=st.text(max_size=20), option=st.sampled_from(["batch_size", "batch_nums", "z", "gpu"]))
def test_options_of_the_command_line(value, option):
    given_options = {"table": "t", "tmp_dir": "a", "final_data_dir": "b", option: value}
    only_own_errors(load_settings, None, environment={}, options=given_options)


def test_a_table_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("idrstream.screen.table.MAX_TABLE_BYTES", 10_000)
    path: Path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"Plate,Well,Frames\n" + b"P,A1,1\n" * 9999))
    with pytest.raises(IdrStreamError, match="larger than 10,000 bytes"):
        read_table(path)
