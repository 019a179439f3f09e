"""A stream over one plate as each microscope writes it gives the same features."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from plates import WRITERS, Key, columbus, number_of

from idrstream import IdrStream, make_downloader, table_from_files
from idrstream.demo import config_for

SIZE = (96, 128)
ALL = {**WRITERS, "Columbus pages": partial(columbus, paged=True)}


def cells(key: Key) -> np.ndarray:
    """Return some nuclei on a background, of at most 12 bits; each plane has its own."""
    random = np.random.default_rng(number_of(key._replace(channel=0, z=0)))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    image = np.full(SIZE, 200.0)
    for n, (row, column) in enumerate(random.uniform((15, 15), (80, 112), (6, 2))):
        light = 1000 + 200 * key.channel if n % 2 == key.z else 100
        image += light * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 40)
    noise = np.random.default_rng(number_of(key)).normal(0, 5, SIZE)
    return np.clip(image + noise, 0, 4095).astype(np.uint16)


def features_of(table, quick, folder, **options):
    stream = IdrStream("x", folder / "tmp", folder / "out", log=folder / "log")
    stream.init_downloader(make_downloader(method="local", root=folder))
    stream.init_preprocessor(None, False, image_channels=("DNA=Hoechst", "AGP=Actin"), **options)
    stream.init_segmentor(quick.ThresholdSegmentor(0.95))

    class BothChannels(quick.ProjectionEngine):
        def _seen(self, frame, objects):
            both = frame.pixels[0] // 2 + frame.pixels[1] // 2
            return super()._seen(
                replace(frame, pixels=both[np.newaxis], channels=("DNA",)), objects
            )

    stream.copy_DP_files(config_for(*SIZE, folder), engine=BothChannels(count=8))
    result = stream.run_stream(table, progress=False)
    stream.close()
    assert result.failures().empty, result.failures()["Reason"].tolist()
    return pd.read_csv(folder / "out" / "batch_0.csv.gz", index_col=0)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from local_servers import nginx

    with nginx(tmp_path_factory.mktemp("plates")) as server:
        yield server


@pytest.mark.parametrize(
    "kinds",
    [("MetaXpress", "Columbus pages"), pytest.param(tuple(ALL), marks=pytest.mark.slow)],
    ids=["two", "all"],
)
def test_the_same_features_from_every_microscope(kinds, quick, served, tmp_path):
    tables = {}
    for kind in kinds:
        index = ALL[kind](served.root / kind, cells)
        address = f"{served.address}{kind}/{index}".replace(" ", "%20")
        table = table_from_files(address, sites=2).iloc[:3].assign(Plate="P")
        assert (table["Planes"] == "2").all()
        folder = tmp_path / kind.replace(" ", "_")
        folder.mkdir()
        tables[kind] = features_of(table, quick, folder, projection="max")
    first = tables[kinds[0]]
    assert len(first) > 6
    for kind, features in tables.items():
        pd.testing.assert_frame_equal(features, first, obj=kind)
    assert "Pages" in table  # the last one is one file for each field


def test_planes_are_projected_or_chosen(quick, served, tmp_path):
    """One plane by its own files is the plane of the stack; the projection has both."""
    index = WRITERS["Harmony"](served.root / "planes", cells)
    address = f"{served.address}planes/{index}"
    found = {}
    for name, plane, options in (
        ("file", 2, {}), ("chosen", None, {"z": 1}), ("max", None, {"projection": "max"}),
    ):  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        table = table_from_files(address, sites=1, plane=plane).iloc[:2].assign(Plate="P")
        found[name] = features_of(table, quick, folder, **options)
    values = [name for name in found["file"] if not name.startswith("Metadata")]
    assert len(values) >= 8
    pd.testing.assert_frame_equal(found["file"][values], found["chosen"][values])
    assert len(found["max"]) > len(found["file"])
