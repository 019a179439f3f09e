"""Rows that ask for as many frames as their movie has."""

import pandas as pd
import pytest

from idrstream.errors import TableError
from idrstream.screen import parse_frames, tasks_from_table
from idrstream.screen.frames import frame_step, frames_range


def table(*rows):
    return pd.DataFrame(rows, columns=["Plate", "Well", "Frames", "Control Type"])


@pytest.mark.parametrize(
    ("text", "step"),
    [("all", 1), ("ALL", 1), (" all : 10 ", 10), ("all:0", 0), ("1-93", 0), ("all,1", 0)],
)
def test_what_asks_for_every_frame(text, step):
    assert frame_step(text) == step
    if step:
        assert parse_frames(text) == ()


def test_a_movie_tells_its_frames():
    (task,) = tasks_from_table(table(("P", "A1", "all:3", "")))
    assert (task.frames, task.every, task.frames_text) == ((), 3, "all:3")
    opened = task.with_length(8)
    assert (opened.frames, opened.frames_text) == ((1, 4, 7), "all:3")
    (plain,) = tasks_from_table(table(("P", "A1", "2,5", "")))
    assert plain.with_length(3) is plain


@pytest.mark.parametrize(
    "frames", [("all", "7"), ("7", "all"), ("all", "all:2"), ("1,2", "all:2"), ("all", "all")]
)
def test_no_frame_is_asked_for_twice(frames):
    rows = table(*(("P", "A1", text, kind) for text, kind in zip(frames, "ab", strict=True)))
    with pytest.raises(TableError, match=r"row 2, column Frames: .* already asked for in row 1"):
        tasks_from_table(rows)


def test_an_even_range_as_text_is_read_as_the_same():
    for frames in [(1,), (1, 2, 3), (1, 4, 7), tuple(range(1, 94))]:
        assert parse_frames(frames_range(frames)) == frames
