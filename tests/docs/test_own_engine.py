"""The page about own engines: its package, built, installed, tested and streamed with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from idrstream.compile import read_batch_table
from idrstream.profile.torch.model_folder import ModelSpec

DOCS = Path(__file__).resolve().parents[2] / "docs"
SEGMENTOR = """
from scipy import ndimage

from idrstream.segment import Segmentor, objects_in


class Bright(Segmentor):
    def segment(self, frame, *, outlines=False):
        smooth = ndimage.gaussian_filter(frame.plane().astype(float), 2)
        labels, _ = ndimage.label(smooth > smooth.mean() + smooth.std())
        return objects_in(labels.astype("int32"), outlines=outlines)
"""
DOWNLOADER = """
import os

from idrstream import make_downloader


class Nearby:
    def download(self, task, folder):
        root, screens = os.environ["ROOT"], os.environ["SCREENS"]
        local = make_downloader(method="local", root=root, screens_path=screens)
        return local.download(task, folder)
"""
READER = """
from idrstream.formats.cellh5.reader import CellH5Reader


class Dim:
    name = "dim"
    reader = CellH5Reader()

    def info(self, path):
        return self.reader.info(path)

    def read(self, path, numbers):
        found = self.reader.read(path, numbers)
        return {n: one if isinstance(one, Exception) else one // 2 for n, one in found.items()}

    def interrupt(self):
        pass

    def close(self):
        pass
"""
PREPROCESSOR = """
from dataclasses import replace

from idrstream.preprocess import NoIllumination, Preprocessor
from idrstream.records import Frame


class Halved:
    whole = Preprocessor(CellH5Reader(), NoIllumination())

    def process(self, movie):
        found = self.whole.process(movie)
        return [replace(f, pixels=f.pixels // 2) if isinstance(f, Frame) else f for f in found]
"""


def titled(page):
    found = re.findall(r'```\w+ title="(\S+)"\n(.*?)```', (DOCS / page).read_text(), re.DOTALL)
    return dict(found)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return the folder that the page's package, with a segmentor beside it, is installed in."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    blocks = titled("own-engine.md")
    (source / "grey_levels.py").write_text(
        blocks["grey_levels.py"] + SEGMENTOR + READER + DOWNLOADER + PREPROCESSOR
    )
    points = '[project.entry-points."idrstream.segmentors"]\nbright = "grey_levels:Bright"\n'
    points += '[project.entry-points."idrstream.downloaders"]\nnearby = "grey_levels:Nearby"\n'
    points += '[project.entry-points."idrstream.readers"]\ndim = "grey_levels:Dim"\n'
    points += '[project.entry-points."idrstream.preprocessors"]\nhalved = "grey_levels:Halved"\n'
    broken = '\n[project.entry-points."idrstream.engines"]\nbroken = "grey_levels:Gone"\n'
    text = blocks["pyproject.toml"].replace(
        '[project.entry-points."idrstream.engines"]\n', broken.lstrip()
    )
    (source / "pyproject.toml").write_text(f"{text}\n{points}")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
         "--no-build-isolation", "--disable-pip-version-check", "--target", target, source],
        check=True,
    )  # fmt: skip
    return target


def run(installed, *command, **options):
    path = os.pathsep.join([str(installed), str(DOCS.parent)])
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


def test_the_engine_of_the_page_passes_the_suite(installed, tmp_path):
    path = tmp_path / "test_grey_levels.py"
    path.write_text(titled("own-engine.md")["test_grey_levels.py"])
    done = run(installed, "pytest", "-p", "no:cacheprovider", path, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "10 passed" in done.stdout


def test_a_stream_chooses_it_by_its_name(installed, quick, tmp_path, monkeypatch):
    screen = quick.make_screen(tmp_path / "screen", plates=1, wells=2)
    settings = tmp_path / "stream.toml"
    profile = tomllib.loads(titled("own-engine.md")["stream.toml"])["profile"]
    settings.write_text(
        f'[stream]\ntable = "{screen.table_path}"\nfinal_data_dir = "out"\ntmp_dir = "tmp"\n'
        f'progress = false\n[download]\nmethod = "local"\nroot = "{screen.folder}"\n'
        f'screens_path = "{screen.screens_path}"\n[preprocess]\n'
        f'perform_illumination_correction = false\n[segment]\nsegmentor = "bright"\n'
        f'[profile]\nengine = "{profile["engine"]}"\n'
    )
    done = run(installed, "idrstream", "run", settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cells = read_batch_table(tmp_path / "out" / "batch_0.csv.gz")
    assert cells["GreyLevel_DNA"].between(1, 255).all()
    assert len(cells) > 5
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert provenance["versions"][-1]["grey-levels"] == "1.0"
    assert provenance["identity"]["engine"] == {"name": "grey-levels", "form": 1}

    again = run(installed, "idrstream", "resume", tmp_path / "out", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert run(installed, "idrstream", "report", "out", cwd=tmp_path).returncode == 0
    other = run(installed, "idrstream", "run", settings, "--engine", "gray-levels", cwd=tmp_path)
    assert (
        "there is no engine 'gray-levels'; known: torch, deepprofiler, classical, model"
        in other.stderr
    )
    assert "Did you mean 'grey-levels'?" in other.stderr
    dark = run(installed, "idrstream", "run", settings, "--reader", "dim",
               "--final-data-dir", "dark", cwd=tmp_path)  # fmt: skip
    assert dark.returncode == 0, dark.stderr
    halves = read_batch_table(tmp_path / "dark" / "batch_0.csv.gz")["GreyLevel_DNA"]
    assert halves.mean() == pytest.approx(cells["GreyLevel_DNA"].mean() / 2, rel=0.1)
    corrected = run(installed, "idrstream", "run", settings, "--preprocessor", "halved",
                    "--final-data-dir", "halved", cwd=tmp_path)  # fmt: skip
    assert corrected.returncode == 0, corrected.stderr
    same = read_batch_table(tmp_path / "halved" / "batch_0.csv.gz")["GreyLevel_DNA"]
    assert same.tolist() == halves.tolist()
    unknown = run(installed, "idrstream", "run", settings, "--preprocessor", "halvd", cwd=tmp_path)
    assert "no preprocessor 'halvd'; known: idrstream, halved" in unknown.stderr
    monkeypatch.setenv("ROOT", str(screen.folder))
    monkeypatch.setenv("SCREENS", str(screen.screens_path))
    nearby = run(installed, "idrstream", "run", settings, "--method", "nearby",
                 "--final-data-dir", "near", cwd=tmp_path)  # fmt: skip
    assert nearby.returncode == 0, nearby.stderr
    pd.testing.assert_frame_equal(read_batch_table(tmp_path / "near" / "batch_0.csv.gz"), cells)
    refused = run(installed, "idrstream", "run", settings, "--reader", "dim",
                  "--projection", "max", "--final-data-dir", "no", cwd=tmp_path)  # fmt: skip
    assert "the reader dim cannot choose projection = 'max'" in refused.stderr
    broken = run(installed, "idrstream", "run", settings, "--engine", "broken", cwd=tmp_path)
    assert "engine 'broken' (grey_levels:Gone of grey-levels) cannot be made: " in broken.stderr
    away = run("", "idrstream", "run", settings, cwd=tmp_path)
    assert "no segmentor 'bright'; known: cellpose (installed as plug-ins" in away.stderr


def test_every_key_of_a_model_folder_is_on_its_page():
    page = (DOCS / "engines.md").read_text()
    for key in ModelSpec.__dataclass_fields__:
        assert f"`{key}`" in page, key
