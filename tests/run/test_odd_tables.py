"""From a DataFrame of any types through stream, resume, collection and report: one text."""

import numpy as np
import pandas as pd
import pytest

from idrstream.collect import CollectOptions, collect_folder
from idrstream.compile import read_batch_table
from idrstream.errors import ConfigError, TableError
from idrstream.folder.outputs import read_kept_tasks
from idrstream.report.data import read_folder
from idrstream.report.features import summarize_features

WELLS = 6


@pytest.fixture(scope="module")
def screen(tmp_path_factory, quick):
    return quick.make_screen(tmp_path_factory.mktemp("odd") / "screen", wells=WELLS)


@pytest.fixture
def table(screen, quick):
    """Return the screen's table with columns of many types, and names that meet ours."""
    table = quick.table_of(screen)
    count = len(table)
    return table.assign(
        Dose=np.full(count, 0.1, np.float32),
        Day=pd.Timestamp("2020-02-01"),
        Mixed=[1, 1.0] * (count // 2),
        Note="a\rb",
        Gene=[f"own {at}" for at in range(count)],
        Model="ours",
        Frame="first",
        Control_Type="other",
        **{"Negative Control": "no", "Metadata_Plate": "x", "Object Count": "7"},
    )


def run(stream, table, **options):
    return stream.run_stream(table, 4, progress=False, **options)


EXTRA = ["Dose", "Day", "Mixed", "Note", "Gene", "Control Type"]


@pytest.mark.parametrize("form", ["csv.gz", "parquet"])
def test_a_table_of_any_types_is_one_text_everywhere(quick, screen, table, tmp_path, form):
    stream = quick.make_stream(screen, tmp_path, plate_model=False)
    run(stream, table, extra_metadata=EXTRA, output_format=form, batch_nums=[0])
    assert stream.resume(progress=False).batches
    assert not run(stream, table, extra_metadata=EXTRA, output_format=form).batches
    stream.close()
    files = sorted((tmp_path / "out").rglob(f"batch_*.{form}"))
    cells = pd.concat([read_batch_table(path) for path in files], ignore_index=True)
    collected = collect_folder(tmp_path / "out", options=CollectOptions(normalize="none"))
    joined = pd.read_parquet(collected.cells_path)
    for name, value in (("Dose", "0.1"), ("Day", "2020-02-01"), ("Mixed", "1"), ("Note", "a\nb")):
        assert set(cells[f"Metadata_{name}"]) == set(joined[f"Metadata_{name}"]) == {value}
    assert set(cells["Metadata_Gene"]) == set(joined["Metadata_Gene"]) == set(table["Gene"])
    assert set(joined["Metadata_Model"]) == {"efficientnet"}
    own = {"Model": "ours", "Frame": "first", "Control_Type": "other", "Negative_Control": "no",
           "Plate": "x", "Object_Count": "7"}  # fmt: skip
    profiles = collected.profiles()
    for name, value in own.items():
        assert set(joined[f"Metadata_Table_{name}"]) == {value}
        assert set(profiles[f"Metadata_Table_{name}"]) == {value}


def test_controls_are_found_in_the_collection_and_in_the_report(quick, screen, tmp_path):
    """Whatever case the header has, and though only numbers name the wells."""
    plain = quick.table_of(screen)
    odd = plain.drop(columns="Well").rename(
        columns={"Plate": "PLATE", "Well Number": "well_number"}
    )
    odd.insert(0, "Quality Control", "passed")
    odd.insert(0, "Target temperature", "37")
    odd = odd.assign(**{"Plate Format": 384})
    groups = []
    for name, table in (("plain", plain), ("odd", odd)):
        stream = quick.make_stream(screen, tmp_path / name, plate_model=False)
        run(stream, table)
        stream.close()
        found = summarize_features(read_folder(tmp_path / name / "out"))
        groups.append(found.wells["Group"].tolist())
        assert len(collect_folder(tmp_path / name / "out", options=CollectOptions(
            feature_select=())).profiles()) == 2 * WELLS  # fmt: skip
    assert groups[0] == groups[1]
    assert set(groups[0]) == {"negative control", "positive control"}


def test_both_formats_give_one_report(quick, screen, tmp_path):
    """Also of plates whose names look like numbers or missing values, split over batches."""
    table = quick.table_of(screen)
    names = dict(zip(table["Plate"].unique(), ["0007", "1e5"], strict=True))
    table = table.assign(URL=_addresses(screen, table), Plate=table["Plate"].map(names))
    found = []
    for form in ("csv.gz", "parquet"):
        stream = quick.make_stream(screen, tmp_path / form, plate_model=False)
        assert not len(run(stream, table, output_format=form).failures())
        stream.close()
        found.append(summarize_features(read_folder(tmp_path / form / "out")))
    assert set(found[0].wells["Plate"]) == set(names.values())
    pd.testing.assert_frame_equal(found[0].wells, found[1].wells)
    if found[0].precision is not None:
        pd.testing.assert_frame_equal(found[0].precision, found[1].precision)


def test_names_that_are_taken_are_refused_before_any_work(quick, screen, table, tmp_path):
    stream = quick.make_stream(screen, tmp_path, plate_model=False)
    for name in ("Model", "Frame", "Control_Type", "Metadata_Plate"):
        with pytest.raises(ConfigError, match=f"extra_metadata: '{name}' would be Metadata_"):
            run(stream, table, extra_metadata=[name])
        assert not stream.plan(table, extra_metadata=[name]).is_good
    stream.close()


def test_a_stated_plate_format_is_kept(quick, screen, tmp_path):
    table = quick.table_of(screen).drop(columns="Well")
    stream = quick.make_stream(screen, tmp_path, plate_model=False)
    with pytest.raises(TableError, match="plate_format"):
        run(stream, table)
    run(stream, table, batch_nums=[0], plate_format=384)
    stream.resume(progress=False)
    assert stream.verify().is_good
    stream.close()


def test_rows_that_were_left_out_are_not_asked_for_again(quick, screen, table, tmp_path):
    table.loc[1, "Frames"] = "first"
    stream = quick.make_stream(screen, tmp_path, plate_model=False)
    run(stream, table, batch_nums=[0], ignore_invalid_inputs=True)
    assert stream.resume(progress=False).batches
    stream.close()


def _addresses(screen, table):
    plates = list(table["Plate"].unique())
    count = len(table) // len(plates)
    assert len(screen.movies) == len(table)
    assert [plate for plate in plates for _ in range(count)] == table["Plate"].tolist()
    return [path.as_uri() for path in sorted(screen.movies)]


def test_a_copy_of_numbers_that_an_earlier_version_kept_is_still_read(tmp_path):
    table = pd.DataFrame({"Plate": "P", "Well Number": ["13", "384"], "Frames": "1"})
    table.to_csv(tmp_path / "t.csv.gz", index=False)
    assert [task.well for task in read_kept_tasks(tmp_path / "t.csv.gz")] == ["A13", "P24"]
