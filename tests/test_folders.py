"""Links that somebody planted in the working folders: nothing outside is written or deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from idrstream import models
from idrstream.errors import ConfigError, StorageError
from idrstream.files import refuse_links
from idrstream.preprocess.illumination import PerPlate
from idrstream.profile import DeepProfilerProject
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


@pytest.mark.parametrize("name", ["DP_project", "DP_project/inputs", "DP_project/outputs/results"])
def test_the_project(tmp_path, outside, name):
    project = DeepProfilerProject(
        tmp_path / "tmp" / "DP_project", models.profiler_config_path(),
        models.profiler_checkpoint_path(),
    )  # fmt: skip
    link = tmp_path / "tmp" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    for act in (project.prepare, project.clear):
        with pytest.raises(StorageError, match="is a link"):
            act()
    assert kept(outside)


def test_a_link_in_the_place_of_the_config_is_not_written_through(tmp_path, outside):
    config = models.profiler_config_path()
    project = DeepProfilerProject(tmp_path / "DP", config, models.profiler_checkpoint_path())
    target = tmp_path / "DP" / "inputs" / "config" / config.name
    target.parent.mkdir(parents=True)
    target.symlink_to(outside / "images" / "precious.txt")
    project.prepare()
    assert kept(outside)
    assert target.read_bytes() == config.read_bytes()


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
