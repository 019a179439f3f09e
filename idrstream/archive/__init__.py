"""Studies of the Image Data Resource by their accession, from what IDR publishes of them."""

from idrstream.archive.published import Sources
from idrstream.archive.screens import ScreenFacts, find_screen
from idrstream.archive.table import ScreenTable, screen_table, table_from_idr

__all__ = ["ScreenFacts", "ScreenTable", "Sources", "find_screen", "screen_table", "table_from_idr"]
