"""The tracks of a stream in its collection: one table of all, and one of the wells."""

from __future__ import annotations

from pathlib import Path

from idrstream.errors import CollectError
from idrstream.track.read import read_tracks, track_folders
from idrstream.track.wells import well_tracks

TRACKS, WELL_TRACKS = "tracks.parquet", "tracks_wells.parquet"


def write_tracks(folder: Path, part: Path, minutes_per_frame: float) -> None:
    """Write the tracks of all batches, and what they say of each well, if there are any.

    Raises
    ------
    CollectError
        If the tables of tracks are damaged.
    """
    if not any(track_folders(folder)):
        return
    try:
        tracks, objects = read_tracks(folder), read_tracks(folder, "objects")
        wells = well_tracks(tracks, objects, minutes_per_frame=minutes_per_frame)
    except (KeyError, ValueError) as error:
        msg = f"the tracks of {folder} are damaged; idrstream verify tells which: {error}"
        raise CollectError(msg) from error
    tracks.to_parquet(part / TRACKS, index=False)
    wells.to_parquet(part / WELL_TRACKS, index=False)
