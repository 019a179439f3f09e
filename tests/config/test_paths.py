"""Settings that are paths: relative to their file, absolute once they are checked."""

import shutil
from pathlib import Path

import pytest

from idrstream import IdrStream
from idrstream.cli import main as cli
from idrstream.config import (
    DownloadSettings,
    SegmentSettings,
    absolute_path,
    all_options,
    as_json,
    checked,
    load_settings,
    settings_from_json,
)
from idrstream.errors import ConfigError

NEEDED = "[stream]\ntable = 't'\nfinal_data_dir = 'o'\ntmp_dir = 'w'\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder for the TOML file; the working folder is another one."""
    for name in ("study", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "study"


def load(folder, text, **options):
    (folder / "s.toml").write_text(NEEDED + text, encoding="utf-8")
    return load_settings(folder / "s.toml", environment={}, options=options)


def value_of(settings, name):
    return getattr(getattr(settings, all_options()[name].section), name)


PATHS = sorted(name for name, option in all_options().items() if option.path is not None)


def test_these_settings_are_paths():
    wanted = ["aspera_key_path", "aspera_path", "bioformats_jar", "cell_model",
              "deepprofiler_python", "dp_checkpoint", "dp_config", "fiji_path",
              "final_data_dir", "log", "model_folder", "model_type", "omezarr_plates",
              "omezarr_roots", "root", "scheduler_file", "screens_path", "size_model", "table",
              "tmp_dir"]  # fmt: skip
    assert wanted == PATHS


@pytest.mark.parametrize("name", PATHS)
def test_every_path_of_a_toml_file_is_relative_to_it(home, name):
    section = all_options()[name].section
    line = f"{name} = 'sub/x'\n"
    text = NEEDED.replace(f"{name} = ", "#") + line if section == "stream" else NEEDED
    (home / "s.toml").write_text(text if section == "stream" else f"{text}[{section}]\n{line}")
    settings = load_settings(Path("../study/s.toml"), environment={})
    (found,) = values(value_of(settings, name))
    assert found == str(home / "sub" / "x")


@pytest.mark.parametrize("name", PATHS)
def test_every_other_path_is_relative_to_the_working_folder(home, name, monkeypatch):
    settings = load(home, "", **{name: "x/y"})
    (found,) = values(value_of(settings, name))
    assert Path(found) == Path.cwd() / "x" / "y"
    (found,) = values(value_of(load(home, "", **{name: "~/y"}), name))
    assert Path(found) == Path.home() / "y"
    stored = as_json(settings)
    monkeypatch.chdir(home)
    assert settings_from_json(stored, environment={}) == settings


def values(value):
    return [str(item) for item in (value if isinstance(value, tuple) else (value,))]


@pytest.mark.parametrize(
    ("section", "name", "given"),
    [
        ("download", "root", "file:///mnt/my%20idr"),
        ("download", "root", "https://host/movies"),
        ("download", "omezarr_roots", "s3://bucket/zarr"),
        ("preprocess", "fiji_path", "sc.fiji:fiji:2.14.0"),
        ("segment", "model_type", "cyto3"),
        ("segment", "model_type", "idrstream-nuclei"),
        ("segment", "model_type", "one_of_cellposes_folder"),
    ],
)
def test_what_is_no_path_stays(home, section, name, given):
    (home / "cyto3").touch()
    assert values(value_of(load(home, f"[{section}]\n{name} = '{given}'\n"), name)) == [given]
    assert values(value_of(load(home, "", **{name: given}), name)) == [given]


def test_a_model_file_beside_the_settings(home):
    (home / "my_model").touch()
    assert load(home, "[segment]\nmodel_type = 'my_model'\n").segment.model_type == str(
        home / "my_model"
    )
    assert checked(SegmentSettings, {"model_type": home / "m"}).model_type == str(home / "m")


def test_a_program_is_a_file_or_in_path(home):
    text = "[download]\naspera_path = 'sh'\n"
    assert load(home, text).download.aspera_path == Path(shutil.which("sh"))
    (home / "sh").touch()
    assert load(home, text).download.aspera_path == home / "sh"
    nowhere = load(home, "[profile]\ndeepprofiler_python = 'no_such_python'\n")
    assert nowhere.profile.deepprofiler_python == home / "no_such_python"


def test_several_paths_are_separated_by_commas(home):
    download = load(home, "", omezarr_roots="a, s3://b/c", aspera_key_path="k,/l").download
    assert download.omezarr_roots == (str(Path.cwd() / "a"), "s3://b/c")
    assert download.aspera_key_path == (Path.cwd() / "k", Path("/l"))
    in_file = load(home, "[download]\nomezarr_roots = ['a', 's3://b/c']\n").download
    assert in_file.omezarr_roots == (str(home / "a"), "s3://b/c")


@pytest.mark.parametrize("bad", ["~no_such_user_1/x", "a\\u0000b"])
def test_what_can_be_no_path_is_refused(home, bad):
    with pytest.raises(ConfigError, match=r"log: .*(no such user|zero byte)"):
        load(home, f'log = "{bad}"\n')


def test_dots_after_a_link_lead_where_the_disk_leads(home):
    (home / "far" / "deep").mkdir(parents=True)
    (home / "link").symlink_to(home / "far" / "deep")
    assert absolute_path("a/../b") == Path.cwd() / "b"
    assert absolute_path(home / "link" / ".." / "b").resolve() == home / "far" / "b"


def test_an_empty_text_is_no_folder(home):
    for empty in ("", " "):
        with pytest.raises(ConfigError, match=r"tmp_dir.*empty"):
            load(home, "", tmp_dir=empty)
    assert load(home, "[download]\nroot = ''\nomezarr_roots = []\n").download == DownloadSettings()
    empty = load(home, "", omezarr_roots="", aspera_path="", aspera_key_path="").download
    assert empty == DownloadSettings()


def test_a_stream_keeps_its_folders_when_the_working_folder_changes(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    stream = IdrStream("idr0013", "tmp", "~/out", log="a.log")
    assert stream.final_data_dir == home / "out"
    before = stream.tmp_dir
    monkeypatch.chdir(home)
    assert stream.tmp_dir == before == home.parent / "elsewhere" / "tmp"
    stream.close()
    assert not (home / "~").exists()
    with pytest.raises(ConfigError, match=r"tmp_dir: .*no such user"):
        IdrStream("idr0013", "~no_such_user_1/tmp", "out")


def test_a_home_in_a_path_of_the_command_line(home, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(home))
    assert cli.main(["simulate", "--tiny", "~/screen"]) == 0
    assert (home / "screen").is_dir()
    assert not list(Path.cwd().iterdir())
    with pytest.raises(SystemExit):
        cli.main(["status", "~no_such_user_1/x"])
    assert "no such user" in capsys.readouterr().err


FOLDERS = ("final_data_dir", "tmp_dir", "root", "omezarr_roots", "fiji_path", "model_folder")
FILES = (
    "log", "bioformats_jar", "model_type", "cell_model", "size_model", "dp_config", "dp_checkpoint",
    "deepprofiler_python", "aspera_path", "aspera_key_path", "screens_path", "omezarr_plates",
    "scheduler_file",
)  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS + FILES)
def test_a_folder_in_the_place_of_a_file_and_the_other_way_round(home, name):
    (home / "here").mkdir() if name in FILES else (home / "here").touch()
    path = home / "here"
    said = "is a folder; name a file" if name in FILES else "is a file; name a folder"
    with pytest.raises(ConfigError, match=f"{name}: {path} {said}") as caught:
        load(home, "", **{name: str(path)})
    assert "Value error" not in str(caught.value)


def test_every_setting_that_is_a_path_says_which_it_is():
    known = {name for name, option in all_options().items() if option.path is not None}
    assert known - {"table"} == {*FOLDERS, *FILES}  # who reads the table says more of a folder
