"""One Parquet dataset of single cells from the tables of the batches, written in pieces."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from idrstream.collect.annotations import Annotations
from idrstream.collect.source import BatchFile, WellKey
from idrstream.compile.feature_names import parse_features
from idrstream.compile.names import is_feature
from idrstream.compile.readers import table_pieces
from idrstream.errors import CollectError

_GROUP_ROWS = 4096  # rows of a Parquet row group: 21 MB of 1280 features


@dataclass(slots=True)
class Cells:
    """A dataset of single cells, with an index of wells.

    Attributes
    ----------
    folder : Path
        Folder with one file for each batch.
    features : tuple of str
        Names of the features.
    rows : int
        Cells.
    wells : dict
        Number of cells by file, for every well with cells.
    """

    folder: Path
    features: tuple[str, ...] = ()
    rows: int = 0
    wells: dict[WellKey, dict[Path, int]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def files(self) -> list[Path]:
        """The files, in the order of the batches."""
        return sorted(self.folder.glob("*.parquet"))


def write_cells(
    batches: Sequence[BatchFile], annotations: Annotations, folder: Path, *, rows_at_once: int
) -> Cells:
    """Write the tables of batches as one Parquet dataset.

    Raises
    ------
    CollectError
        If a table was changed or has other columns than the first with rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    cells = Cells(folder)
    first: Any = None
    without_rows: dict[Path, Any] = {}
    digits = max(5, len(str(batches[-1].number)))
    for batch in batches:
        batch.check()
        path = folder / f"batch_{batch.number:0{digits}d}.parquet"
        writer = None
        pieces = _regrouped(table_pieces(batch.path), min(rows_at_once, _GROUP_ROWS))
        for piece in pieces:
            table = annotations.annotated(piece, batch.number)
            if not len(table):  # of no frame: what depends on frames has no columns
                without_rows[path] = table.schema
                continue
            if first is None:
                first = table.schema
                cells.features = tuple(n for n in first.names if is_feature(n))
            elif table.schema != first:
                msg = f"{batch.path} has other columns than {batches[0].path}"
                raise CollectError(msg)
            if writer is None:
                texts = [item.name for item in first if pa.types.is_string(item.type)]
                writer = pq.ParquetWriter(path, first, compression="zstd", use_dictionary=texts)
            writer.write_table(table)
            _count(cells, table, path)
        if writer is not None:
            writer.close()
    if first is None and without_rows:
        first = next(iter(without_rows.values()))
        cells.features = tuple(n for n in first.names if is_feature(n))
    for path in without_rows:
        pq.write_table(first.empty_table(), path, compression="zstd")
    return cells


def read_cells(
    files: Iterable[Path], columns: Sequence[str], rows_at_once: int = _GROUP_ROWS
) -> Iterator[Any]:
    """Yield pieces of a dataset's files as pyarrow tables."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        with pq.ParquetFile(path) as file:
            for piece in file.iter_batches(min(rows_at_once, _GROUP_ROWS), columns=list(columns)):
                yield pa.Table.from_batches([piece])


def split_by_engine(cells: Cells) -> list[str]:
    """Split each file of a dataset into one for each engine, in folders of their names.

    Each has the rows of all and the columns that are no features.

    Returns
    -------
    list of str
        The folders' names: the blocks of `FeatureName`.

    Raises
    ------
    CollectError
        If the name of an engine cannot be that of a folder.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    blocks: dict[str, list[str]] = defaultdict(list)
    for feature in parse_features(cells.features):
        blocks[feature.block].append(feature.name)
    for name, columns in blocks.items():
        if not re.fullmatch(r"\w+", name):
            msg = f"{columns[0]}: {name!r} cannot name a folder; collect with tables = one"
            raise CollectError(msg)
        (cells.folder / name).mkdir()
    for path in cells.files:
        schema = pq.read_schema(path)
        others = [column for column in schema.names if column not in set(cells.features)]
        for name, columns in blocks.items():
            wanted = set(others).union(columns)
            kept = [column for column in schema.names if column in wanted]
            with pq.ParquetWriter(
                cells.folder / name / path.name,
                pa.schema([schema.field(column) for column in kept]),
                compression="zstd",
            ) as writer:
                for piece in read_cells([path], kept):
                    writer.write_table(piece)
        path.unlink()
    return sorted(blocks)


def _regrouped(pieces: Iterable[Any], rows: int) -> Iterator[Any]:
    """Yield tables of `rows` rows, the last one of fewer; always at least one."""
    import pyarrow as pa

    held: list[Any] = []
    count, yielded = 0, False
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        while count >= rows:
            table = pa.concat_tables(held)
            yield table.slice(0, rows).combine_chunks()
            yielded = True
            held, count = [table.slice(rows)], count - rows
    if count or not yielded:
        yield pa.concat_tables(held).combine_chunks()


def _count(cells: Cells, table: Any, path: Path) -> None:
    cells.rows += len(table)
    keys = table.select(["Metadata_Plate", "Metadata_Well_Number"]).to_pandas()
    for (plate, number), count in keys.value_counts(sort=False).items():
        files = cells.wells[(str(plate), int(number))]
        files[path] = files.get(path, 0) + int(count)
