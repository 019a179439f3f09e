from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from locations import read_points

from idrstream.segment import write_locations
from idrstream.segment.locations import format_outline, parse_outline

coordinates = st.floats(0, 5000, allow_nan=False)
points_and_outlines = st.integers(0, 6).flatmap(
    lambda n: st.tuples(
        hnp.arrays(np.float64, (n, 2), elements=coordinates),
        st.lists(
            hnp.arrays(
                np.int64, st.tuples(st.integers(1, 5), st.just(2)), elements=st.integers(0, 2000)
            ),
            min_size=n,
            max_size=n,
        ),
    )
)


@settings(deadline=None)
@given(content=points_and_outlines)
def test_what_is_written_reads_back_exactly(tmp_path_factory, content):
    points, outlines = content
    path = tmp_path_factory.mktemp("locations") / "4_50-1-Nuclei.csv"
    write_locations(path, points, outlines)
    found, texts = read_points(path)
    assert np.array_equal(found, points)
    for text, outline in zip(texts, outlines, strict=True):
        assert np.array_equal(parse_outline(text), outline)


def test_columns_are_x_then_y_as_deepprofiler_reads_them(tmp_path):
    path = tmp_path / "a.csv"
    write_locations(path, np.array([[1.5, 20.25]]))
    assert path.read_text() == "Nuclei_Location_Center_X,Nuclei_Location_Center_Y\n20.25,1.5\n"
    assert read_points(path)[1] == ()


def test_without_nuclei_there_is_still_a_header(tmp_path):
    path = tmp_path / "a.csv"
    write_locations(path, np.empty((0, 2)), ())
    assert list(pd.read_csv(path)) == [
        "Nuclei_Location_Center_X",
        "Nuclei_Location_Center_Y",
        "object_outline",
    ]
    assert read_points(path)[0].shape == (0, 2)


def test_outline_text_is_compact_json_of_x_y_pairs():
    assert format_outline(np.array([[4, 3], [5, 3]])) == "[[3,4],[3,5]]"


def test_very_long_outlines_fit(tmp_path):
    path = tmp_path / "a.csv"
    outline = np.arange(60_000).reshape(-1, 2)
    write_locations(path, np.array([[0.0, 0.0]]), [outline])
    (text,) = read_points(path)[1]
    assert np.array_equal(parse_outline(text), outline)


def test_outlines_must_fit_the_points(tmp_path):
    with pytest.raises(ValueError, match="2 outlines do not fit 1 locations"):
        write_locations(tmp_path / "a.csv", np.zeros((1, 2)), [np.zeros((1, 2), int)] * 2)
