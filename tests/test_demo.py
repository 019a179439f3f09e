"""The demo as a newcomer runs it, on a small screen."""

import json

import numpy as np
import pandas as pd
import pytest
from next_steps import check_what_comes_next

from idrstream import models
from idrstream.cli.main import main
from idrstream.demo import config_for
from idrstream.demo.command import prepare
from idrstream.demo.nuclei import masks_of
from idrstream.errors import ConfigError
from idrstream.segment.locations import format_outline

SMALL = ["--plates", "1", "--wells", "4", "--height", "256", "--width", "320", "--nuclei", "25"]


@pytest.mark.models
def test_demo_finds_what_was_simulated_and_leaves_results_only(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", *SMALL]) == 0
    told = capsys.readouterr().out
    assert "Features are in idrstream_demo/features" in told
    share = float(told.split("nuclei found (IoU 0.5)")[1].split("%")[0])
    false = float(told.split("found where there is none")[1].split("%")[0])
    flatfield = float(told.split("flatfield correlation")[1].split()[0])
    assert share >= 90
    assert false <= 10
    assert flatfield >= 0.99
    left = {path.name for path in (tmp_path / "idrstream_demo" / "features").iterdir()}
    assert left == {
        "batch_0.csv.gz", "illumination", "journal.sqlite", "pictures", "provenance.json", "qc",
        "report.html", "tables",
    }  # fmt: skip
    assert not (tmp_path / "idrstream_demo" / "tmp").exists()
    check_what_comes_next(told, main, monkeypatch, capsys)

    assert main(["demo", *SMALL]) == 2  # a second one does not overwrite the first
    assert "--force" in capsys.readouterr().err


def test_only_a_demo_is_ever_replaced(tmp_path):
    precious = tmp_path / "thesis.docx"
    precious.write_text("years of work")
    with pytest.raises(ConfigError, match="not a demo of idrstream"):
        prepare(tmp_path, force=True)
    assert precious.exists()
    prepare(tmp_path / "new", force=False)


def test_config_for_another_size_differs_only_in_the_size(tmp_path):
    shipped = json.loads(models.profiler_config_path().read_text())
    size = shipped["dataset"]["images"]["height"], shipped["dataset"]["images"]["width"]
    assert config_for(*size, tmp_path) == models.profiler_config_path()
    other = json.loads(config_for(256, 320, tmp_path).read_text())
    images = other["dataset"]["images"]
    assert (images["height"], images["width"]) == (256, 320)
    images["height"], images["width"] = size
    assert other == shipped


def test_masks_are_drawn_from_outlines_in_row_order():
    squares = [np.array([[2, 2], [2, 6], [6, 6], [6, 2]]), np.array([[10, 1], [10, 3], [12, 3]])]
    cells = pd.DataFrame({"Object_Outline": [format_outline(square) for square in squares]})
    masks = masks_of(cells, (16, 16))
    assert (masks == 1).sum() == 25
    assert masks[11, 3] == 2
    assert masks[0, 0] == 0
