"""Streams over frames of several sizes and over several channels, through real networks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from movie_files import write_ch5
from own_python import needs_deepprofiler

from idrstream import IdrStream, ScreenSpec, make_downloader
from idrstream.compile import read_batch_table
from idrstream.compile.masks import read_masks
from idrstream.simulate.movie import simulate_movie

pytestmark = pytest.mark.models

NAMES = ("DNA", "ER", "AGP", "Mito", "RNA")
SIZES = ((160, 192), (211, 190), (128, 240))


@pytest.fixture(scope="module", params=[1, 3, 5])
def screen(request, tmp_path_factory):
    """Three movies of three sizes with so many channels, the nuclei in the last one."""
    folder = tmp_path_factory.mktemp("movies")
    rows = []
    for number, (height, width) in enumerate(SIZES, start=1):
        spec = ScreenSpec(
            plates=1, wells_per_plate=1, frames=2, height=height, width=width,
            nuclei_per_frame=9, seed=number,
        )  # fmt: skip
        nuclei = simulate_movie(spec, well=f"A{number}").frames
        rng = np.random.default_rng(number)
        others = [rng.permuted(nuclei, axis=2) // 2 + 5 for _ in range(request.param - 1)]
        movie = np.stack([*others, nuclei])[:, :, np.newaxis]
        write_ch5(folder / f"{number}.ch5", movie, well=f"{number:05d}")
        rows.append({"Plate": "P1", "Well": f"A{number}", "Frames": "1,2", "Path": f"{number}.ch5"})
    return folder, pd.DataFrame(rows), NAMES[: request.param]


@pytest.fixture(scope="module")
def profiler(screen, tmp_path_factory, write_config, trained_checkpoint):
    folder, _, names = screen
    checkpoint = trained_checkpoint(folder / "trained.h5", len(names))
    config = write_config(
        folder / "profile.json",
        dataset__images__width=1344,  # no frame has this size
        dataset__images__height=1024,
        dataset__images__channels=list(names),
        dataset__locations__box_size=64,
        profile__checkpoint=checkpoint.name,
    )
    return config, checkpoint


@pytest.fixture(scope="module")
def stream_with(screen, profiler, tmp_path_factory):
    folder, table, names = screen

    def run(engine):
        place = tmp_path_factory.mktemp(engine)
        stream = IdrStream("idr0013", place / "tmp", place / "out")
        stream.init_downloader(make_downloader(method="local", root=folder))
        channels = [f"{name}={number}" for number, name in enumerate(names)]
        stream.init_preprocessor(perform_illumination_correction=False, image_channels=channels)
        stream.init_segmentor(
            {"model_type": "idrstream-nuclei", "diameter": 18, "segment_channel": names[-1],
             "gpu": False, "remove_edge_masks": False}
        )  # fmt: skip
        stream.copy_DP_files(*profiler, engine=engine, dp_gpu="-1", profile_device="cpu")
        result = stream.run_stream(table, 3, keep_masks=True, progress=False)
        stream.close()
        assert not len(result.failures())
        assert not list((place / "tmp").rglob("*.tif"))
        return place / "out", read_batch_table(result.batches[0].published.path)

    return run


@pytest.fixture(scope="module")
def torch(stream_with):
    return stream_with("torch")


def test_every_frame_of_every_size_is_in_the_table(torch, screen):
    out, cells = torch
    _, _, names = screen
    counts = cells.groupby("Metadata_Well").size()
    assert set(counts.index) == {f"{well}_{frame}" for well in (1, 2, 3) for frame in (1, 2)}
    assert counts.min() >= 3
    assert cells.filter(like="efficientnet_").notna().all(axis=None)
    several = len(names) > 1
    for name in names:
        file = f"P1/P1_1_1{f'_{name}' if several else ''}.tif"
        assert cells[f"Metadata_{name}"].iloc[0] == file
    for number, size in enumerate(SIZES, start=1):
        labels = read_masks(out, "P1", f"A{number}", 2)
        assert labels.shape == size
        assert labels.max() == counts[f"{number}_2"]


@needs_deepprofiler
def test_deepprofiler_gives_the_same_within_rounding(torch, stream_with):
    _, cells = torch
    _, theirs = stream_with("deepprofiler")
    features = [name for name in cells if name.startswith("efficientnet_")]
    rest = [name for name in cells if name not in features]
    pd.testing.assert_frame_equal(cells[rest], theirs[rest])
    wanted = theirs[features].to_numpy()
    assert np.abs(cells[features].to_numpy() - wanted).max() <= 1e-4 * np.abs(wanted).max()
