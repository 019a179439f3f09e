"""A stream of five channels with cells, cytoplasm and two engines, against the simulated truth."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from idrstream import IdrStream, make_downloader, read_table
from idrstream.compile.masks import read_masks
from idrstream.demo import config_for
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.simulate import CHANNELS, load_field_truth, simulate_painting, tiny_painting

pytest.importorskip("cp_measure")

FAMILIES = ("size_shape", "neighbours", "intensity", "colocalisation")
KINDS = ("Nuclei", "Cells", "Cytoplasm")


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    spec = tiny_painting(wells_per_plate=2, noise=0.3, vignetting=0.1)
    return simulate_painting(tmp_path_factory.mktemp("painting") / "screen", spec)


def run(screen, folder, segment=(), **profile):
    """Run a stream over the screen; return the folder and the table of its only batch."""
    stream = IdrStream("x", folder / "tmp", folder / "out")
    stream.init_downloader(make_downloader(method="local", root=screen.folder))
    names = tuple(f"{name}={number}" for number, name in enumerate(CHANNELS))
    stream.init_preprocessor(None, False, image_channels=names, z=1)
    stream.init_segmentor({"model_type": "idrstream-nuclei", "diameter": 24, **dict(segment)})
    stream.copy_DP_files(
        config_for(256, 256, folder), classical_features=FAMILIES, classical_processes=1, **profile
    )
    result = stream.run_stream(
        read_table(screen.table_path), progress=False, keep_masks=True, output_format="parquet"
    )
    stream.close()
    assert result.failures().empty, result.failures()["Reason"].tolist()
    return folder / "out", pd.read_parquet(folder / "out" / "cells" / "batch_0.parquet")


@pytest.fixture(scope="module")
def both(screen, tmp_path_factory):
    cells = {"cells": "propagate", "cell_channels": ["AGP"]}
    folder = tmp_path_factory.mktemp("both")
    return run(screen, folder, cells, engines=["torch", "classical"])


@pytest.mark.models
def test_a_row_has_nucleus_cell_and_cytoplasm_and_both_engines(both):
    out, table = both
    assert len(table) > 10
    starts = [name.split("_")[0] for name in table.columns]
    groups = [one for n, one in enumerate(starts) if n == 0 or one != starts[n - 1]]
    assert groups == ["Location", "Metadata", "Nuclei", "Cells", "Cytoplasm"]
    assert sum(name.startswith("Nuclei_efficientnet_") for name in table.columns) == 1280
    assert "Cells_Correlation_Correlation_DNA_ER" in table.columns
    area = {kind: table[f"{kind}_AreaShape_Area"] for kind in KINDS}
    assert (area["Nuclei"] + area["Cytoplasm"] == area["Cells"]).all()
    assert set(table["Metadata_Cells_TouchesBorder"]) <= {0, 1}
    assert not table["Metadata_Nuclei_TouchesBorder"].any()  # remove_edge_masks
    parts = json.loads((out / "provenance.json").read_text())
    assert parts["identity"]["engine"]["channels"] == list(CHANNELS)
    described = parts["identity"]["engine"]["engines"]
    assert [one["engine"] for one in described] == ["torch", "classical"]
    assert described[1]["features"] == list(FAMILIES)
    assert "cp-measure" in json.dumps(parts["versions"])


@pytest.mark.models
def test_kept_masks_and_pixels_give_the_numbers_of_the_table(both, screen):
    """Of all three kinds: what cp_measure says of them by hand, and the numbers of the objects."""
    from cp_measure.bulk import get_core_measurements

    out, table = both
    intensity = get_core_measurements(legacy=True)["intensity"]
    for movie, (site, rows) in zip(
        screen.movies, table.groupby("Metadata_Plate_Map_Name", sort=False), strict=True
    ):
        well = f"A{str(site).rsplit('_', 1)[1]}"
        for number, channel in enumerate(CHANNELS):
            pixels = CellH5Reader(channel=number, z=1).read(movie, [1])[1] / 65535
            for kind in KINDS:
                labels = read_masks(out, "CP0001", well, 1, name=kind)
                assert np.isin(labels, [0, *rows["Metadata_ObjectNumber"]]).all()
                found = intensity(labels, pixels)
                for name in ("Intensity_MeanIntensity", "Intensity_MADIntensity"):
                    ours = rows[f"{kind}_{name}_{channel}"].to_numpy()
                    np.testing.assert_array_equal(ours, found[name].astype(np.float32))


@pytest.mark.models
def test_channels_and_compartments_are_those_of_the_truth(both, screen):
    """A channel or a compartment swapped for another is off by more than the noise."""
    _, table = both
    errors, swapped = [], []
    for well, movie in enumerate(screen.movies, start=1):
        truth = load_field_truth(screen.truth_of("CP0001", well))
        rows = table[table["Metadata_Plate_Map_Name"] == f"CP0001_{well}"]
        points = rows[["Location_Center_Y", "Location_Center_X"]].to_numpy()
        distance, at = cKDTree(truth.positions).query(points)
        assert (distance < 6).mean() > 0.9
        index = at[distance < 6] + 1
        for number, channel in enumerate(CHANNELS):
            pixels = CellH5Reader(channel=number, z=1).read(movie, [1])[1] / 65535
            cytoplasm = np.where(truth.nuclei > 0, 0, truth.cells)
            inside, around = (
                ndimage.mean(pixels, labels, index) for labels in (truth.nuclei, cytoplasm)
            )
            ours = {
                kind: rows[f"{kind}_Intensity_MeanIntensity_{channel}"].to_numpy()[distance < 6]
                for kind in KINDS
            }
            contrast = np.abs(inside - around)
            clear = contrast > 0.3 * np.maximum(inside, around)
            for kind, true in (("Nuclei", inside), ("Cytoplasm", around)):
                errors.append((np.abs(ours[kind] - true) / contrast)[clear])
                other = around if kind == "Nuclei" else inside
                swapped.append((np.abs(ours[kind] - other) / contrast)[clear])
    wrong, if_swapped = np.concatenate(errors), np.concatenate(swapped)
    assert len(wrong) > 50
    assert np.median(wrong) < 0.2
    assert np.median(if_swapped) > 0.8


@pytest.mark.models
def test_nuclei_and_their_deep_features_are_those_of_a_stream_of_nuclei(both, screen, tmp_path):
    _, table = both
    _, plain = run(screen, tmp_path)
    deep = [name for name in plain.columns if name.startswith("efficientnet_")]
    assert not any(name.startswith("Nuclei_") for name in plain.columns)
    assert "Metadata_ObjectNumber" not in plain.columns
    shared = [name for name in plain.columns if name not in deep]
    pd.testing.assert_frame_equal(plain[shared], table[shared])
    np.testing.assert_array_equal(
        plain[deep].to_numpy(), table[[f"Nuclei_{name}" for name in deep]].to_numpy()
    )


@pytest.mark.models
def test_deep_features_of_cells_and_cells_of_a_second_model(screen, tmp_path):
    """The second model is the shipped one, on the channel that shows whole cells."""
    cells = {
        "cells": "cellpose", "cell_channels": ["RNA"], "cell_model": "idrstream-nuclei",
        "cell_diameter": 50,
    }  # fmt: skip
    out, table = run(screen, tmp_path, cells, deep_objects="cells")
    assert "Cells_efficientnet_0" in table.columns
    assert "efficientnet_0" not in table.columns
    without = table["Metadata_Cells_Children_Nuclei_Count"] == 0
    assert np.array_equal(table["Cells_efficientnet_0"].isna(), without)
    assert (~without).any()
    counts = pd.read_csv(out / "qc" / "batch_0.csv")
    assert counts["Nuclei_Without_Cell"].sum() == without.sum()
    assert counts["Cells_Without_Nucleus"].min() >= 0
