"""Tables to files: the same bytes for the same table."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.errors import MissingToolError

if TYPE_CHECKING:
    import pandas as pd

TableWriter = Callable[["pd.DataFrame", Path], None]
"""Writes a table to a path: called as `writer(table, path)`."""

_LINE_END = "\r\n"
_ROWS = 512  # written together: bounds the memory of the text


def write_csv_gz(table: pd.DataFrame, path: Path) -> None:
    """Write a table as gzipped CSV, as the first IDR_stream did.

    A leading column without a name holds the row numbers. Numbers have the fewest digits from
    which they read back exactly, in the precision of their column. Compression level 1; neither
    time nor name of the file are in it, so that equal tables give equal bytes.

    Raises
    ------
    idrstream.errors.MissingToolError
        When pyarrow cannot be imported; version 26 and later do not work with numpy 1.
    """
    features = _trailing_features(table)
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=1) as packed,
    ):
        packed.write(_csv_lines([["", *table.columns]])[0].encode() + b"\n")
        for text in _made_ahead(_texts(table, features)):
            packed.write(text)


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet with zstd, without row numbers.

    Columns of texts are strings also in a table without rows, so that all files of a stream
    have one schema and can be read as one data set.

    Raises
    ------
    idrstream.errors.MissingToolError
        When pyarrow cannot be imported; version 26 and later do not work with numpy 1.
    """
    pa = _pyarrow()
    import pyarrow.parquet as pq

    types = [
        pa.string() if dtype.kind == "O" else pa.from_numpy_dtype(dtype) for dtype in table.dtypes
    ]
    schema = pa.schema(list(zip(table.columns, types, strict=True)))
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    # A dictionary of features, which are all different, costs space and time.
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    pq.write_table(
        arrow.replace_schema_metadata(None), path, compression="zstd", use_dictionary=texts
    )


def _texts(table: pd.DataFrame, features: int) -> Iterator[bytes]:
    """Yield the lines of some rows after the other; so many columns at the end are features."""
    others = table.iloc[:, : table.shape[1] - features]
    for start in range(0, len(table), _ROWS):
        rows = slice(start, start + _ROWS)
        lines = _csv_lines(_plain_rows(others.iloc[rows], start))
        if features:
            numbers = _number_lines(table.iloc[rows, -features:].to_numpy())
            lines = [f"{line},{more}" for line, more in zip(lines, numbers, strict=True)]
        yield "".join(f"{line}\n" for line in lines).encode()


def _made_ahead(texts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same texts; a thread makes the next one while one is compressed."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, texts, None)
        while (text := following.result()) is not None:
            following = thread.submit(next, texts, None)
            yield text


def _trailing_features(table: pd.DataFrame) -> int:
    """Return how many columns at the end hold single-precision numbers."""
    kinds = [dtype == np.float32 for dtype in table.dtypes]
    return len(kinds) - max((at for at, kind in enumerate(kinds, start=1) if not kind), default=0)


def _plain_rows(table: pd.DataFrame, start: int) -> Iterator[list[object]]:
    """Yield the rows with their number first; no value is an empty text."""
    columns = [
        table.iloc[:, at].where(table.iloc[:, at].notna(), "").tolist()
        for at in range(table.shape[1])
    ]
    for number in range(len(table)):
        yield [start + number, *(column[number] for column in columns)]


def _csv_lines(rows: Iterable[Sequence[object]]) -> list[str]:
    """Return each row as a line of CSV without its end; a text may still span lines."""
    lines = _Lines()
    # Texts are quoted only for the characters of the line's end: both must be in it.
    csv.writer(lines, lineterminator=_LINE_END).writerows(rows)
    return lines.lines


def _number_lines(block: NDArray[np.float32]) -> list[str]:
    """Return each row of numbers as a line of CSV; pyarrow does it without the interpreter."""
    pa = _pyarrow()
    import pyarrow.csv as pa_csv

    columns = [pa.array(column, from_pandas=True) for column in block.T]
    arrow = pa.Table.from_arrays(columns, names=[str(at) for at in range(len(columns))])
    sink = io.BytesIO()
    pa_csv.write_csv(arrow, sink, pa_csv.WriteOptions(include_header=False))
    return sink.getvalue().decode("ascii").splitlines()


class _Lines:
    """A file object that collects lines; the csv module writes each row in one call."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line.removesuffix(_LINE_END))


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingToolError(
            f'pyarrow cannot be imported ({error}): pip install "pyarrow<26"'
        ) from error
    return pa


WRITERS: Mapping[str, TableWriter] = MappingProxyType(
    {"csv.gz": write_csv_gz, "parquet": write_parquet}
)
"""Writers by the end of the file name."""
