"""Tables to process: of IDR's studies by their accession, and of folders that anybody has."""

from idrstream.archive.files import files_table, table_from_files
from idrstream.archive.published import Sources
from idrstream.archive.screens import ScreenFacts, find_screen
from idrstream.archive.table import ScreenTable, screen_table, table_from_idr

__all__ = [
    "ScreenFacts",
    "ScreenTable",
    "Sources",
    "files_table",
    "find_screen",
    "screen_table",
    "table_from_files",
    "table_from_idr",
]
