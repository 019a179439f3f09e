"""A Cell Painting screen from images to profiles and report: ``idrstream demo --channels 5``."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from browser import NARROW, WIDE, opened
from next_steps import check_what_comes_next
from PIL import Image
from scipy import ndimage

from idrstream.cli.main import main
from idrstream.collect import collect_folder
from idrstream.compile import read_batch_table
from idrstream.quality.pictures import PICTURE_BYTES, picture_key, picture_paths
from idrstream.report.data import read_folder
from idrstream.report.findings import find_warnings
from idrstream.report.write import write_report
from idrstream.simulate import CHANNELS, PaintingSpec, simulate_field

pytestmark = pytest.mark.models
SMALL = {"plates": 1, "wells": 14, "fields": 1, "height": 256, "width": 256, "nuclei": 14}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Folder and words of a small demo."""
    pytest.importorskip("cp_measure")
    folder = tmp_path_factory.mktemp("painting") / "demo"
    with pytest.MonkeyPatch.context() as patch:
        told = io.StringIO()
        patch.setattr("sys.stdout", told)
        sizes = [word for name, size in SMALL.items() for word in (f"--{name}", str(size))]
        assert main(["demo", str(folder), "--channels", "5", *sizes]) == 0
    return folder, told.getvalue()


def effects_are_as_simulated(wells: pd.DataFrame) -> None:
    """Fail unless the treatments come out as what they are, in normalised profiles."""
    treated = wells.set_index("Metadata_Original_Gene_Target").select_dtypes("number")
    treated = treated.drop(columns=[name for name in treated if name.startswith("Metadata_")])
    # What both wells of a treatment have: one alone may differ by chance.
    groups = treated.groupby(level=0)
    low, high = groups.min(), groups.max()
    treated = low.where(low > 0, high.where(high < 0, 0))

    def top(treatment, count=10):
        return treated.loc[treatment].abs().nlargest(count).index

    bright = top("bright mitochondria")
    assert sum("_Intensity_" in name and name.endswith("_Mito") for name in bright) >= 8, bright
    assert treated.loc["bright mitochondria", "Cells_Intensity_MeanIntensity_Mito"] > 4
    large = top("large cells")
    assert sum(name.startswith(("Cells_", "Cytoplasm_")) for name in large) >= 8, large
    assert treated.loc["large cells", "Cells_AreaShape_Area"] > 4
    small = top("small nuclei", 20)
    assert sum(name.startswith("Nuclei_") for name in small) >= 14, small
    assert treated.loc["small nuclei", "Nuclei_AreaShape_Area"] < -4
    # What a treatment does not touch stays as in the controls.
    for treatment, feature in (
        ("bright mitochondria", "Cells_AreaShape_Area"),
        ("bright mitochondria", "Cells_Intensity_MeanIntensity_ER"),
        ("large cells", "Nuclei_AreaShape_Area"),
    ):
        assert abs(treated.loc[treatment, feature]) < 2, (treatment, feature)


def test_it_finds_what_was_simulated(demo):
    _, told = demo

    def number(words):
        return float(told.split(words)[1].split()[0].rstrip("%"))

    assert number("nuclei found (IoU 0.5)") >= 90
    assert number("found where there is none") <= 10
    assert number("flatfield correlation, worst") >= 0.9
    assert number("cell area, correlation") >= 0.8
    assert "bright mitochondria:" in told


def test_the_commands_that_it_ends_with_work(demo, monkeypatch, capsys):
    _, told = demo
    check_what_comes_next(told, main, monkeypatch, capsys)


@pytest.fixture(scope="module")
def matched(demo):
    """Rows of found cells, and the true mean light of the same cells by object and channel."""
    folder, _ = demo
    spec = PaintingSpec(
        plates=1, wells_per_plate=14, fields=1, height=256, width=256, nuclei_per_frame=14
    )
    table = read_batch_table(next((folder / "features").glob("batch_*.csv.gz")))
    rows, means = [], []
    for well in spec.wells:
        field = simulate_field(spec, plate="CP0001", well=well)
        here = table[table["Metadata_Well"] == f"{well.removeprefix('A')}_1"]
        at = np.rint(here[["Location_Center_Y", "Location_Center_X"]].to_numpy()).astype(int)
        owner = field.nuclei[at[:, 0], at[:, 1]]
        light = field.pixels[:, spec.focus] / field.flatfields
        cytoplasm = np.where(field.nuclei > 0, 0, field.cells)
        rows.append(here[owner > 0])
        means.append(
            pd.DataFrame(
                {
                    f"{kind}_{channel}": ndimage.mean(plane, labels, owner[owner > 0])
                    for kind, labels in (("Nuclei", field.nuclei), ("Cytoplasm", cytoplasm))
                    for channel, plane in zip(CHANNELS, light, strict=True)
                }
            )
        )
    return pd.concat(rows, ignore_index=True), pd.concat(means, ignore_index=True)


@pytest.mark.parametrize("kind", ["Nuclei", "Cytoplasm"])
def test_every_channel_and_object_is_measured_in_its_own_pixels(matched, kind):
    found, true = matched
    assert len(found) > 100
    measured = {name: found[f"{kind}_Intensity_MeanIntensity_{name}"] for name in CHANNELS}
    for channel in CHANNELS:
        alike = {
            name: np.corrcoef(measured[name], true[f"{kind}_{channel}"])[0, 1] for name in CHANNELS
        }
        assert max(alike, key=alike.get) == channel, alike
        assert alike[channel] > 0.8, (channel, alike)


