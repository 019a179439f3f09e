"""The last check of a batch's table before it is published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from idrstream.errors import CompileError

if TYPE_CHECKING:
    import pandas as pd


def check_complete(
    table: pd.DataFrame,
    *,
    objects: int,
    features: Sequence[str],
    defined: Sequence[str] | None = None,
) -> None:
    """Raise if a batch's table is incomplete.

    Parameters
    ----------
    table : pandas.DataFrame
        As `compile_batch` returns it.
    objects : int
        Objects that were found in the batch's frames.
    features : sequence of str
        Names of the features of each of them.
    defined : sequence of str, optional
        Those that the engine knows for at least one object; by default all.

    Raises
    ------
    idrstream.errors.CompileError
        When rows or columns are missing or too many, or a feature lost all its values.
    """
    if len(table) != objects:
        raise CompileError(f"the table has {len(table)} rows for {objects} objects")
    repeated = sorted(name for name, count in Counter(table.columns).items() if count > 1)
    if repeated:
        raise CompileError(f"the table has the column {', '.join(repeated)} more than once")
    missing = [name for name in features if name not in table]
    if missing:
        raise CompileError(f"the table lacks {len(missing)} features, the first is {missing[0]}")
    if not objects:
        return
    empty = [
        name for name in (features if defined is None else defined) if table[name].isna().all()
    ]
    if empty:
        raise CompileError(
            f"{len(empty)} features have no value for any object, the first is {empty[0]}"
        )
