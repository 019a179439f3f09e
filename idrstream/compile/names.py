"""The name space of columns: what idrstream writes itself, and what the user's columns become."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from idrstream.errors import ConfigError
from idrstream.records import OBJECT_KINDS

PREFIX = "Metadata_"
OBJECT_OUTLINES = "object_outlines"  # computed, not a column of the table
OUTLINE_COLUMN = "Object_Outline"
X_COLUMN, Y_COLUMN = "Location_Center_X", "Location_Center_Y"
LABEL = "Metadata_Label"  # number in the label image of a large image
X_UM, Y_UM = "Metadata_Location_X_um", "Metadata_Location_Y_um"
OBJECT_COUNT, NEGATIVE = "Metadata_Object_Count", "Metadata_Negative_Control"
REFERENCE = "Metadata_Reference"
NUMBER = "Metadata_ObjectNumber"
"""Label of a row's objects in their label images, within a frame."""
CHILDREN = "Metadata_Cells_Children_Nuclei_Count"
"""Nuclei in a row's cell, where cells were found on their own; 0 without a cell."""
TOUCHES_BORDER = tuple(f"Metadata_{kind}_TouchesBorder" for kind in OBJECT_KINDS)
"""1 where an object of the kind touches the border of the image."""

RESERVED = (
    "Metadata_Plate", "Metadata_Well", "Metadata_Well_Number", "Metadata_Site", "Metadata_Frame",
    "Metadata_DNA", "Metadata_Model", "Metadata_Stream_Batch",
    LABEL, X_UM, Y_UM, OBJECT_COUNT, NEGATIVE, REFERENCE, NUMBER, CHILDREN, *TOUCHES_BORDER,
)  # fmt: skip
"""Columns of batch tables and collections that only idrstream fills."""

GENE = "Metadata_Gene"
"""``Original Gene Target``, or the table's own ``Gene`` if that is an extra column."""

SHARED = (GENE, "Metadata_Gene_Replicate", "Metadata_Plate_Map_Name")
"""Columns of batch tables that show the table's column of the same name."""


def is_feature(column: str) -> bool:
    """Return whether a column of a batch table is a feature: neither location nor metadata."""
    others = ("", OUTLINE_COLUMN, X_COLUMN, Y_COLUMN)
    return column not in others and not column.startswith(PREFIX)


def metadata_name(column: str) -> str:
    """Return the name of a table's column in the output, for example ``Metadata_Control_Type``.

    It may be taken; see `output_names`.
    """
    name = "_".join(column.split())
    name = name if name.startswith(PREFIX) else f"{PREFIX}{name}"
    return next((ours for ours in SHARED if ours.casefold() == name.casefold()), name)


def output_names(columns: Iterable[str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """Return under which name each column of the table is in the output.

    A name that is idrstream's own, or an earlier column's, gets ``Metadata_Table_`` and, if that
    is taken, too, a number. Names that differ only in case count as the same: not every reader of
    tables distinguishes them.

    Parameters
    ----------
    columns : iterable of str
        Columns of the table, in its order.
    reserved : iterable of str
        Further names that are taken.
    """
    taken = {name.casefold() for name in (*RESERVED, *reserved)}
    names: dict[str, str] = {}
    for column in columns:
        name = metadata_name(column)
        if name.casefold() in taken:
            first = name = f"{PREFIX}Table_{name.removeprefix(PREFIX)}"
            number = 2
            while name.casefold() in taken:
                name = f"{first}_{number}"
                number += 1
        taken.add(name.casefold())
        names[column] = name
    return names


def find_column(columns: Sequence[str], wanted: str) -> str | None:
    """Return the column of the table that is meant: the exact one, or as its output is called."""
    if wanted in columns:
        return wanted
    folded = metadata_name(wanted).casefold()
    return next((name for name in columns if metadata_name(name).casefold() == folded), None)


def check_extra_columns(
    extra_metadata: Iterable[str], columns: Sequence[str], reserved: Iterable[str] = ()
) -> None:
    """Check that extra columns exist and that their names are free in a batch table.

    Raises
    ------
    idrstream.errors.ConfigError
        Naming the column, and what to do.
    """
    names = output_names(columns, reserved)
    known = [OBJECT_OUTLINES, *columns]
    for column in extra_metadata:
        if column == OBJECT_OUTLINES:
            continue
        if column not in names:
            near = difflib.get_close_matches(column, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            msg = f"extra_metadata: {column!r} is unknown; choose from {', '.join(known)}.{hint}"
            raise ConfigError(msg)
        name = metadata_name(column)
        if names[column] != name:
            other = next((a for a in columns if a != column and names[a] == name), None)
            whose = f"the table's column {other!r}" if other else "a column that idrstream writes"
            msg = (
                f"extra_metadata: {column!r} would be {name} in the output, which is {whose}; "
                "rename the column in the table"
            )
            raise ConfigError(msg)
