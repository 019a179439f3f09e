"""Objects followed through movies: who is who, who was born from whom."""

from idrstream.track.linker import NucleusTracker
from idrstream.track.protocol import Detections, PackedLabels, Tracker, Tracks

__all__ = ["Detections", "NucleusTracker", "PackedLabels", "Tracker", "Tracks"]
