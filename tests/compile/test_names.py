"""The name space of columns: idrstream's own names, and those of the user's columns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idrstream.compile.names import (
    RESERVED,
    check_extra_columns,
    find_column,
    metadata_name,
    output_names,
)
from idrstream.errors import ConfigError


def test_a_column_keeps_its_name_unless_it_is_taken():
    columns = ["Control Type", "Control_Type", "Negative Control", "Metadata_Plate", "Model",
               "Table Model", "frame", "gene", "control type"]  # fmt: skip
    assert list(output_names(columns).values()) == [
        "Metadata_Control_Type",
        "Metadata_Table_Control_Type",
        "Metadata_Table_Negative_Control",
        "Metadata_Table_Plate",
        "Metadata_Table_Model",
        "Metadata_Table_Table_Model",
        "Metadata_Table_frame",
        "Metadata_Gene",
        "Metadata_Table_control_type_2",
    ]


WORDS = [name.removeprefix("Metadata_").replace("_", " ") for name in RESERVED]
NAMES = st.one_of(st.sampled_from([*RESERVED, *WORDS]), st.text(min_size=1, max_size=8))


@given(st.lists(NAMES, unique=True), st.lists(NAMES))
def test_no_two_columns_ever_meet(columns, reserved):
    names = output_names(columns, map(metadata_name, reserved))
    assert list(names) == columns
    folded = [name.casefold() for name in names.values()]
    taken = {name.casefold() for name in (*RESERVED, *map(metadata_name, reserved))}
    assert len(set(folded)) == len(folded)
    assert not taken & set(folded)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("Model", "'Model' would be Metadata_Model in the output, which is a column that idrstr"),
        ("Negative Control", "rename the column in the table"),
        ("dapi", "Metadata_dapi"),
        ("Control_Type", "which is the table's column 'Control Type'"),
        ("Control", r"'Control' is unknown.*Did you mean"),
    ],
)
def test_extra_columns_that_are_not_free_are_refused(column, message):
    columns = ["Control Type", "Control_Type", "Negative Control", "Model", "Gene", "dapi"]
    with pytest.raises(ConfigError, match=message):
        check_extra_columns([column], columns, [metadata_name("DAPI")])
    check_extra_columns(["Gene", "Control Type", "object_outlines"], columns)


def test_a_column_is_found_by_its_name_and_never_by_a_part_of_it():
    columns = ["Quality Control", "control_type", "Target temperature"]
    assert find_column(columns, "Control Type") == "control_type"
    assert find_column([*columns, "Control Type"], "Control Type") == "Control Type"
    assert find_column(columns, "Metadata_Control_Type") == "control_type"
    assert find_column(columns, "Target") is None
