"""The user's table becomes image tasks and batches."""

from idrstream.screen.frames import parse_frames
from idrstream.screen.plan import Plan
from idrstream.screen.table import read_table
from idrstream.screen.tasks import checked_rows, tasks_from_table, with_plate_format
from idrstream.screen.wells import well_name, well_number

__all__ = [
    "Plan",
    "checked_rows",
    "parse_frames",
    "read_table",
    "tasks_from_table",
    "well_name",
    "well_number",
    "with_plate_format",
]
