"""Tracked streams in which a movie has no nucleus, or is not there: all that follows works."""

import numpy as np
import pandas as pd
import pytest

from idrstream.collect import collect_folder
from idrstream.report.write import write_report
from idrstream.segment import objects_in
from idrstream.track import list_movies, read_tracks, track_features, well_tracks


@pytest.mark.parametrize("missing", ["nuclei of one", "nuclei of all", "a movie"])
def test_streams_without(missing, tmp_path, quick):
    screen = quick.make_screen(tmp_path / "screen", plates=1, wells=3)
    table = quick.table_of(screen).drop_duplicates("Well").assign(Frames="1-2")
    last = table["Well"].iloc[-1]

    class Segmentor(quick.ThresholdSegmentor):
        def segment(self, frame, *, outlines=False):
            found = super().segment(frame, outlines=outlines)
            none = missing == "nuclei of all" or (
                missing == "nuclei of one" and frame.task.well == last
            )
            labels = found.labels * (not none)
            return objects_in(labels, outlines=outlines, diameter_px=17.0)

    if missing == "a movie":
        sorted(screen.folder.rglob("*.ch5"))[-1].unlink()
    stream = quick.make_stream(screen, tmp_path, plate_model=False)
    stream.init_segmentor(Segmentor())
    result = stream.run_stream(table, batch_size=1, track=True, progress=False)
    stream.close()
    assert not result.failed_batches
    out, wells = tmp_path / "out", 0 if missing == "nuclei of all" else len(table) - 1
    assert len(list_movies(out)) == wells
    tracks, objects = read_tracks(out), read_tracks(out, "objects")
    assert tracks["Frames"].dtype.kind == ("i" if wells else "f")
    of_wells = well_tracks(tracks, objects)
    assert len(of_wells) == wells
    assert "Divisions" in of_wells
    assert write_report(out).path.stat().st_size > 0
    found = collect_folder(out, normalize="none")
    cells = pd.read_parquet(found.cells_path)
    assert len(cells) == len(objects)
    assert len(track_features(cells)) == len(tracks)


def test_features_of_no_track():
    own = ["Plate", "Well", "Site", "Track", "Parent", "Generation"]
    cells = pd.DataFrame({f"Metadata_{name}": np.zeros(0) for name in own})
    assert track_features(cells).columns.tolist()[-1] == "Metadata_Frames"
