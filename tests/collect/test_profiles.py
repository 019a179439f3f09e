"""Profiles made in portions equal those that pycytominer makes of the whole table."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pycytominer
import pytest

from idrstream.collect import Collected, CollectOptions
from idrstream.collect.annotations import Annotations
from idrstream.collect.cells import Cells
from idrstream.collect.profiles import make_profiles
from idrstream.errors import CollectError, ConfigError
from idrstream.records import ImageTask

FEATURES = [f"efficientnet_{number}" for number in range(9)]
KEY = ["Metadata_Plate", "Metadata_Well_Number"]


def tasks(controls=("Negative Control", "positive control", "negative control", "")):
    """Two plates of eight wells; every well has two frames, which say different things."""
    return [
        ImageTask(
            f"P{plate}", f"A{well}", well, (frame,),
            metadata={"Control Type": controls[well % 4], "Day": str(frame), "Note": "x"},
        )
        for plate in (1, 2)
        for well in range(1, 9)
        for frame in (1, 2)
    ]  # fmt: skip


def cells(folder, listed, seed=0, files=5):
    """A dataset with the cells of every well in several files, in no order."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        [
            (task.plate, task.well_number, 1, task.frames[0], rng.uniform(0, 99))
            for task in listed
            for _ in range(rng.integers(1, 6))
        ],
        columns=[*KEY, "Metadata_Site", "Metadata_Frame", "Location_Center_X"],
    ).astype({"Metadata_Well_Number": np.int32})
    shift = table["Metadata_Well_Number"].to_numpy()[:, None] * np.arange(9)
    values = rng.lognormal(size=(len(table), 9)) * 100 + shift
    table[FEATURES] = values.astype(np.float32)
    table = table.sample(frac=1, random_state=seed, ignore_index=True)
    made = Cells(folder, tuple(FEATURES), len(table))
    for number, part in enumerate(np.array_split(np.arange(len(table)), files)):
        path = folder / f"batch_{number:05d}.parquet"
        pq.write_table(pa.Table.from_pandas(table.iloc[part], preserve_index=False), path)
        for (plate, well), count in table.iloc[part][KEY].value_counts().items():
            made.wells[(plate, well)][path] = count
    return made, table


def whole(table, options, annotations):
    """The same steps on the whole table at once."""
    made = pycytominer.aggregate(
        table, strata=KEY, features=FEATURES, operation=options.aggregate,
        compute_object_count=True, object_feature="Location_Center_X",
    )  # fmt: skip
    control = {key[:2]: values[1] for key, values in annotations.images.items()}
    made["Negative"] = [
        control[plate, well].lower() == "negative control"
        for plate, well in made[KEY].itertuples(index=False)
    ]
    groups = [made] if options.normalize_by == "screen" else [g for _, g in made.groupby(KEY[0])]
    return pd.concat(
        [
            pycytominer.normalize(
                group, features=FEATURES, meta_features=KEY, method=options.normalize,
                samples="Negative == True",
            )
            for group in groups
        ]
    ), made  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "by", "aggregate", "normalize"),
    [
        (1, "plate", "median", "standardize"),
        (7, "screen", "median", "robustize"),
        (7, "plate", "mean", "mad_robustize"),
        (10_000, "screen", "mean", "standardize"),
    ],
)
def test_portions_give_what_the_whole_table_gives(tmp_path, rows, by, aggregate, normalize):
    options = CollectOptions(
        aggregate=aggregate, normalize=normalize, normalize_by=by, rows_at_once=rows,
        correlation_threshold=0.6,
    )  # fmt: skip
    annotations = Annotations.of(tasks())
    dataset, table = cells(tmp_path, tasks())
    made = make_profiles(dataset, annotations, options, tmp_path)
    normalized, aggregated = whole(table, options, annotations)
    for step, wanted in (("aggregated", aggregated), ("normalized", normalized)):
        found = pd.read_parquet(made.path(step))
        assert found[KEY].to_numpy().tolist() == wanted[KEY].to_numpy().tolist()
        np.testing.assert_array_equal(found[FEATURES], wanted[FEATURES])
    found = pd.read_parquet(made.path("aggregated"))
    assert (found["Metadata_Object_Count"] == aggregated["Metadata_Object_Count"]).all()
    selected = pycytominer.feature_select(
        normalized, features=FEATURES, operation=list(options.feature_select), corr_threshold=0.6
    )
    kept = [name for name in pd.read_parquet(made.last) if name in FEATURES]
    assert kept == [name for name in selected if name in FEATURES]
    assert made.features == len(kept) < 9
    assert [step["function"].split(".")[1] for step in made.steps] == [
        "aggregate", "annotate", "normalize", "feature_select",
    ]  # fmt: skip


