"""A stream of two channels gives the same features from one file as from two."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pandas as pd
import pytest

from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen
from idrstream.demo import config_for

SIZE = (192, 256)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """Movies of a simulated screen with a second channel; the table's rows of images."""
    spec = ScreenSpec(
        plates=1, wells_per_plate=2, frames=2, height=SIZE[0], width=SIZE[1],
        nuclei_per_frame=10, wanted_frames=(2,),
    )  # fmt: skip
    screen = simulate_screen(tmp_path_factory.mktemp("screen") / "mirror", spec)
    table = read_table(screen.table_path)
    folder = tmp_path_factory.mktemp("channels")
    movies = sorted(screen.folder.rglob("*.ch5"))
    for number, path in enumerate(movies):
        with h5py.File(path) as file:
            names: list[str] = []
            file.visit(names.append)
            place = next(
                name
                for name in names
                if name.startswith("sample/") and name.endswith("image/channel")
            )
            dna = file[place][:]
        other = np.roll(255 - dna, 7, axis=-1)
        for name, pixels in (("one", [other, dna]), ("dna", [dna]), ("er", [other])):
            target = folder / f"{name}{number}.ch5"
            with h5py.File(path) as source, h5py.File(target, "w") as file:
                source.copy("definition", file)
                image = file.create_dataset(place, data=np.concatenate(pixels))
                image.attrs.update(source[place].attrs)
    return folder, table.iloc[: len(movies)]


def features_of(mirror, tmp_path, name, **columns):
    folder, table = mirror
    kept = table[["Plate", "Well", "Well Number", "Frames"]].assign(
        **{
            column: [str(text).format(n=number) for number in range(len(table))]
            for column, text in columns.items()
        }
    )
    config = config_for(*SIZE, tmp_path)
    settings = json.loads(config.read_text())
    settings["dataset"]["images"]["channels"] = ["ER"]  # nuclei are found in DNA
    config.write_text(json.dumps(settings))
    stream = IdrStream("x", tmp_path / "tmp" / name, tmp_path / name)
    stream.init_downloader(make_downloader(method="local", root=folder))
    channels = ("DNA=Hoechst", "ER=Concanavalin")
    stream.init_preprocessor(None, True, image_channels=channels)
    stream.init_segmentor({"model_type": "idrstream-nuclei", "diameter": 0})
    stream.copy_DP_files(config)
    result = stream.run_stream(kept, progress=False)
    stream.close()
    assert result.failures().empty, result.failures()["Reason"].tolist()
    return pd.read_csv(tmp_path / name / "batch_0.csv.gz", index_col=0)


@pytest.mark.models
def test_one_file_and_two_files_give_the_same(mirror, tmp_path):
    one = features_of(
        mirror, tmp_path, "one", Path="one{n}.ch5", **{"Channel Names": "Concanavalin;Hoechst"}
    )
    two = features_of(
        mirror, tmp_path, "two", **{"Path Hoechst": "dna{n}.ch5", "Path Concanavalin": "er{n}.ch5"}
    )
    assert len(one) > 5
    assert "Metadata_ER" in one.columns
    pd.testing.assert_frame_equal(one, two)
