import pytest
from hypothesis import given
from hypothesis import strategies as st

from idrstream.screen import well_name, well_number


@given(st.integers(1, 384))
def test_name_and_number_are_inverse(number):
    assert well_number(well_name(number)) == number


@pytest.mark.parametrize(
    ("name", "number"), [("A1", 1), ("A4", 4), ("a04", 4), ("B2", 26), ("C1", 49), ("P24", 384)]
)
def test_number_counts_along_the_rows(name, number):
    assert well_number(name) == number


@pytest.mark.parametrize("name", ["", "4", "A0", "A25", "Q1", "AA1", "A-1", "A1.5", "A٤"])
def test_no_such_well(name):
    with pytest.raises(ValueError, match="well"):
        well_number(name)


@pytest.mark.parametrize("number", [0, -1, 385])
def test_no_such_number(number):
    with pytest.raises(ValueError, match="outside 1 to 384"):
        well_name(number)
