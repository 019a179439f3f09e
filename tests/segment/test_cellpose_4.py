"""Models of Cellpose 4, where it is installed in the place of Cellpose 3; random weights."""

from __future__ import annotations

import numpy as np
import pytest

from idrstream.config import SegmentSettings
from idrstream.errors import ConfigError, MissingToolError
from idrstream.records import Frame, ImageTask
from idrstream.segment import CellPoseSegmentor
from idrstream.segment.cellpose.models import has_cellpose_4, load_model
from idrstream.workers.threads import one_thread_each

needs_4 = pytest.mark.skipif(not has_cellpose_4(), reason="Cellpose 3 is installed")
needs_3 = pytest.mark.skipif(has_cellpose_4(), reason="Cellpose 4 is installed")


@needs_3
@pytest.mark.parametrize("name", ["cpsam", "cpdino"])
def test_with_cellpose_3_its_names_say_what_they_need(name):
    segmentor = CellPoseSegmentor({"model_type": name})
    with pytest.raises(MissingToolError, match=f"'{name}' needs Cellpose 4 in its place; Cellp.*3"):
        segmentor.load()


@needs_4
@pytest.mark.parametrize("name", ["idrstream-nuclei", "cyto3"])
def test_with_cellpose_4_other_names_say_what_they_need(name):
    with pytest.raises(MissingToolError, match=f"'{name}' needs Cellpose 3; Cellpose 4"):
        load_model(SegmentSettings(model_type=name))


@needs_4
def test_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"none")
    with pytest.raises(ConfigError, match="is not a model file of Cellpose 4"):
        load_model(SegmentSettings(model_type=str(path)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights that nobody trained, but whose output is foreground here and there."""
    import torch
    from cellpose.vit import CPSAM

    torch.manual_seed(0)
    network = CPSAM()
    torch.nn.init.normal_(network.out.weight, std=2.0)
    path = tmp_path_factory.mktemp("models") / "cpsam"
    torch.save(network.state_dict(), path)
    return path


@needs_4
@pytest.mark.slow
@pytest.mark.parametrize("diameter", [0, 24.0])
def test_masks_are_those_of_its_own_eval(weights, monkeypatch, diameter):
    import torch
    from cellpose.models import CellposeModel

    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(weights.parent))
    pixels = np.random.default_rng(1).integers(0, 255, (96, 130)).astype(np.uint8)
    options = {"flow_threshold": 0.0, "cellprob_threshold": -1.0, "min_size": 5}
    segmentor = CellPoseSegmentor(
        {"model_type": "cpsam", "diameter": diameter, "gpu": False, "remove_edge_masks": False,
         "precision": "single", "threads": 1, **options}
    )  # fmt: skip
    found = segmentor.segment(Frame(pixels[np.newaxis], 1, ImageTask("P1", "A1", 1, (1,))))
    own = CellposeModel(
        device=torch.device("cpu"), pretrained_model=str(weights), use_bfloat16=False
    )
    # These weights turn rounding into other masks: as many threads and tiles at once.
    with one_thread_each(1):
        masks = own.eval(pixels, diameter=diameter or None, batch_size=32, **options)[0]
    assert masks.max() > 3
    assert found.labels.max() == masks.max()
    assert np.array_equal(found.labels, masks)
