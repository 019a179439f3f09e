"""A stream of whole movies: every frame in its table, as if the table had named them."""

from contextlib import closing

import pandas as pd
import pytest

from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen
from idrstream.demo import config_for
from idrstream.folder.journal.reader import open_journal

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
