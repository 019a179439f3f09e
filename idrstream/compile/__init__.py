"""Merge features and metadata into one table, and publish it."""

from __future__ import annotations

from idrstream.compile.complete import check_complete
from idrstream.compile.masks import read_masks
from idrstream.compile.publish import publish
from idrstream.compile.readers import read_batch_table
from idrstream.compile.single_cells import (
    ProfiledFrame,
    check_extra_metadata,
    compile_batch,
    merge_with_pycytominer,
    object_numbers,
)
from idrstream.compile.writers import WRITERS, TableWriter, write_csv_gz, write_parquet

__all__ = [
    "WRITERS",
    "ProfiledFrame",
    "TableWriter",
    "check_complete",
    "check_extra_metadata",
    "compile_batch",
    "merge_with_pycytominer",
    "object_numbers",
    "publish",
    "read_batch_table",
    "read_masks",
    "write_csv_gz",
    "write_parquet",
]
