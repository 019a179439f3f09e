"""A stream of whole movies: every frame in its table, as if the table had named them."""

from contextlib import closing

import numpy as np
import pandas as pd
import pytest

from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen
from idrstream.collect import collect_folder
from idrstream.demo import config_for
from idrstream.errors import PlanChangedError
from idrstream.folder.journal.reader import open_journal
from idrstream.folder.verify import verify_folder
from idrstream.report.write import write_report
from idrstream.track.wells import track_features

FRAMES = 11  # more than are read together

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    spec = ScreenSpec(
        plates=1, wells_per_plate=2, frames=FRAMES, height=128, width=160, nuclei_per_frame=5,
        invalid_frames=(4,),
    )  # fmt: skip
    return simulate_screen(tmp_path_factory.mktemp("screen") / "mirror", spec)


def run(screen, folder, frames, **options):
    stream = IdrStream("idr0013", folder / "tmp", folder / "out", log=folder / "log")
    with closing(stream):
        stream.init_downloader(
            make_downloader(method="local", root=screen.folder, screens_path=screen.screens_path)
        )
        stream.init_preprocessor(None, True)
        stream.init_segmentor({"model_type": "idrstream-nuclei", "diameter": 20})
        stream.copy_DP_files(config_for(128, 160, folder))
        table = read_table(screen.table_path).assign(Frames=frames)
        return stream.run_stream(table, batch_size=2, progress=False, **options)


def cells(folder):
    return pd.read_csv(folder / "out" / "batch_0.csv.gz", index_col=0)


def test_all_is_what_naming_every_frame_is(screen, tmp_path):
    named, whole = tmp_path / "named", tmp_path / "whole"
    run(screen, named, f"1-{FRAMES}")
    result = run(screen, whole, "all", disk_budget="200 MB")
    pd.testing.assert_frame_equal(cells(whole), cells(named))
    assert result.failures()["Frame"].tolist() == [4, 4]
    numbers = cells(whole)["Metadata_Well"].str.split("_", expand=True).astype(int)
    assert numbers.groupby(0)[1].apply(lambda of_well: of_well.is_monotonic_increasing).all()
    assert set(numbers[1]) == set(range(1, FRAMES + 1)) - {4}
    with open_journal(whole / "out") as journal:
        (images,) = journal.images().values()
        assert [image.frames for image in images] == [tuple(range(1, FRAMES + 1))] * 2
        assert {image.state for image in images} == {"partial"}
    again = run(screen, whole, "all", force_recompute=True)  # nothing that it had is missing
    assert again.failed_batches == ()
    assert len(run(screen, whole, "all").batches) == 0


def test_tracks_are_columns_of_the_table_and_tables_beside_it(screen, tmp_path):
    result = run(screen, tmp_path, "all", track=True)
    assert result.failed_batches == ()
    table = cells(tmp_path)
    folder = tmp_path / "out" / "tracks" / "batch_0"
    objects, tracks = (pd.read_csv(folder / f"{name}.csv") for name in ("objects", "tracks"))
    assert objects["Track"].tolist() == table["Metadata_Track"].tolist()
    assert objects["Parent"].tolist() == table["Metadata_Parent"].tolist()
    np.testing.assert_allclose(objects["X"], table["Location_Center_X"], atol=1e-3)
    keys = ["Well_Number", "Track"]
    lengths = objects.groupby(keys).size()
    assert lengths.to_dict() == tracks.set_index(keys)["Frames"].to_dict()
    assert lengths.max() == FRAMES - 1  # all but the frame that is not valid
    assert (tracks["Displacement_Px"] <= tracks["Path_Px"] + 1e-3).all()
    assert verify_folder(tmp_path / "out").is_good
    page = write_report(tmp_path / "out").path.read_text()
    assert "data:image/webp" in page.partition('id="tracks"')[2].partition("</section>")[0]
    collected = collect_folder(tmp_path / "out", normalize="none").folder
    wells = pd.read_parquet(collected / "tracks_wells.parquet")
    assert wells["Tracks"].sum() == len(tracks)
    assert "Metadata_Track" in pd.read_parquet(collected / "cells")
    of_tracks = track_features(table)
    assert len(of_tracks) == len(tracks)
    assert of_tracks["Metadata_Frames"].sum() == len(table)
    (folder / "tracks.csv").write_text("Track\n1\n")
    (problem,) = verify_folder(tmp_path / "out").problems
    assert problem.file == "tracks/batch_0"
    run(screen, tmp_path, "all", track=True, verify=True)  # computed again
    assert not verify_folder(tmp_path / "out").problems
    with pytest.raises(PlanChangedError, match="track was true, is false"):
        run(screen, tmp_path, "all")
