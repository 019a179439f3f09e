"""Tables to files: the same bytes for the same table."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from idrstream.errors import MissingToolError

if TYPE_CHECKING:
    import pandas as pd

TableWriter = Callable[["pd.DataFrame", Path], None]


def write_csv_gz(table: pd.DataFrame, path: Path) -> None:
    """Write a table as gzipped CSV, as the first IDR_stream did.

    A leading column without a name holds the row numbers. Compression level 1; neither time nor
    name of the file are in it, so that equal tables give equal bytes.
    """
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=1) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        table.to_csv(text, lineterminator="\n")


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet with zstd, without row numbers.

    Columns of texts are strings also in a table without rows, so that all files of a stream
    have one schema and can be read as one data set.

    Raises
    ------
    idrstream.errors.MissingToolError
        When pyarrow cannot be imported; version 26 and later do not work with numpy 1.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingToolError(
            f'Parquet needs pyarrow, which cannot be imported ({error}): pip install "pyarrow<26"'
        ) from error
    types = [
        pa.string() if dtype.kind == "O" else pa.from_numpy_dtype(dtype) for dtype in table.dtypes
    ]
    schema = pa.schema(list(zip(table.columns, types, strict=True)))
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    pq.write_table(arrow.replace_schema_metadata(None), path, compression="zstd")


WRITERS: Mapping[str, TableWriter] = MappingProxyType(
    {"csv.gz": write_csv_gz, "parquet": write_parquet}
)
"""Writers by the end of the file name."""
