"""Links that somebody planted in the working folders: nothing outside is written or deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from idrstream import models
from idrstream.errors import ConfigError, StorageError
from idrstream.files import check_own_folder, own_folder
from idrstream.folder.outputs import clear_parts, delete_plate_models
from idrstream.folder.provenance import unknown_results
from idrstream.opening import refuse_links
from idrstream.preprocess.illumination import PerPlate
from idrstream.profile import DeepModel, DeepProfilerProject
from idrstream.quality.pictures import PictureStore
from idrstream.schedule.disk.movie_folders import MovieFolders


@pytest.fixture
def outside(tmp_path) -> Path:
    folder = tmp_path / "outside"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "precious.txt").write_text("keep")
    return folder


def kept(outside: Path) -> bool:
    return (outside / "images" / "precious.txt").read_text() == "keep" and len(
        list(outside.rglob("*"))
    ) == 2


def test_links_are_named(tmp_path, outside):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "a").symlink_to(outside)
    with pytest.raises(StorageError, match=r"tmp/a is a link"):
        refuse_links(tmp_path / "tmp", "b/c", "a/b")
    refuse_links(tmp_path / "tmp", "b/c")
    (tmp_path / "also").symlink_to(tmp_path / "tmp")
    refuse_links(tmp_path / "also", "b")  # where the root lies is the user's choice


@pytest.fixture
def project(tmp_path):
    model = DeepModel.read(models.profiler_config_path(), models.profiler_checkpoint_path())
    return DeepProfilerProject(tmp_path / "tmp" / "DP_project", model)


@pytest.mark.parametrize("name", ["DP_project", "DP_project/inputs", "DP_project/outputs"])
def test_the_project(tmp_path, outside, project, name):
    link = tmp_path / "tmp" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with pytest.raises(StorageError, match="is a link"):
        project.clear()
    assert kept(outside)


def test_links_within_the_project_are_removed_not_followed(tmp_path, outside, project):
    inputs = project.root / "inputs"
    inputs.mkdir(parents=True)
    (inputs / "config").symlink_to(outside)
    (project.root / "outputs").mkdir()
    project.clear()
    assert kept(outside)
    assert not project.root.exists()


@pytest.mark.parametrize("content", ["thesis.txt", "downloads/thesis.txt", "DP_project/inputs/x"])
def test_a_folder_that_somebody_else_made_is_refused(tmp_path, content):
    work = tmp_path / "idrstream_work"
    file = work / content
    file.parent.mkdir(parents=True)
    file.write_text("keep")
    strange = pytest.raises(StorageError, match=r"_work has files that idrstream did not make")
    with strange, own_folder(work):
        pass
    assert file.read_text() == "keep"
    for other in ("file", "link"):
        path = tmp_path / other
        path.write_text("keep") if other == "file" else path.symlink_to(work)
        with pytest.raises(StorageError, match="is no folder"):
            check_own_folder(path)


def test_an_own_folder_is_marked_and_goes_when_it_is_empty(tmp_path):
    work = tmp_path / "new" / "idrstream_work"
    with own_folder(work):
        (work / "x").write_text("left behind by a crash")
    check_own_folder(work)
    with own_folder(work):
        (work / "x").unlink()
    assert not work.exists()


def test_only_a_stream_s_own_files_are_deleted_from_an_output_folder(tmp_path):
    own = ["batch_0.csv.gz", "qc/batch_3.csv", "illumination/DNA/P1.npz", "provenance.json"]
    token = "0123456789abcdef" * 2
    others = [".thesis.tex.part", "sub/.film.mkv.part", f"sub/.batch_0.csv.gz.{token}.part"]
    parts = [f"{Path(n).parent}/.{Path(n).name}.{token}.part".removeprefix("./") for n in own]
    notes = ["illumination/thesis.txt", "pictures/cat_frame.webp", "illumination/P1.npz"]
    for name in (*others, *parts, *notes):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("keep")
    clear_parts(tmp_path)
    delete_plate_models(tmp_path)
    PictureStore(tmp_path, 0).keep([])
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {*others, *notes[:2]}


def test_illumination_behind_a_link_is_not_deleted(tmp_path, outside):
    (outside / "P1.npz").write_text("keep")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "illumination").symlink_to(outside)
    with pytest.raises(StorageError, match="illumination is a link"):
        delete_plate_models(tmp_path / "out")
    assert (outside / "P1.npz").exists()


@pytest.mark.parametrize("name", ["batch_4.csv.gz", "cells/batch_0.parquet", "qc/batch_0.csv",
                                  "provenance.json"])  # fmt: skip
def test_what_a_first_run_would_write_over_is_known(tmp_path, name):
    (tmp_path / "qc").mkdir()
    (tmp_path / "qc" / "notes.csv").write_text("mine")
    assert unknown_results(tmp_path) == []
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('{"name": "mine"}')
    assert unknown_results(tmp_path) == [name]


def test_downloads(tmp_path, outside):
    for name in ("downloads", "downloads_2"):
        (tmp_path / name).symlink_to(outside)
    (tmp_path / "downloads_3").mkdir()
    (tmp_path / "downloads_3" / "P1").symlink_to(outside)
    MovieFolders(tmp_path / "downloads").clear()
    assert kept(outside)
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


def test_illumination(tmp_path, outside):
    (tmp_path / "illumination").symlink_to(outside)
    with pytest.raises(StorageError, match="illumination is a link"):
        PerPlate(tmp_path / "illumination").missing("P1")
    with pytest.raises(ConfigError):
        PerPlate(tmp_path / "other").missing("../P1")
