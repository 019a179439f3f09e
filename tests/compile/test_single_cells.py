from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from locations import read_points

from idrstream.compile import (
    ProfiledFrame,
    check_complete,
    check_extra_metadata,
    compile_batch,
    publish,
)
from idrstream.errors import CompileError, ConfigError
from idrstream.profile import DeepProfilerProject
from idrstream.profile.deepprofiler.features_file import write_features
from idrstream.records import Features

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


def test_the_table_has_the_first_idr_streams_columns_and_values(project, profiled):
    frames = [profiled(3), profiled(0, number=51), profiled(2, number=52)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = compile_batch(project, frames, FEATURES)
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
    for frame, rows in ((frames[0], slice(0, 3)), (frames[2], slice(3, 5))):
        assert np.array_equal(table[FEATURES].to_numpy()[rows], frame.features.values)
        assert np.array_equal(table.iloc[rows, :2].to_numpy(float), frame.locations[:, ::-1])
        written, _ = read_points(project.locations_path(frame.image))
        assert np.array_equal(written, frame.locations)
    assert set(table[FEATURES].dtypes) == {np.dtype(np.float32)}
    assert table.iloc[:, :2].dtypes.tolist() == [np.dtype(np.float64)] * 2
    assert list(table.index) == list(range(5))


def test_it_equals_what_pycytominer_reads_from_deepprofilers_files(project, profiled):
    """Its classes for DeepProfiler are deprecated; the table stays what they made."""
    theirs = pytest.importorskip("pycytominer.cyto_utils.DeepProfiler_processing")
    frame = profiled(3)
    row = project.index_row(frame.image)
    metadata = {f"Metadata_{name.removeprefix('Metadata_')}": text for name, text in row.items()}
    path = project.features_path(frame.image)
    write_features(path, frame.features.values, frame.locations, metadata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = theirs.DeepProfilerData(
            str(project.index_path), str(project.features_folder), filename_delimiter="/"
        )
        expected = theirs.SingleCellDeepProfiler(data).get_single_cells(output=True)
    pd.testing.assert_frame_equal(
        compile_batch(project, [frame], FEATURES), expected[[*COLUMNS, *FEATURES]]
    )


def test_outlines_come_first_and_belong_to_their_nuclei(project, profiled):
    frames = [profiled(3, outlines=True), profiled(2, number=51, outlines=True)]
    table = compile_batch(project, frames, FEATURES, extra_metadata=["object_outlines"])
    assert list(table)[:2] == ["Object_Outline", "Location_Center_X"]
    assert list(table["Object_Outline"]) == [
        f"[[1,{number}],[2,{number}]]" for number in (0, 1, 2, 0, 1)
    ]


def test_outlines_that_were_not_made_cannot_be_added(project, profiled):
    with pytest.raises(ConfigError, match=r"object_outlines, but plate LT0001_02 .* without"):
        compile_batch(project, [profiled(1)], FEATURES, extra_metadata=["object_outlines"])


def test_columns_of_the_table_can_be_added(project, profiled, make_task):
    metadata = {"Control Type": "positive control", "Gene_Replicate": "3"}
    frames = [
        profiled(1, task=make_task(metadata=metadata)),
        profiled(1, task=make_task(well_number=15, metadata={})),
    ]
    table = compile_batch(
        project, frames, FEATURES, extra_metadata=["Control Type", "Gene_Replicate"]
    )
    assert list(table)[:-1280] == [*COLUMNS, "Metadata_Control_Type"]
    assert list(table["Metadata_Control_Type"]) == ["positive control", ""]
    assert list(table["Metadata_Gene_Replicate"]) == ["3", "1"]


@pytest.mark.parametrize("counts", [(), (0,), (0, 0)])
def test_a_batch_without_nuclei_has_all_columns_and_no_rows(project, profiled, counts, tmp_path):
    project.write_index()
    frames = [profiled(count, number=n, outlines=True) for n, count in enumerate(counts, start=1)]
    extra = ["object_outlines", "Control Type"]
    table = compile_batch(project, frames, FEATURES, extra_metadata=extra)
    assert table.shape == (0, 1292)
    assert list(table) == ["Object_Outline", *COLUMNS, "Metadata_Control_Type", *FEATURES]
    published = publish(table, tmp_path / "batch_0.csv.gz")
    assert published.rows == 0
    assert list(pd.read_csv(published.path, index_col=0)) == list(table)


@pytest.mark.parametrize("plate", ["0012", "NA", "3451"])
def test_plates_that_pandas_would_change_keep_their_name(project, profiled, make_task, plate):
    task = make_task(plate, metadata={"Original Gene Target": "007"})
    table = compile_batch(project, [profiled(2, task=task)], FEATURES)
    assert list(table["Metadata_Plate"]) == [plate] * 2
    assert list(table["Metadata_Gene"]) == ["007"] * 2
    assert list(table["Metadata_DNA"]) == [f"{plate}/{plate}_4_50.tif"] * 2


def test_each_channel_has_a_column(make_model, make_scene, tmp_path):
    model = make_model(dataset__images__channels=["DNA", "ER"])
    project = DeepProfilerProject(tmp_path / "DP", model)
    frame, objects = make_scene(1, channels=("DNA", "ER"))
    image = project.add(frame, objects, pixels=False)
    project.write_index()
    features = Features("Nuclei", ("a",), np.ones((1, 1), np.float32))
    table = compile_batch(project, [ProfiledFrame(image, objects.locations, features)], ["a"])
    assert table.iloc[0][["Metadata_DNA", "Metadata_ER", "a"]].tolist() == [
        "LT0001_02/LT0001_02_4_50_DNA.tif", "LT0001_02/LT0001_02_4_50_ER.tif", 1.0,
    ]  # fmt: skip


def test_frames_that_are_not_those_of_the_index_are_found(project, profiled):
    frames = [profiled(1), profiled(1, number=51)]
    for wrong in (frames[:1], frames[::-1]):
        with pytest.raises(CompileError, match=r"frames are not those of .*index\.csv"):
            compile_batch(project, wrong, FEATURES)
    project.index_path.unlink()
    with pytest.raises(CompileError, match=r"index\.csv is not a readable index"):
        compile_batch(project, frames, FEATURES)


def test_an_incomplete_table_is_not_published(project, profiled):
    table = compile_batch(project, [profiled(2)], FEATURES)
    check_complete(table, objects=2, features=FEATURES)
    with pytest.raises(CompileError, match="the table has 2 rows for 3 objects"):
        check_complete(table, objects=3, features=FEATURES)
    with pytest.raises(CompileError, match="lacks 2 features, the first is x"):
        check_complete(table, objects=2, features=[*FEATURES, "x", "y"])
    with pytest.raises(CompileError, match="the column efficientnet_3 more than once"):
        check_complete(
            table.rename(columns={"efficientnet_4": "efficientnet_3"}),
            objects=2,
            features=FEATURES[:3],
        )
    # An engine may know no value of a feature for any object of a batch.
    table["efficientnet_7"] = np.nan
    known = [name for name in FEATURES if name != "efficientnet_7"]
    check_complete(table, objects=2, features=FEATURES, defined=known)
    with pytest.raises(CompileError, match=r"1 features have no value for any object.*_7"):
        check_complete(table, objects=2, features=FEATURES)


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
