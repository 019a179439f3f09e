"""Settings for what somebody has: written with comments, and good in a plan as they are."""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from local_servers import nginx
from stand_ins import write_zarr_plate

from idrstream.archive.first_settings import (
    FirstSettings,
    chosen_wells,
    image_facts,
    with_nuclei,
)
from idrstream.cli.main import main
from idrstream.config import load_settings
from idrstream.errors import ConfigError, TableError
from idrstream.simulate import CHANNELS, PaintingSpec, simulate_field
from idrstream.simulate.cellh5 import write_cellh5

PROJECT = Path(__file__).resolve().parents[2]
MOVIES = "20150916-mitocheck-analysis/mitocheck"
SCREEN = "LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return an empty working folder; no variable of the environment sets an option."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("IDRSTREAM_")]:
        monkeypatch.delenv(variable)
    return tmp_path


@pytest.fixture
def told(capsys):
    """Return a function that runs the command, and gives its exit code and what it says."""

    def run(*words):
        code = main(["settings", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def no_plan(monkeypatch):
    """Leave the plan out, which loads models: what is written is looked at."""

    class Good:
        is_good = True

    monkeypatch.setattr("idrstream.cli.plan.plan_settings", lambda _settings: Good())


def write_plate(folder, channels=("DAPI", "GFP"), wells=("A01", "B02"), shape=(64, 80)):
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for well in wells:
        for channel in channels:
            pixels = random.integers(100, 4000, shape, dtype=np.uint16)
            tifffile.imwrite(folder / f"{well}_s1_{channel}.tif", pixels)


def lines_of(section, path="stream.toml"):
    """Return the lines of a section of the settings."""
    text = Path(path).read_text(encoding="utf-8")
    return text.split(f"[{section}]\n")[1].split("\n[")[0].splitlines()


@pytest.mark.models
def test_files_become_settings_that_a_plan_finds_good(home, told):
    write_plate(home / "plates" / "P1")
    code, out, err = told("--files", "plates/{plate}/{well}_s{site}_{channel}.tif")
    assert (code, err) == (0, "")
    assert "2 images of 1 plate; channels DAPI, GFP: nuclei in DAPI" in out
    assert "Ready to start" in out
    # The plan names files as the user does.
    assert f"{home}/plates/P1/A01_s1_DAPI.tif, 64 x 80 px, channel DNA, uint16" in out
    assert out.endswith("Start it with:\n  idrstream run stream.toml\n")
    assert sorted(path.name for path in home.iterdir()) == ["plates", "stream.toml", "stream.tsv"]
    code, _, err = told("--files", "plates/{plate}/{well}_s{site}_{channel}.tif")
    assert code == 2
    assert "stream.toml is there already" in err


def test_every_line_has_a_comment_or_says_it_itself(home, told, no_plan):
    write_plate(home / "plates" / "P1")
    assert told("--files", "plates/{plate}/{well}_s{site}_{channel}.tif")[0] == 0
    text = Path("stream.toml").read_text(encoding="utf-8")
    assert text.startswith("# Settings of a stream over 2 images of 1 plate, made by idrstream ")
    bare = [line for line in text.splitlines() if " = " in line and " # " not in line]
    assert bare == ['log = "stream.log"']
    assert '# image_channels = ["DNA=DAPI", "GFP=GFP"]' in text
    # What is suggested is right, too: every line without its first sign.
    suggested = [
        line.removeprefix("# ") if line.startswith("# ") and " = " in line else line
        for line in text.splitlines()
        if 'image_channels = ["DNA=DAPI"]' not in line
    ]
    Path("all.toml").write_text("\n".join(suggested), encoding="utf-8")
    settings = load_settings(Path("all.toml"), environment={})
    assert settings.profile.engines == ("torch", "classical")
    assert settings.preprocess.image_channels == ("DNA=DAPI", "GFP=GFP")
    assert settings.stream.disk_budget == "20GB"


def test_what_the_images_are_decides(home, told, no_plan):
    folder = home / "P1"
    write_plate(folder, channels=("x",), wells=[f"A{column:02}" for column in range(1, 9)])
    stack = np.zeros((5, 2, 64, 80), np.uint16)
    for path in folder.iterdir():
        tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZCYX"})
    assert told("--files", "{plate}/{well}_s{site}_x.tif", "--nuclei", "1")[0] == 0
    read = tomllib.loads(Path("stream.toml").read_text(encoding="utf-8"))
    assert read["preprocess"] == {
        "image_channels": ["DNA=1"],
        "projection": "max",
        "perform_illumination_correction": True,
        "illumination_context": "plate",  # eight images of a plate
    }
    code, _, err = told("--files", "{plate}/{well}_s{site}_x.tif", "--nuclei", "7", "--force")
    assert code == 2
    assert "no such channel; its channels: 0, 1" in err


def test_a_table_stays_where_it_is(home, told, no_plan):
    (home / "tables").mkdir()
    (home / "tables" / "wells.csv").write_text("Plate,Well,Frames,Path\nP1,A1,1,/a/b.tif\n")
    assert told("--table", "tables/wells.csv", "--out", "new/my.toml")[0] == 0
    read = tomllib.loads(Path("new/my.toml").read_text(encoding="utf-8"))["stream"]
    assert read["table"] == "../tables/wells.csv"
    assert (read["final_data_dir"], read["tmp_dir"]) == ("my_features", "my_tmp")
    assert load_settings(Path("new/my.toml")).stream.table.is_file()


def test_a_study_is_taken_from_a_copy_without_a_network(home, told, no_plan, shared_data):
    copy = str(shared_data / "idr")
    code, out, _ = told(
        "--study", "idr0013", "--screen", "A", "--plate", "LT0001_02", "--wells", "A4,B2",
        "--frames", "50", "--route", "files", "--idr-data", copy,
    )  # fmt: skip
    assert code == 0
    assert "191,368 images" in out
    table = pd.read_csv("stream.tsv", sep="\t", dtype=str)
    assert table["Well"].tolist() == ["A4", "B2"]
    assert set(table["Frames"]) == {"50"}
    assert 'idr_index_name = "idr0013-neumann-mitocheck"' in lines_of("download")[1]
    # Movies of 93 frames: their own frames say what the light is like.
    assert lines_of("preprocess")[0].startswith("perform_illumination_correction = true")
    code, _, err = told("--study", "idr0013", "--screen", "A", "--wells", "controls",
                        "--plate", "LT0001_02", "--idr-data", copy, "--force")  # fmt: skip
    assert code == 3
    assert "no column 'Control Type' says which wells are controls" in err


def test_wells_by_kind_and_name():
    table = pd.DataFrame({
        "Plate": "P1", "Well": ["A1", "A2", "B1"],
        "Control Type": ["negative control", "", "positive control"],
    })  # fmt: skip
    assert chosen_wells(table, "controls")["Well"].tolist() == ["A1", "B1"]
    assert chosen_wells(table, "b1, a2")["Well"].tolist() == ["A2", "B1"]
    assert len(chosen_wells(table, "all")) == 3
    with pytest.raises(TableError, match="no well C9; it has A1, A2, B1"):
        chosen_wells(table, "A1,C9")
    with pytest.raises(TableError, match="'Control Type' has sample"):
        chosen_wells(table.assign(**{"Control Type": "sample"}), "controls")


@pytest.mark.parametrize(
    ("channels", "nuclei"),
    [
        ("ERSyto;Hoechst;Mito", "Hoechst"), ("GFP;mCherry-H2B", "mCherry-H2B"),
        ("w1;w2", "w1"), ("Actin;dapi", "dapi"), ("Mito;DNA", "DNA"),
    ],
)  # fmt: skip
def test_the_channel_of_the_nuclei_is_known_by_its_name(channels, nuclei):
    table = pd.DataFrame({"Plate": ["P1"], "Path": ["a.tif"], "Channel Names": [channels]})
    facts = image_facts(table)
    assert facts.nuclei == nuclei
    assert f'image_channels = ["DNA={nuclei}"]' in FirstSettings("s", "t.tsv").text(facts)
    with pytest.raises(ConfigError, match="did you mean"):
        with_nuclei(facts, f"{nuclei}x")


@pytest.mark.models
def test_an_address_becomes_settings_that_a_plan_finds_good(home, told):
    """Real OME-Zarr, from a web server on this machine."""
    spec = PaintingSpec(height=128, width=160, nuclei_per_frame=6)
    fields = {
        f"{well[0]}/{well[1:]}": simulate_field(spec, plate="P1", well=well).pixels[None]
        for well in ("A1", "B2")
    }
    write_zarr_plate(home / "made" / "P1.ome.zarr", fields, list(CHANNELS))
    with nginx(home / "server") as server:
        shutil.copytree(home / "made", server.root, dirs_exist_ok=True)
        code, out, err = told("--zarr", f"{server.address}P1.ome.zarr")
        assert (code, err) == (0, "")
        assert "2 images of 1 plate; channels DNA, ER, RNA, AGP, Mito: nuclei in DNA" in out
        assert "160 x 128 pixels, 3 planes, 5 channels" in out
        assert "Ready to start" in out
        assert f"{server.address}P1.ome.zarr" in out
        assert told("--zarr", f"{server.address}P2.ome.zarr", "--force")[0] != 0
    assert 'projection = "max"' in "\n".join(lines_of("preprocess"))
    table = pd.read_csv("stream.tsv", sep="\t", dtype=str)
    assert table["Well"].tolist() == ["A1", "B2"]


@pytest.mark.parametrize("words", [(), ("--study", "idr0013", "--zarr", "a.zarr")])
def test_one_thing_is_named(home, told, words):
    code, _, err = told(*words)
    assert code == 2
    assert "say what you have by one of --study, --files, --zarr or --table" in err


@pytest.mark.models
def test_the_example_passes_the_plan_as_it_is(tmp_path, monkeypatch, capsys):
    """Of movies as IDR has them, from a server on this machine in the place of IDR's."""
    shutil.copytree(PROJECT / "example_files", tmp_path / "examples",
                    ignore=shutil.ignore_patterns("training"))  # fmt: skip
    frames = np.random.default_rng(0).integers(0, 255, (93, 64, 80), dtype=np.uint8)
    masks = np.zeros(frames.shape, np.uint16)
    for number in (4, 15, 26):
        path = tmp_path / f"{number:05d}_01.ch5"
        write_cellh5(path, frames, masks, valid=np.ones(93, bool), screen=SCREEN,
                     well_number=number)  # fmt: skip
    examples = sorted((tmp_path / "examples").glob("*.toml"))
    assert [path.name for path in examples] == ["idr0013.toml"]
    with nginx(tmp_path / "server") as server:
        for number in (4, 15, 26):
            name = f"{number:05d}_01.ch5"
            where = f"idr0013-neumann-mitocheck/{MOVIES}/{SCREEN}/hdf5/{name}"
            server.put(where, (tmp_path / name).read_bytes())
        monkeypatch.setenv("IDRSTREAM_HTTPS_ROOT", server.address)
        for example in examples:
            code = main(["plan", str(example)])
            out = capsys.readouterr().out
            assert code == 0, out
            assert "Ready to start" in out
            assert "3 asked, all exist" in out
