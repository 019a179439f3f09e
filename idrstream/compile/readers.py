"""Published batch tables, read back: every column with its own type, in both formats alike."""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.compile.names import (
    CHILDREN,
    LABEL,
    NUMBER,
    TOUCHES_BORDER,
    X_COLUMN,
    X_UM,
    Y_COLUMN,
    Y_UM,
    is_feature,
)
from idrstream.opening import check_regular

if TYPE_CHECKING:
    import pandas as pd

_BLOCK_BYTES = 4 << 20  # of CSV text parsed together
_GROUP_ROWS = 4096  # rows of a piece of Parquet: 21 MB of 1280 features


def read_batch_table(path: Path | str) -> pd.DataFrame:
    """Read a batch table.

    Parameters
    ----------
    path : path
        ``batch_<number>.csv.gz`` or ``.parquet`` of an output folder.

    Returns
    -------
    pandas.DataFrame
        Features as float32, locations (pixels) as float64, numbers of objects and the like as
        int64, everything else as text: plates such as ``0007`` or ``NA`` stay what they are. The
        column of row numbers is left out.

    Raises
    ------
    OSError, ValueError
        If it cannot be read.
    """
    import pyarrow as pa

    table: pd.DataFrame = pa.concat_tables(table_pieces(Path(path))).to_pandas()
    return table


def table_pieces(path: Path) -> Iterator[Any]:
    """Yield a batch table in pieces as pyarrow tables; at least one, maybe without rows."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    check_regular(path)
    if _is_parquet(path):
        with pq.ParquetFile(path) as file:
            yield file.schema_arrow.empty_table()
            for piece in file.iter_batches(_GROUP_ROWS):
                yield pa.Table.from_batches([piece])
        return
    with _csv_rows(path) as rows:
        names = next(rows)[1:]
        has_rows = next(rows, None) is not None
    # A table without cells may have a column of the user's under one of these names.
    numbers = (NUMBER, CHILDREN, *TOUCHES_BORDER) if TOUCHES_BORDER[0] in names else ()
    types = [pa.int64() if name in numbers else _type_of(name) for name in names]
    schema = pa.schema(list(zip(names, types, strict=True)))
    yield schema.empty_table()
    if not has_rows:
        return
    with pa.input_stream(str(path), compression="gzip") as stream:
        reader = pa_csv.open_csv(
            stream,
            pa_csv.ReadOptions(
                block_size=_BLOCK_BYTES, use_threads=False, column_names=["", *names], skip_rows=1
            ),
            pa_csv.ParseOptions(newlines_in_values=True),
            pa_csv.ConvertOptions(
                column_types={"": pa.int64(), **{item.name: item.type for item in schema}},
                include_columns=names,
                strings_can_be_null=False,
            ),
        )
        for piece in reader:
            yield pa.Table.from_batches([piece])


def rows_and_names(path: Path) -> tuple[int, list[str]]:
    """Return the number of rows and the names of the columns of a batch table."""
    check_regular(path)
    if _is_parquet(path):
        import pyarrow.parquet as pq

        found = pq.read_metadata(path)
        return int(found.num_rows), list(found.schema.to_arrow_schema().names)
    with _csv_rows(path) as rows:
        names = next(rows)[1:]
        return sum(1 for _ in rows), names


def _is_parquet(path: Path) -> bool:
    return path.name.endswith(".parquet")


@contextmanager
def _csv_rows(path: Path) -> Iterator[Iterator[list[str]]]:
    csv.field_size_limit(sys.maxsize)  # outlines of large nuclei are long
    with gzip.open(path, "rt", newline="", encoding="utf-8") as text:
        yield csv.reader(text)


def _type_of(name: str) -> Any:
    import pyarrow as pa

    if is_feature(name):
        return pa.float32()
    if name == LABEL:
        return pa.int64()
    return pa.float64() if name in (X_COLUMN, Y_COLUMN, X_UM, Y_UM) else pa.string()