def test_nuclei_and_cytoplasm_are_not_the_same_pixels(matched):
    found, true = matched
    for channel in CHANNELS:
        nuclei, cytoplasm = (
            found[f"{kind}_Intensity_MeanIntensity_{channel}"].median()
            for kind in ("Nuclei", "Cytoplasm")
        )
        expected = true[f"Nuclei_{channel}"].median() / true[f"Cytoplasm_{channel}"].median()
        assert nuclei / cytoplasm == pytest.approx(expected, rel=0.15), channel
    dna = "Intensity_MeanIntensity_DNA"
    assert (found[f"Nuclei_{dna}"] > 2 * found[f"Cytoplasm_{dna}"]).all()


def test_known_effects_are_the_top_features_of_the_treated_wells(demo):
    folder, _ = demo
    wells = pd.read_parquet(folder / "profiles" / "wells_normalized.parquet")
    effects_are_as_simulated(wells)
    selected = pd.read_parquet(folder / "profiles" / "wells_selected.parquet")
    row = selected[selected["Metadata_Original_Gene_Target"] == "bright mitochondria"]
    row = row[[name for name in row if "_Intensity_" in name]].mean()
    assert row.abs().idxmax().endswith("_Mito")


@pytest.mark.parametrize(("one", "other"), [("_Mito", "_ER"), ("Cells_", "Nuclei_")])
def test_swapped_channels_or_objects_are_noticed(demo, one, other):
    folder, _ = demo
    wells = pd.read_parquet(folder / "profiles" / "wells_normalized.parquet")
    swapped = {
        name: name.replace(one, "?").replace(other, one).replace("?", other) for name in wells
    }
    with pytest.raises(AssertionError):
        effects_are_as_simulated(wells.rename(columns=swapped))


def test_the_collection_says_what_each_feature_is(demo, tmp_path):
    anndata = pytest.importorskip("anndata")
    folder, _ = demo
    made = collect_folder(folder / "features", tmp_path / "out", anndata=True, feature_select=())
    var = anndata.read_h5ad(made.folder / "wells.h5ad").var
    assert set(var["object"]) == {"Nuclei", "Cells", "Cytoplasm"}
    assert set(var["block"]) == {"classical", "efficientnet"}
    assert set(var["channel"]) == {"", *CHANNELS}
    row = var.loc["Cells_Intensity_MeanIntensity_ER"]
    assert (row["object"], row["family"], row["channel"]) == ("Cells", "Intensity", "ER")
    weights = var.groupby("block", observed=True)["weight"].agg(lambda one: (one**2).sum())
    assert weights["classical"] == pytest.approx(weights["efficientnet"])


def test_cells_of_each_engine_in_a_table_of_their_own(demo, tmp_path):
    folder, _ = demo
    whole = collect_folder(folder / "features", tmp_path / "one", feature_select=())
    split = collect_folder(
        folder / "features", tmp_path / "two", feature_select=(), tables="by-engine"
    )
    assert split.record["cells"]["tables"] == ["classical", "efficientnet"]
    every = pd.read_parquet(whole.cells_path)
    parts = {n: pd.read_parquet(split.cells_path / n) for n in ("classical", "efficientnet")}
    keys = [column for column in every if column.startswith("Metadata_")]
    for part in parts.values():
        pd.testing.assert_frame_equal(part[keys], every[keys])
    features = whole.features()
    for name, part in parts.items():
        own = list(features.index[features["block"] == name])
        assert own
        assert [c for c in part if c in set(features.index)] == [c for c in every if c in set(own)]
        pd.testing.assert_frame_equal(part[own], every[own])
    again = collect_folder(folder / "features", tmp_path / "two", replace=True, feature_select=())
    assert not (again.cells_path / "classical").exists()


def test_every_channel_is_measured_and_shown(demo):
    folder, _ = demo
    data = read_folder(folder / "features")
    assert data.channels == data.measured_channels == CHANNELS
    assert {channel for _, channel in data.models} == set(CHANNELS)
    assert find_warnings(data) == ()
    mito = data.frames.set_index("Well")["Intensity_Mito"]
    assert set(mito.nlargest(2).index) == {"A4", "A11"}
    assert mito[["A4", "A11"]].min() > 1.4 * mito.median()
    row = data.frames.iloc[0]
    paths = picture_paths(
        data.folder, picture_key(row["Plate"], row["Well_Number"], row["Site"], row["Frame"])
    )
    assert sum(path.stat().st_size for path in paths) <= PICTURE_BYTES
    with Image.open(paths[1]) as picture:
        assert picture.height == 5 * 64 + 4 * 2
        rows = np.asarray(picture.convert("L"), float)
    dna, _, rna, _, mitochondria = (rows[at * 66 : at * 66 + 64] for at in range(5))
    centre = dna[28:36, 28:36]  # the first nucleus
    assert centre.mean() > 3 * mitochondria[28:36, 28:36].mean()
    assert rna[28:36, 28:36].mean() > mitochondria[28:36, 28:36].mean()


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_the_page_shows_features_by_object_family_and_channel(chromium, demo, width, tmp_path):
    folder, _ = demo
    page = write_report(folder / "features", tmp_path / "page.html").path
    text = page.read_text()
    assert "By object, family and channel" in text
    assert "The features of efficientnet and classical count alike" in text
    with opened(chromium, page, width=width) as seen:
        assert seen.faults() == []
        maps = seen.page.locator("svg.heat")
        assert maps.count() == 3
        labels = [maps.nth(at).get_attribute("aria-label") for at in range(3)]
    assert any("bright mitochondria" in label and "_Mito (+" in label for label in labels)


def test_an_option_of_the_other_demo_is_refused(tmp_path, capsys):
    assert main(["demo", str(tmp_path / "d"), "--channels", "5", "--frames", "3"]) == 2
    assert "--frames is no option with --channels 5" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()
