from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from locations import read_points
from objects_at import objects_at

from idrstream.errors import ConfigError, ImageError, StorageError
from idrstream.profile import DeepProfilerProject
from idrstream.profile.deepprofiler.project_image import plate_folder
from idrstream.records import Frame, ImageTask


def files_in(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def add(project, scene, **options):
    return project.add(*scene, **{"pixels": True, **options})


def test_files_are_where_deepprofiler_looks_for_them(project, make_scene):
    image = add(project, make_scene(2, outlines=True), outlines=True)
    project.write_index()
    project.write_model()
    assert files_in(project.root) == sorted(
        [
            "inputs/config/tiny config.json",
            "inputs/images/LT0001_02/LT0001_02_4_50.tif",
            "inputs/locations/LT0001_02/4_50-1-Nuclei.csv",
            "inputs/metadata/index.csv",
            "outputs/results/checkpoint/tiny.h5",
        ]
    )
    assert project.features_path(image).relative_to(project.root).as_posix() == (
        "outputs/results/features/LT0001_02/4_50/1.npz"
    )
    assert image.name == "plate LT0001_02 well A4 frame 50"


def test_the_config_gets_the_size_of_the_images(project):
    path = project.root / "inputs" / "config" / project.config_name
    original = json.loads(project.model.config.path.read_text())
    project.write_model()
    assert json.loads(path.read_text()) == original
    project.write_model((211, 190))
    images = json.loads(path.read_text())["dataset"]["images"]
    assert images == {**original["dataset"]["images"], "height": 211, "width": 190}
    assert json.loads(project.model.config.path.read_text()) == original


def test_pixels_and_locations_are_kept_exactly(project, make_task):
    pixels = np.arange(48 * 64, dtype=np.uint16).reshape(1, 48, 64)
    points = np.array([[1.25, 2.1], [0.1 + 0.2, 63.0]])
    image = add(project, (Frame(pixels, 50, make_task()), objects_at(points)))
    written = tifffile.imread(project.image_path(image, "DNA"))
    assert written.dtype == np.uint16
    assert np.array_equal(written, pixels[0])
    assert np.array_equal(read_points(project.locations_path(image))[0], points)


def test_without_pixels_there_are_locations_only(project, make_scene):
    add(project, make_scene(2), pixels=False)
    assert files_in(project.root) == ["inputs/locations/LT0001_02/4_50-1-Nuclei.csv"]


def test_index_has_the_first_idr_streams_rows(project, make_scene, make_task):
    add(project, make_scene(1))
    add(project, make_scene(0, number=51))
    add(project, make_scene(1, task=make_task(well_number=15, metadata={})))
    assert project.write_index().read_text() == (
        "Metadata_Plate,Metadata_Well,Metadata_Site,Plate_Map_Name,DNA,Gene,Gene_Replicate\n"
        "LT0001_02,4_50,1,LT0001_02_4,LT0001_02/LT0001_02_4_50.tif,ENSG00000149503,1\n"
        "LT0001_02,4_51,1,LT0001_02_4,LT0001_02/LT0001_02_4_51.tif,ENSG00000149503,1\n"
        "LT0001_02,15_50,1,LT0001_02_15,LT0001_02/LT0001_02_15_50.tif,,1\n"
    )


def test_index_takes_what_the_table_says(project, make_scene, make_task):
    metadata = {"Plate_Map_Name": "map, 3", "Gene_Replicate": "2", "Original Gene Target": 'a "b"'}
    add(project, make_scene(1, task=make_task(metadata=metadata)))
    (row,) = csv.DictReader(StringIO(project.write_index().read_text()))
    assert (row["Plate_Map_Name"], row["Gene"], row["Gene_Replicate"]) == ("map, 3", 'a "b"', "2")


def test_a_channel_listed_three_times_is_one_column(make_model, make_scene, tmp_path):
    project = DeepProfilerProject(
        tmp_path / "DP", make_model(dataset__images__channels=["H2B"] * 3)
    )
    image = add(project, make_scene())
    header = project.write_index().read_text().splitlines()[0]
    assert header == (
        "Metadata_Plate,Metadata_Well,Metadata_Site,Plate_Map_Name,H2B,Gene,Gene_Replicate"
    )
    assert project.image_path(image, "H2B").name == "LT0001_02_4_50.tif"


def test_each_channel_has_a_column_and_an_image(make_model, make_scene, tmp_path):
    model = make_model(dataset__images__channels=["ER", "DNA"])
    project = DeepProfilerProject(tmp_path / "DP", model)
    frame, objects = make_scene(channels=("DNA", "AGP", "ER"))
    image = add(project, (frame, objects))
    (row,) = csv.DictReader(StringIO(project.write_index().read_text()))
    assert [row[name] for name in ("ER", "DNA")] == [
        "LT0001_02/LT0001_02_4_50_ER.tif", "LT0001_02/LT0001_02_4_50_DNA.tif",
    ]  # fmt: skip
    for name in ("ER", "DNA"):
        written = tifffile.imread(project.image_path(image, name))
        assert np.array_equal(written, frame.plane(name))
    with pytest.raises(ConfigError, match=r"lists ER, but the frames have DNA, AGP; .*_channels"):
        add(project, make_scene(number=51, channels=("DNA", "AGP")))


def test_sites_have_files_of_their_own(project, make_scene, make_task):
    first, second = (add(project, make_scene(task=make_task(site=site))) for site in (1, 2))
    assert project.image_path(second, "DNA").name == "LT0001_02_4_50_s2.tif"
    assert project.locations_path(second).name == "4_50-2-Nuclei.csv"
    assert project.features_path(second).name == "2.npz"
    assert project.image_path(first, "DNA") != project.image_path(second, "DNA")
    assert project.index_row(second)["Metadata_Site"] == "2"


def test_a_frame_twice_in_a_batch_is_refused(project, make_scene):
    add(project, make_scene())
    with pytest.raises(ImageError, match="frame 50 is listed twice"):
        add(project, make_scene())
    assert len(project.images) == 1


@pytest.mark.parametrize("plate", ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb"])
def test_names_that_would_leave_the_folder_are_refused(project, plate, make_scene, make_task):
    with pytest.raises(ImageError, match="cannot be the name of a folder"):
        add(project, make_scene(task=make_task(plate)))
    assert files_in(project.root) == []


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


def test_clear_leaves_nothing(project, make_scene):
    image = add(project, make_scene())
    project.write_index()
    project.write_model()
    features = project.features_path(image)
    features.parent.mkdir(parents=True)
    features.write_bytes(b"half")
    for _ in range(2):
        project.clear()
        assert not project.root.exists()
        assert project.images == ()
    add(project, make_scene())
    assert len(project.images) == 1


def test_clear_does_not_follow_links(project, make_scene, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    add(project, make_scene(), pixels=False)
    (project.root / "inputs" / "images").symlink_to(elsewhere)
    project.clear()
    assert (elsewhere / "precious").exists()
    assert not (project.root / "inputs").exists()


def test_a_folder_that_cannot_be_written_is_named(project, make_scene):
    (project.root / "inputs").mkdir(parents=True)
    (project.root / "inputs" / "locations").write_text("a file in the way")
    with pytest.raises(StorageError, match="DP project cannot be written"):
        add(project, make_scene())
    assert project.images == ()


def test_a_brace_in_the_folders_name_is_refused(model, tmp_path):
    with pytest.raises(ConfigError, match="brace"):
        DeepProfilerProject(tmp_path / "a{b}", model)


def test_the_folder_may_be_relative(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert DeepProfilerProject(Path("relative"), model).root == tmp_path / "relative"


def test_image_names_are_for_messages(project, make_scene):
    task = ImageTask("LT0001_02", "A4", 4, (50,))
    assert add(project, make_scene(task=task)).name == "plate LT0001_02 well A4 frame 50"
