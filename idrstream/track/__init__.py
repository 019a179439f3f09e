"""Objects followed through movies: who is who, who was born from whom."""

from idrstream.track.export import export_ctc, export_geff
from idrstream.track.linker import NucleusTracker
from idrstream.track.measure import mitotic_likeness, track_table
from idrstream.track.pictures import draw_tracks, film, film_mp4, lineage_svg, track_colour
from idrstream.track.protocol import Detections, PackedLabels, Tracker, Tracks
from idrstream.track.read import list_movies, read_tracks
from idrstream.track.wells import track_features, well_tracks

__all__ = [
    "Detections",
    "NucleusTracker",
    "PackedLabels",
    "Tracker",
    "Tracks",
    "draw_tracks",
    "export_ctc",
    "export_geff",
    "film",
    "film_mp4",
    "lineage_svg",
    "list_movies",
    "mitotic_likeness",
    "read_tracks",
    "track_colour",
    "track_features",
    "track_table",
    "well_tracks",
]
