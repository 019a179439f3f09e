"""What there is to process: the user's table becomes image tasks and batches."""

from idrstream.screen.plan import Plan
from idrstream.screen.table import parse_frames, read_table, tasks_from_table
from idrstream.screen.wells import well_name, well_number

__all__ = ["Plan", "parse_frames", "read_table", "tasks_from_table", "well_name", "well_number"]
