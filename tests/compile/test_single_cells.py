from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from idrstream.compile import (
    check_extra_metadata,
    compile_batch,
    merge_with_pycytominer,
    publish,
)
from idrstream.errors import CompileError, ConfigError
from idrstream.segment import write_locations

COLUMNS = [
    "Location_Center_X",
    "Location_Center_Y",
    "Metadata_Plate",
    "Metadata_Well",
    "Metadata_Site",
    "Metadata_Plate_Map_Name",
    "Metadata_DNA",
    "Metadata_Gene",
    "Metadata_Gene_Replicate",
    "Metadata_Model",
]
FEATURES = [f"efficientnet_{number}" for number in range(1280)]


def changed(change):
    """Return a merge that changes pycytominer's table."""
    return lambda index_path, folder: change(merge_with_pycytominer(index_path, folder))


def test_the_table_has_the_first_idr_streams_columns_and_values(project, add, write_features):
    first, _, third = add(project, 3), add(project, 0, number=51), add(project, 2, number=52)
    write_features(project)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = compile_batch(project)
    assert list(table) == [*COLUMNS, *FEATURES]
    assert list(table["Metadata_Well"]) == ["4_50"] * 3 + ["4_52"] * 2
    assert table.iloc[0, 2:10].to_dict() == {
        "Metadata_Plate": "LT0001_02",
        "Metadata_Well": "4_50",
        "Metadata_Site": "1",
        "Metadata_Plate_Map_Name": "LT0001_02_4",
        "Metadata_DNA": "LT0001_02/LT0001_02_4_50.tif",
        "Metadata_Gene": "ENSG00000149503",
        "Metadata_Gene_Replicate": "1",
        "Metadata_Model": "efficientnet",
    }
    for image, rows in ((first, slice(0, 3)), (third, slice(3, 5))):
        with np.load(project.features_path(image)) as file:
            features = file["features"]
        assert np.array_equal(table[FEATURES].to_numpy()[rows], features)
        written = pd.read_csv(project.locations_path(image), float_precision="round_trip")
        assert np.array_equal(table.iloc[rows, :2].to_numpy(float), written.to_numpy())
    assert set(table[FEATURES].dtypes) == {np.dtype(np.float32)}
    assert list(table.index) == list(range(5))


def test_it_equals_what_pycytominer_gives(project, add, write_features):
    add(project, 3)
    write_features(project)
    theirs = merge_with_pycytominer(project.index_path, project.features_folder)
    pd.testing.assert_frame_equal(compile_batch(project), theirs)


def test_outlines_come_first_and_belong_to_their_nuclei(project, add, write_features):
    add(project, 3, outlines=True)
    add(project, 2, number=51, outlines=True)
    write_features(project)
    table = compile_batch(project, extra_metadata=["object_outlines"])
    assert list(table)[:2] == ["Object_Outline", "Location_Center_X"]
    assert list(table["Object_Outline"]) == [
        f"[[1,{number}],[2,{number}]]" for number in (0, 1, 2, 0, 1)
    ]
    assert table["Location_Center_X"].dtype == np.float64


def test_outlines_that_were_not_made_cannot_be_added(project, add, write_features):
    add(project, 1)
    write_features(project)
    with pytest.raises(ConfigError, match=r"object_outlines, but plate LT0001_02 .* without"):
        compile_batch(project, extra_metadata=["object_outlines"])


def test_columns_of_the_table_can_be_added(project, add, make_task, write_features):
    metadata = {"Control Type": "positive control", "Gene_Replicate": "3"}
    add(project, 1, task=make_task(metadata=metadata))
    add(project, 1, task=make_task(well_number=15, metadata={}))
    write_features(project)
    table = compile_batch(project, extra_metadata=["Control Type", "Gene_Replicate"])
    assert list(table)[:-1280] == [*COLUMNS, "Metadata_Control_Type"]
    assert list(table["Metadata_Control_Type"]) == ["positive control", ""]
    assert list(table["Metadata_Gene_Replicate"]) == ["3", "1"]


