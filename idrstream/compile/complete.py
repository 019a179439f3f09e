"""The last check of a batch's table before it is published."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from idrstream.compile.names import FEATURE
from idrstream.errors import CompileError

if TYPE_CHECKING:
    import pandas as pd


def check_complete(table: pd.DataFrame, *, nuclei: int, features: int) -> None:
    """Raise if a batch's table is incomplete.

    Parameters
    ----------
    table : pandas.DataFrame
        As `compile_batch` returns it.
    nuclei : int
        Nuclei that were found in the batch's frames.
    features : int
        Features of each of them.

    Raises
    ------
    idrstream.errors.CompileError
        When rows or columns are missing or too many, or a feature has no value for any nucleus.
    """
    if len(table) != nuclei:
        raise CompileError(f"the table has {len(table)} rows for {nuclei} nuclei")
    repeated = sorted(name for name, count in Counter(table.columns).items() if count > 1)
    if repeated:
        raise CompileError(f"the table has the column {', '.join(repeated)} more than once")
    names = [name for name in table.columns if str(name).startswith(FEATURE)]
    if len(names) != features:
        raise CompileError(f"the table has {len(names)} features instead of {features}")
    if not nuclei:
        return
    empty = [name for name in names if table[name].isna().all()]
    if empty:
        raise CompileError(
            f"{len(empty)} features have no value for any nucleus, the first is {empty[0]}"
        )
