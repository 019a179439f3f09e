from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from idrstream.errors import ConfigError, ImageError, MovieError, StorageError
from idrstream.profile import DeepProfilerProject
from idrstream.profile.deepprofiler.project_image import plate_folder
from idrstream.records import Frame, ImageTask, Nuclei
from idrstream.segment import read_locations


def files_in(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


KEPT = ["inputs/config/tiny config.json", "outputs/results/checkpoint/tiny.h5"]


def test_prepare_puts_config_and_checkpoint_in_place(project):
    assert files_in(project.root) == KEPT
    assert project.feature_count == 1280
    project.prepare()
    assert files_in(project.root) == KEPT


def test_prepare_takes_files_that_are_in_place_already(project):
    config, checkpoint = (project.root / name for name in KEPT)
    again = DeepProfilerProject(project.root, config, checkpoint)
    again.prepare()
    assert files_in(project.root) == KEPT


def test_files_are_where_deepprofiler_looks_for_them(project, add):
    image = add(project, 2, outlines=True)
    project.write_index()
    assert files_in(project.root) == sorted(
        [
            *KEPT,
            "inputs/images/LT0001_02/LT0001_02_4_50.tif",
            "inputs/locations/LT0001_02/4_50-1-Nuclei.csv",
            "inputs/metadata/index.csv",
        ]
    )
    assert project.features_path(image).relative_to(project.root).as_posix() == (
        "outputs/results/features/LT0001_02/4_50/1.npz"
    )


def test_pixels_and_locations_are_kept_exactly(project, make_task):
    task = make_task()
    pixels = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
    points = np.array([[1.25, 2.1], [0.1 + 0.2, 63.0]])
    image = project.add(Frame(pixels, 50, task), Nuclei(points, None, 50, task, 17.0))
    written = tifffile.imread(project.image_path(image))
    assert written.dtype == np.uint16
    assert np.array_equal(written, pixels)
    assert np.array_equal(read_locations(project.locations_path(image)).points, points)


def test_index_has_the_first_idr_streams_rows(project, add, make_task):
    add(project, 1)
    add(project, 0, number=51)
    add(project, 1, task=make_task(well_number=15, metadata={}))
    assert project.write_index().read_text() == (
        "Metadata_Plate,Metadata_Well,Metadata_Site,Plate_Map_Name,DNA,Gene,Gene_Replicate\n"
        "LT0001_02,4_50,1,LT0001_02_4,LT0001_02/LT0001_02_4_50.tif,ENSG00000149503,1\n"
        "LT0001_02,4_51,1,LT0001_02_4,LT0001_02/LT0001_02_4_51.tif,ENSG00000149503,1\n"
        "LT0001_02,15_50,1,LT0001_02_15,LT0001_02/LT0001_02_15_50.tif,,1\n"
    )


def test_index_takes_what_the_table_says(project, add, make_task):
    metadata = {"Plate_Map_Name": "map, 3", "Gene_Replicate": "2", "Original Gene Target": 'a "b"'}
    add(project, 1, task=make_task(metadata=metadata))
    (row,) = csv.DictReader(StringIO(project.write_index().read_text()))
    assert (row["Plate_Map_Name"], row["Gene"], row["Gene_Replicate"]) == ("map, 3", 'a "b"', "2")


def test_a_channel_listed_three_times_is_one_column(make_project, add):
    project = make_project(dataset__images__channels=["H2B"] * 3)
    add(project)
    header = project.write_index().read_text().splitlines()[0]
    assert header == (
        "Metadata_Plate,Metadata_Well,Metadata_Site,Plate_Map_Name,H2B,Gene,Gene_Replicate"
    )


def test_sites_have_files_of_their_own(project, add, make_task):
    first, second = (add(project, task=make_task(site=site)) for site in (1, 2))
    assert project.image_path(second).name == "LT0001_02_4_50_s2.tif"
    assert project.locations_path(second).name == "4_50-2-Nuclei.csv"
    assert project.features_path(second).name == "2.npz"
    assert project.image_path(first) != project.image_path(second)
    assert project.index_row(second)["Metadata_Site"] == "2"


def test_a_frame_of_another_size_is_refused_and_leaves_nothing(project, make_task):
    task = make_task()
    with pytest.raises(
        MovieError,
        match=r"LT0001_02 well A4 frame 50 is 48 x 64 pixels .* tiny config.json says 64 x 48",
    ):
        project.add(
            Frame(np.zeros((64, 48), np.uint8), 50, task),
            Nuclei(np.empty((0, 2)), None, 50, task, 17.0),
        )
    assert project.images == ()
    assert files_in(project.root) == KEPT


def test_a_frame_twice_in_a_batch_is_refused(project, add):
    add(project)
    with pytest.raises(ImageError, match="frame 50 is listed twice"):
        add(project)
    assert len(project.images) == 1


@pytest.mark.parametrize("plate", ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb"])
def test_names_that_would_leave_the_folder_are_refused(project, plate, add, make_task):
    with pytest.raises(ImageError, match="cannot be the name of a folder"):
        add(project, task=make_task(plate))
    assert files_in(project.root) == KEPT


@settings(deadline=None, max_examples=200)
@given(
    plates=st.lists(
        st.one_of(
            st.sampled_from(
                [
                    "0012",
                    "12",
                    "1.5",
                    "NA",
                    "nan",
                    "None",
                    "true",
                    "TRUE",
                    "1e5",
                    "-3",
                    "LT0001_02",
                    " 7",
                    "1_0",
                    "inf",
                ]
            ),
            st.text("0123456789eE.+-_aNn ", min_size=1, max_size=6).filter(
                lambda p: p not in {".", ".."}
            ),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_plates_are_read_back_as_they_were_written(plates):
    """As DeepProfiler (types guessed) and pycytominer (texts, no values guessed) read them."""
    folders = [plate_folder(plate) for plate in plates]
    text = "Metadata_Plate,x\n" + "".join(f"{folder},1\n" for folder in folders)
    by_deepprofiler = pd.read_csv(StringIO(text), dtype=None, keep_default_na=False)
    assert [str(value) for value in by_deepprofiler["Metadata_Plate"]] == folders
    by_pycytominer = pd.read_csv(StringIO(text), dtype=str)
    assert [str(value) for value in by_pycytominer["Metadata_Plate"]] == folders
    assert len(set(folders)) == len(set(plates))


@pytest.mark.parametrize("plate", ["LT0001_02", "3451", "0", "plate 7", "1x"])
def test_ordinary_plates_keep_their_name(plate):
    assert plate_folder(plate) == plate


def test_clear_leaves_config_and_checkpoint_only(project, add):
    image = add(project)
    project.write_index()
    features = project.features_path(image)
    features.parent.mkdir(parents=True)
    features.write_bytes(b"half")
    for extra in ("logs", "summaries"):
        (project.root / "outputs" / "results" / extra).mkdir()
        (project.root / "outputs" / "results" / extra / "log.txt").write_text("x")
    project.clear()
    assert files_in(project.root) == KEPT
    assert project.images == ()
    project.clear()
    add(project)
    assert len(project.images) == 1


def test_clear_does_not_follow_links(project, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    (project.root / "inputs" / "images").symlink_to(elsewhere)
    project.clear()
    assert (elsewhere / "precious").exists()
    assert not (project.root / "inputs" / "images").exists()


def test_a_folder_that_cannot_be_written_is_named(project, add):
    (project.root / "inputs" / "images").write_text("a file in the way")
    with pytest.raises(StorageError, match="DP project cannot be written"):
        add(project)
    assert project.images == ()


def test_a_brace_in_the_folders_name_is_refused(make_project, tmp_path):
    with pytest.raises(ConfigError, match="brace"):
        make_project(tmp_path / "a{b}")


def test_the_folder_may_be_relative(make_project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = make_project(Path("relative"))
    assert project.root == tmp_path / "relative"


def test_a_wrong_checkpoint_is_found_before_anything_is_made(tmp_path, write_config):
    config = write_config(tmp_path / "c.json")
    with pytest.raises(ConfigError, match="does not exist"):
        DeepProfilerProject(tmp_path / "new", config, tmp_path / "tiny.h5")
    assert not (tmp_path / "new").exists()


def test_image_names_are_for_messages(project, add):
    task = ImageTask("LT0001_02", "A4", 4, (50,))
    assert add(project, task=task).name == "plate LT0001_02 well A4 frame 50"
