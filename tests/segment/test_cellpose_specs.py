from __future__ import annotations

import subprocess
import sys

import pytest

from idrstream.errors import ConfigError
from idrstream.segment import BUILT_IN, CellPoseSegmentor, CellposeSpecs

LEGACY = {
    "model_type": "nuclei",
    "channels": [0, 0],
    "diameter": 0,
    "flow_threshold": 0.8,
    "cellprob_threshold": 0,
    "remove_edge_masks": True,
}


def test_the_first_idr_streams_specs_are_taken():
    specs = CellPoseSegmentor(LEGACY).specs
    assert specs == CellposeSpecs(
        "nuclei", (0, 0), None, flow_threshold=0.8, cellprob_threshold=0.0, remove_edge_masks=True
    )
    assert specs.estimates_diameter


@pytest.mark.parametrize(
    ("diameter", "estimated"), [(None, True), (0, True), (0.0, True), (17, False)]
)
def test_no_diameter_means_estimated(diameter, estimated):
    specs = CellposeSpecs.from_mapping({**LEGACY, "diameter": diameter})
    assert specs.estimates_diameter is estimated


def test_an_unknown_key_is_named_with_the_nearest_known():
    with pytest.raises(ConfigError, match=r"'diametre'.*did you mean 'diameter'"):
        CellposeSpecs.from_mapping({"model_type": "nuclei", "diametre": 3})
    with pytest.raises(ConfigError, match=r"'zzz'.*Known are model_type"):
        CellposeSpecs.from_mapping({"model_type": "nuclei", "zzz": 3})


def test_model_type_is_required():
    with pytest.raises(ConfigError, match=r"model_type is missing.*idrstream-nuclei"):
        CellposeSpecs.from_mapping({})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("channels", [0]),
        ("channels", [0, 4]),
        ("channels", "00"),
        ("channels", [True, 0]),
        ("diameter", -1),
        ("diameter", "17"),
        ("diameter", float("nan")),
        ("flow_threshold", -0.1),
        ("flow_threshold", True),
        ("cellprob_threshold", float("inf")),
        ("remove_edge_masks", "yes"),
        ("outlines", 1),
        ("gpu", "cuda"),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("min_size", -2),
        ("size_model", "/no/such/file"),
        ("model_type", ""),
        ("model_type", 3),
    ],
)
def test_values_that_do_not_fit_are_named(key, value):
    with pytest.raises(ConfigError, match=f"{key} must be"):
        CellposeSpecs.from_mapping({**LEGACY, key: value})


def test_good_values_of_every_key(tmp_path):
    size = tmp_path / "size.npy"
    size.touch()
    specs = CellposeSpecs.from_mapping(
        {
            **LEGACY,
            "gpu": False,
            "batch_size": 4,
            "min_size": -1,
            "size_model": size,
            "outlines": True,
        }
    )
    assert (specs.gpu, specs.batch_size, specs.min_size, specs.outlines) == (False, 4, -1, True)
    assert specs.size_model == str(size)
    assert CellposeSpecs.from_mapping({**LEGACY, "size_model": None, "gpu": "auto"}).gpu == "auto"


def test_a_model_is_a_path_or_a_name_in_cellposes_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path))
    model = tmp_path / "my_model"
    model.touch()
    for name in (str(model), model, "my_model"):
        assert CellposeSpecs.from_mapping({"model_type": name}).model_type == str(model)


def test_an_unknown_model_is_named_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"'nucleii' is neither a file.*Did you mean 'nuclei'"):
        CellposeSpecs.from_mapping({"model_type": "nucleii"})
    with pytest.raises(ConfigError, match=r"neither a file"):
        CellposeSpecs.from_mapping({"model_type": str(tmp_path / "missing")})


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
