"""What the index files of microscopes say: the file of each well, field, channel, plane and time.

Each format has a module with one function, from the bytes of the index to a `PlateIndex`. What an
index only implies, or leaves to further files, is asked for through a `Beside`.
"""

from idrstream.screen.indexes.kinds import IMPLIED, index_kind, index_names, read_index
from idrstream.screen.indexes.records import Beside, ImageFile, PlateIndex

__all__ = [
    "IMPLIED",
    "Beside",
    "ImageFile",
    "PlateIndex",
    "index_kind",
    "index_names",
    "read_index",
]
