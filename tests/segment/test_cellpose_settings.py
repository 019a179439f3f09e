from __future__ import annotations

import subprocess
import sys

import pytest

from idrstream.config import SegmentSettings
from idrstream.errors import ConfigError
from idrstream.segment import BUILT_IN, CellPoseSegmentor
from idrstream.segment.cellpose.settings import segment_settings

LEGACY = {
    "model_type": "nuclei",
    "channels": [0, 0],
    "diameter": 0,
    "flow_threshold": 0.8,
    "cellprob_threshold": 0,
    "remove_edge_masks": True,
}


def test_the_first_idr_streams_specs_are_taken():
    settings = CellPoseSegmentor(LEGACY).settings
    assert settings == SegmentSettings(model_type="nuclei", flow_threshold=0.8)
    assert CellPoseSegmentor(settings).settings == settings


@pytest.mark.parametrize(("diameter", "expected"), [(None, 0), (0, 0), (0.0, 0), (17, 17)])
def test_no_diameter_means_estimated(diameter, expected):
    assert segment_settings({**LEGACY, "diameter": diameter}).diameter == expected


def test_an_unknown_key_is_named_with_the_nearest_known():
    with pytest.raises(ConfigError, match=r"diametre: no such option; did you mean diameter"):
        segment_settings({"model_type": "nuclei", "diametre": 3})
    with pytest.raises(ConfigError, match=r"segmentor has wrong settings:\n  zzz: no such option"):
        segment_settings({"model_type": "nuclei", "zzz": 3})


def test_model_type_is_required():
    with pytest.raises(ConfigError, match=r"model_type is missing.*idrstream-nuclei"):
        segment_settings({})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("channels", [0]),
        ("channels", [0, 4]),
        ("channels", "00"),
        ("diameter", -1),
        ("diameter", "wide"),
        ("diameter", float("nan")),
        ("flow_threshold", -0.1),
        ("cellprob_threshold", float("inf")),
        ("remove_edge_masks", "perhaps"),
        ("gpu", "cuda"),
        ("tile_batch_size", 0),
        ("tile_batch_size", 2.5),
        ("min_size", -2),
        ("size_model", "/no/such/file"),
        ("model_type", ""),
        ("model_type", 3),
        ("precision", "double"),
    ],
)
def test_values_that_do_not_fit_are_named(key, value):
    with pytest.raises(ConfigError, match=key):
        segment_settings({**LEGACY, key: value})


def test_good_values_of_every_key(tmp_path):
    size = tmp_path / "size.npy"
    size.touch()
    settings = segment_settings(
        {**LEGACY, "gpu": False, "batch_size": 4, "min_size": -1, "size_model": size}
    )
    assert (settings.gpu, settings.tile_batch_size, settings.min_size) == (False, 4, -1)
    assert settings.size_model == size
    assert segment_settings({**LEGACY, "size_model": None, "gpu": "auto"}).gpu == "auto"


def test_what_identifies_the_segmentor_in_the_journal_stays():
    described = CellPoseSegmentor({**LEGACY, "model_type": "idrstream-nuclei"}).describe()
    digests = described.pop("model_sha256")
    assert [len(digest) for digest in digests] == [64, 64]
    assert described == {
        "name": "cellpose", "model_type": "idrstream-nuclei", "channels": [0, 0],
        "segment_channel": "",
        "diameter": None, "flow_threshold": 0.8, "cellprob_threshold": 0.0,
        "remove_edge_masks": True, "min_size": 15, "precision": "auto",
    }  # fmt: skip


def test_a_model_is_a_path_or_a_name_in_cellposes_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path))
    model = tmp_path / "my_model"
    model.touch()
    for name in (str(model), model, "my_model"):
        assert segment_settings({"model_type": name}).model_type == str(model)


def test_an_unknown_model_is_named_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"'nucleii' is neither a file.*Did you mean 'nuclei'"):
        segment_settings({"model_type": "nucleii"})
    with pytest.raises(ConfigError, match=r"neither a file"):
        segment_settings({"model_type": str(tmp_path / "missing")})


@pytest.mark.models
def test_the_built_in_names_are_cellposes():
    from cellpose.models import MODEL_NAMES

    transformers = {n for n in MODEL_NAMES if "transformer" in n or n.startswith("neurips")}
    assert set(BUILT_IN) == set(MODEL_NAMES) - transformers


def test_checking_settings_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from idrstream.segment import CellPoseSegmentor\n"
        "CellPoseSegmentor({'model_type': 'nuclei'})\n"
        "heavy = {'torch', 'cellpose', 'scipy', 'cv2', 'pandas', 'skimage'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