def test_wells_are_annotated_and_controls_told(tmp_path):
    annotations = Annotations.of(tasks())
    dataset, _ = cells(tmp_path, tasks())
    made = make_profiles(dataset, annotations, CollectOptions(), tmp_path)
    found = pd.read_parquet(made.last)
    assert found["Metadata_Well"].tolist() == [f"A{well}" for well in range(1, 9)] * 2
    # Upper and lower case are the same; frames of a well differ in Day, which is no well's.
    assert found["Metadata_Negative_Control"].tolist() == [False, True, False, True] * 4
    assert "Metadata_Note" in found
    assert "Metadata_Day" not in found
    assert made.steps[1]["left_out"] == ["Metadata_Day"]
    assert made.steps[2]["negative_control_wells"] == {"P1": 4, "P2": 4}
    controls = found[found["Metadata_Negative_Control"]]
    for _, plate in controls.groupby("Metadata_Plate"):
        np.testing.assert_allclose(plate.filter(like="efficientnet").mean(), 0, atol=1e-9)


def test_a_well_with_two_control_types_is_told(tmp_path, caplog):
    listed = [
        ImageTask(task.plate, task.well, task.well_number, task.frames, metadata={
            "Control Type": "positive control"
            if (task.plate, task.well_number, task.frames) == ("P1", 4, (2,))
            else task.metadata["Control Type"],
        })
        for task in tasks()
    ]  # fmt: skip
    dataset, _ = cells(tmp_path, listed)
    made = make_profiles(dataset, Annotations.of(listed), CollectOptions(), tmp_path)
    assert made.steps[1]["left_out"] == ["Metadata_Control_Type"]
    example = "plate P1 well A4: 'Negative Control' and 'positive control'"
    assert made.steps[1]["examples"] == [example]
    assert f"Metadata_Control_Type has several values in one well ({example})" in caplog.text
    assert "1 well is a negative control in some rows only" in caplog.text
    assert made.steps[2]["negative_control_wells"] == {"P1": 3, "P2": 4}
    record = {
        "cells": {"rows": 1},
        "profiles": {"file": "w.parquet", "wells": 16, "features": 9, "steps": made.steps},
        "source": {
            "batches": 1, "missing_batches": [], "left_out": [], "wells_without_nuclei": [],
        },
    }  # fmt: skip
    assert f"several values in one well ({example})" in str(Collected(tmp_path, record))


def test_what_normalisation_lacks_is_named(tmp_path):
    dataset, _ = cells(tmp_path, tasks())
    few = [
        t if t.plate == "P1" else ImageTask(t.plate, t.well, t.well_number, t.frames, metadata={
            **t.metadata, "Control Type": "scrambled" if t.well_number > 1 else "negative control",
        })
        for t in tasks()
    ]  # fmt: skip
    with pytest.raises(CollectError) as error:
        make_profiles(dataset, Annotations.of(few), CollectOptions(), tmp_path)
    for part in ("plate P2: 1;", "'scrambled' (7 wells)", "--normalize-by screen"):
        assert part in str(error.value)
    by_screen = CollectOptions(normalize_by="screen")
    made = make_profiles(dataset, Annotations.of(few), by_screen, tmp_path)
    assert made.steps[2]["negative_control_wells"] == {"P1": 4, "P2": 1}
    named = CollectOptions(negative_controls=("scrambled", "negative control"))
    assert make_profiles(dataset, Annotations.of(few), named, tmp_path).wells == 16
    with pytest.raises(CollectError, match=r"no column 'Kind'.*Metadata_Control_Type.*--control-"):
        make_profiles(dataset, Annotations.of(few), CollectOptions(control_column="Kind"), tmp_path)
    plain = CollectOptions(control_column="Kind", normalize="none")
    assert make_profiles(dataset, Annotations.of(few), plain, tmp_path).last.name == (
        "wells_aggregated.parquet"
    )


@pytest.mark.parametrize("normalize", ["standardize", "robustize", "mad_robustize"])
def test_a_feature_that_is_equal_in_all_controls_has_no_value(tmp_path, caplog, normalize):
    annotations = Annotations.of(tasks())
    dataset, table = cells(tmp_path, tasks(), files=1)
    first = (table["Metadata_Plate"] == "P1") & (table["Metadata_Well_Number"] % 2 == 0)
    table.loc[first, FEATURES[2]] = 5.0  # the controls of one plate, all nuclei alike
    pq.write_table(pa.Table.from_pandas(table), dataset.files[0])
    options = CollectOptions(normalize=normalize, feature_select=())
    made = make_profiles(dataset, annotations, options, tmp_path)
    found = pd.read_parquet(made.last).set_index("Metadata_Plate")[FEATURES]
    assert found.loc["P1", FEATURES[2]].isna().all()
    assert found.notna().to_numpy().sum() == 16 * 9 - 8
    assert found.abs().max(axis=None) < 1e6
    assert made.steps[2]["features_without_spread"] == {"P1": 1}
    assert "1 of 9 features have no spread in the negative controls of plate P1" in caplog.text


