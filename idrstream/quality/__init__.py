"""Quality control of every frame during the stream: measures and small pictures."""

from __future__ import annotations

from idrstream.quality.notes import BatchNotes, forget
from idrstream.quality.pictures import PictureStore

__all__ = ["BatchNotes", "PictureStore", "forget"]
