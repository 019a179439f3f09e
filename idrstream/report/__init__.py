"""Quality control while a stream runs, and the page that shows it.

`notes` measures every frame and `pictures` keeps examples of them in the output folder;
`idrstream.report.write` makes one HTML file of an output folder, also while its stream runs. It is
not imported here, since a stream needs only the first two.
"""

from __future__ import annotations

from idrstream.report.notes import BatchNotes, forget
from idrstream.report.pictures import PictureStore

__all__ = ["BatchNotes", "PictureStore", "forget"]