def test_controls_with_hardly_a_nucleus_are_told(tmp_path, caplog):
    annotations = Annotations.of(tasks())
    dataset, table = cells(tmp_path, tasks(), files=1)
    alone = table[
        (table["Metadata_Well_Number"] % 2 == 1) | ~table.duplicated(KEY)
    ]  # one nucleus in each control well
    pq.write_table(pa.Table.from_pandas(alone), dataset.files[0])
    for key, count in alone[KEY].value_counts().items():
        dataset.wells[key] = {dataset.files[0]: count}
    made = make_profiles(dataset, annotations, CollectOptions(), tmp_path)
    assert made.steps[2]["negative_control_nuclei"] == {"P1": 4, "P2": 4}
    assert "fewer than 10 nuclei on plate P1 (4), plate P2 (4)" in caplog.text


def test_features_are_selected_without_normalisation_if_that_is_asked(tmp_path):
    annotations = Annotations.of(tasks())
    dataset, _ = cells(tmp_path, tasks())
    asked = CollectOptions(
        normalize="none", feature_select=("correlation_threshold",), correlation_threshold=0.6
    )
    made = make_profiles(dataset, annotations, asked, tmp_path)
    assert made.last.name == "wells_selected.parquet"
    assert made.features < 9
    assert CollectOptions(normalize="none").feature_select == ()
    assert CollectOptions().changed(normalize="none").feature_select == ()


@pytest.mark.parametrize(
    ("option", "value"),
    [("aggregate", "mode"), ("normalize", "z"), ("feature_select", ("variance",)),
     ("correlation_threshold", 1.5), ("negative_controls", ()), ("rows_at_once", 0)],
)  # fmt: skip
def test_wrong_options_are_named(option, value):
    with pytest.raises(ConfigError, match=option):
        CollectOptions(**{option: value})


MIXED = [
    *(f"Nuclei_efficientnet_{number}" for number in range(6)),
    "Cells_AreaShape_Area", "Cells_Intensity_MeanIntensity_ER", "Nuclei_Granularity_16_ER",
    "Cytoplasm_Texture_Contrast_ER_3_00_256", "Nuclei_AreaShape_EulerNumber",
]  # fmt: skip


def mixed(folder, listed):
    """A dataset with features of a network and of CellProfiler's kind, some of no use."""
    dataset, table = cells(folder, listed, files=1)
    rng = np.random.default_rng(3)
    for name in MIXED:
        table[name] = rng.normal(10, 1, len(table))
    effect = table["Metadata_Well_Number"] % 2 == 0
    table["Cells_AreaShape_Area"] = rng.normal(900, 20, len(table)) + 300 * effect
    table["Cytoplasm_Texture_Contrast_ER_3_00_256"] = np.nan  # of cells that have no cytoplasm
    table["Nuclei_AreaShape_EulerNumber"] = np.where(effect, 0.0, 1.0)  # equal in all controls
    pq.write_table(pa.Table.from_pandas(table.drop(columns=FEATURES)), dataset.files[0])
    dataset.features = tuple(MIXED)
    return dataset


def test_mixed_features_without_value_spread_or_use_are_left_out(tmp_path):
    dataset = mixed(tmp_path, tasks(("positive control", "negative control") * 2))
    annotations = Annotations.of(tasks(("positive control", "negative control") * 2))
    made = make_profiles(dataset, annotations, CollectOptions(), tmp_path)
    left_out = made.steps[-1]["left_out"]
    assert list(left_out) == [
        "blocklist", "drop_na_columns", "variance_threshold", "correlation_threshold",
    ]  # fmt: skip
    # Granularity 16 is on pycytominer's list; contrast has no values; Euler's number no spread.
    assert (left_out["blocklist"], left_out["drop_na_columns"]) == (1, 2)
    kept = [name for name in pd.read_parquet(made.last) if not name.startswith("Metadata_")]
    assert "Cells_AreaShape_Area" in kept
    assert not set(kept) & set(MIXED[-3:])


def test_selection_says_what_left_no_feature(tmp_path):
    dataset = mixed(tmp_path, tasks())
    dataset.features = tuple(MIXED[-3:])
    with pytest.raises(CollectError, match=r"1 by blocklist, 2 by drop_na_columns.*feature-select"):
        make_profiles(dataset, Annotations.of(tasks()), CollectOptions(), tmp_path)