@pytest.mark.parametrize("counts", [(), (0,), (0, 0)])
def test_a_batch_without_nuclei_has_all_columns_and_no_rows(project, add, counts, tmp_path):
    for number, count in enumerate(counts, start=1):
        add(project, count, number=number, outlines=True)
    table = compile_batch(project, extra_metadata=["object_outlines", "Control Type"])
    assert table.shape == (0, 1292)
    assert list(table) == ["Object_Outline", *COLUMNS, "Metadata_Control_Type", *FEATURES]
    published = publish(table, tmp_path / "batch_0.csv.gz")
    assert published.rows == 0
    assert list(pd.read_csv(published.path, index_col=0)) == list(table)


@pytest.mark.parametrize("plate", ["0012", "NA", "3451"])
def test_plates_that_pandas_would_change_keep_their_name(
    project, add, make_task, write_features, plate
):
    add(project, 2, task=make_task(plate, metadata={"Original Gene Target": "007"}))
    write_features(project)
    table = compile_batch(project)
    assert list(table["Metadata_Plate"]) == [plate] * 2
    assert list(table["Metadata_Gene"]) == ["007"] * 2
    assert list(table["Metadata_DNA"]) == [f"{plate}/{plate}_4_50.tif"] * 2


def test_features_for_too_few_nuclei_name_the_image(project, add, write_features):
    add(project, 3)
    add(project, 3, number=51)
    write_features(project, rows=2)
    with pytest.raises(CompileError, match="frame 50 has 3 nuclei, but 2 in the table"):
        compile_batch(project)


def test_missing_features_name_the_image(project, add, write_features):
    add(project, 1)
    missing = add(project, 1, number=51)
    write_features(project)
    project.features_path(missing).unlink()
    with pytest.raises(CompileError, match="frame 51 has 1 nuclei, but 0 in the table"):
        compile_batch(project)


def test_no_features_at_all_are_an_error_of_the_batch(project, add):
    add(project, 1)
    project.write_index()
    with pytest.raises(CompileError, match="pycytominer cannot merge the features in"):
        compile_batch(project)


def test_features_of_other_locations_name_the_image(project, add, write_features):
    add(project, 2)
    write_features(project, shift=0.01)
    with pytest.raises(CompileError, match="nuclei of plate LT0001_02 well A4 frame 50 were profi"):
        compile_batch(project)


def test_rows_in_another_order_are_found(project, add, write_features):
    add(project, 1)
    add(project, 1, number=51)
    write_features(project)
    with pytest.raises(CompileError, match="or in another order"):
        compile_batch(project, merge=changed(lambda table: table.iloc[::-1]))


def test_rows_too_many_are_found(project, add, write_features):
    add(project, 1)
    write_features(project)
    with pytest.raises(CompileError, match=r"features of 2 nuclei for 1 .* well 4_50"):
        compile_batch(project, merge=changed(lambda table: pd.concat([table, table])))


def test_another_number_of_features_is_found(project, add, write_features):
    add(project, 1)
    write_features(project, width=100)
    with pytest.raises(CompileError, match="100 feature columns instead of 1280"):
        compile_batch(project)


def test_a_locations_file_that_changed_is_found(project, add, write_features):
    image = add(project, 2)
    write_features(project)
    write_locations(project.locations_path(image), np.zeros((1, 2)))
    with pytest.raises(CompileError, match="has 2 nuclei, but its locations file has 1"):
        compile_batch(project)


def test_extra_metadata_is_checked_by_name(make_task):
    tasks = [make_task(metadata={"Control Type": "a"}), make_task(metadata={"Gene": "b"})]
    check_extra_metadata(["object_outlines", "Control Type", "Gene"], tasks)
    check_extra_metadata([], [])
    with pytest.raises(ConfigError) as caught:
        check_extra_metadata(["object_outline"], tasks)
    assert str(caught.value) == (
        "extra_metadata: 'object_outline' is unknown; choose from object_outlines, Control Type, "
        "Gene. Did you mean 'object_outlines'?"
    )
    with pytest.raises(ConfigError, match=r"choose from object_outlines\.$"):
        check_extra_metadata(["zzz"], [])
