import dataclasses
import json
from pathlib import Path

import pytest

from idrstream.config import (
    SECTIONS,
    ProfileSettings,
    all_options,
    as_json,
    checked,
    load_settings,
    settings_from_json,
)
from idrstream.errors import ConfigError

NEEDED = {"table": "t.tsv", "final_data_dir": "out", "tmp_dir": "tmp"}


@pytest.fixture
def toml(tmp_path):
    def write(text):
        path = tmp_path / "stream.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_option_names_belong_to_one_section():
    names = [name for kind in SECTIONS.values() for name in kind.__dataclass_fields__]
    assert len(names) == len(set(names)) == len(all_options())


def test_later_sources_win(toml):
    path = toml('[stream]\ntable="t"\nfinal_data_dir="o"\ntmp_dir="w"\nbatch_size=3\n')
    environment = {"IDRSTREAM_BATCH_SIZE": "4", "IDRSTREAM_DIAMETER": "17.5", "PATH": "x"}
    assert load_settings(path, environment={}).stream.batch_size == 3
    assert load_settings(path, environment=environment).stream.batch_size == 4
    last = load_settings(path, environment=environment, options={"batch_size": "5"})
    assert (last.stream.batch_size, last.segment.diameter) == (5, 17.5)


def test_paths_of_the_file_are_relative_to_it(toml, tmp_path):
    path = toml('[stream]\ntable="t.tsv"\nfinal_data_dir="/o"\ntmp_dir="w"\nlog="a.log"\n')
    stream = load_settings(path, environment={}).stream
    assert stream.table == tmp_path / "t.tsv"
    assert stream.final_data_dir == Path("/o")
    assert stream.log == tmp_path / "a.log"


def test_a_home_in_a_path_of_the_file_is_expanded(toml):
    text = "[stream]\ntable='t'\ntmp_dir='w'\nfinal_data_dir='o'\n"
    path = toml(text + "[download]\naspera_path = '~/ascp'\naspera_key_path = ['a', '/b']\n")
    assert load_settings(path, environment={}).download.aspera_path == Path.home() / "ascp"
    keys = load_settings(path, environment={}).download.aspera_key_path
    assert keys == (path.parent / "a", Path("/b"))
    given = load_settings(path, environment={}, options={"final_data_dir": "~/feat"})
    assert given.stream.final_data_dir == Path.home() / "feat"


def test_an_empty_path_is_none(toml):
    text = "[stream]\ntable = 't'\nfinal_data_dir = 'f'\ntmp_dir = 'w'\nlog = ''\n"
    settings = load_settings(toml(text), environment={"IDRSTREAM_DP_CONFIG": ""})
    assert settings.stream.log is None
    assert settings.profile.dp_config is None
    assert checked(ProfileSettings, {"dp_checkpoint": ""}) == ProfileSettings()


def test_lists_are_comma_separated_on_the_command_line():
    options = {**NEEDED, "batch_nums": "3, 7", "extra_metadata": "object_outlines"}
    stream = load_settings(None, environment={}, options=options).stream
    assert stream.batch_nums == (3, 7)
    assert stream.extra_metadata == ("object_outlines",)
    everything = load_settings(None, environment={}, options={**NEEDED, "batch_nums": "all"})
    assert everything.stream.batch_nums == "all"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[stream\n", "is not a TOML file"),
        ("[strem]\n", r"unknown section \[strem\]"),
        ("stream = 3\n", "must be a section"),
        ("[stream]\nbatchsize = 3\n", "stream.batchsize"),
        ("[stream]\nbatch_size = 0\n", "stream.batch_size"),
        ("[stream]\nbatch_nums = 'some'\n", "stream.batch_nums"),
        ("[download]\nfetch = 'pigeon'\n", "download.fetch"),
        ("[segment]\nchannels = [0]\n", "segment.channels"),
    ],
)
def test_what_is_wrong_is_named(toml, text, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(toml(text), environment={})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no configuration file .*nothing"):
        load_settings(tmp_path / "nothing.toml", environment={})


def test_settings_can_be_written_down():
    settings = load_settings(None, environment={}, options=NEEDED)
    plain = as_json(settings)
    assert plain["stream"]["table"] == str(Path("t.tsv").absolute())
    assert plain["segment"]["channels"] == [0, 0]


def test_settings_come_back_as_they_were(toml):
    text = "[stream]\ntable='t'\ntmp_dir='w'\nfinal_data_dir='o'\nbatch_nums=[1,2]\n"
    settings = load_settings(toml(text), environment={})
    stored = json.loads(json.dumps(as_json(settings)))
    assert settings_from_json(stored, environment={}) == settings
    changed = settings_from_json(stored, environment={}, options={"batch_size": "3"})
    assert changed.stream.batch_size == 3


def test_no_secret_is_written_down():
    options = {**NEEDED, "root": "https://me:pass@host/x?y=1@2"}
    settings = load_settings(None, environment={}, options=options)
    text = json.dumps(as_json(settings))
    assert "pass@" not in text
    stored = json.loads(text)
    with pytest.raises(ConfigError, match=r"download.root had a secret.*IDRSTREAM_ROOT"):
        settings_from_json(stored, environment={})
    given = settings_from_json(stored, environment={"IDRSTREAM_ROOT": options["root"]})
    assert given.download.root == options["root"]
    for section in SECTIONS.values():
        for option in dataclasses.fields(section):
            if any(word in option.name for word in ("password", "secret", "token")):
                assert option.name not in text


def test_the_example_is_complete_and_right():
    from idrstream.profile import ProfileConfig
    from idrstream.screen import read_table, tasks_from_table

    example = Path(__file__).resolve().parents[2] / "example_files" / "idr0013.toml"
    settings = load_settings(example, environment={})
    tasks = tasks_from_table(read_table(settings.stream.table))
    assert [task.frames for task in tasks] == [(50,), (50,), (1, 50, 93)]
    assert ProfileConfig.read(settings.profile.dp_config).channels == ("DNA",)
    assert settings.download.method == "auto"


def test_a_stream_is_built_from_every_option(tmp_path):
    from idrstream import IdrStream

    options = {
        "table": "t.tsv",
        "final_data_dir": str(tmp_path / "out"),
        "tmp_dir": str(tmp_path / "tmp"),
        "method": "local",
        "root": str(tmp_path),
        "channel": "1",
        "z": "2",
        "min_size": "30",
        "tile_batch_size": "4",
        "gpu": "false",
        "dp_gpu": "1",
    }
    stream = IdrStream.from_settings(load_settings(None, environment={}, options=options))
    assert (stream.preprocessor.reader.channel, stream.preprocessor.reader.z) == (1, 2)
    settings = stream.segmentor.settings
    assert (settings.min_size, settings.tile_batch_size, settings.gpu) == (30, 4, False)
    stream.close()
