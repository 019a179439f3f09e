"""The segmentor with Cellpose itself, on small images with a network of random weights."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from processor import takes_bfloat16

from idrstream.errors import ConfigError, MissingToolError
from idrstream.records import Frame, ImageTask
from idrstream.segment import CellPoseSegmentor
from idrstream.segment.labels import as_labels, objects_in

pytestmark = pytest.mark.models

TASK = ImageTask("LT0001_02", "A4", 4, (1,))
# Random weights find "nuclei" everywhere at this threshold, which is what these tests need.
SPECS = {
    "diameter": 17,
    "flow_threshold": 0,
    "cellprob_threshold": -10,
    "min_size": 1,
    "gpu": False,
    "precision": "single",
    "remove_edge_masks": False,
}


@pytest.fixture(scope="module")
def image():
    y, x = np.mgrid[:120, :150]
    spots = [
        np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 60) for cy, cx in ((30, 40), (70, 90), (3, 80))
    ]
    return (20 + 200 * np.max(spots, axis=0)).astype(np.uint8)


@pytest.fixture(scope="module")
def simulated():
    """Return a frame that needs several tiles, and its true masks."""
    from idrstream.simulate import ScreenSpec, simulate_movie

    spec = ScreenSpec(frames=1, height=240, width=320, nuclei_per_frame=25, diameter_px=18, seed=5)
    movie = simulate_movie(spec, well="A15")
    return movie.frames[0], movie.masks[0]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    import torch
    from cellpose.models import CellposeModel

    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("model") / "random"
    model = CellposeModel(gpu=False, pretrained_model=False, diam_mean=17.0)
    model.net.output[2].weight.data *= 50  # flows strong enough to gather pixels somewhere
    model.net.save_model(str(path))
    return path


@pytest.fixture(scope="module")
def segmentor(model_file):
    return CellPoseSegmentor({"model_type": model_file, **SPECS})


def test_masks_are_cellposes_own(segmentor, model_file, image):
    from cellpose.models import CellposeModel

    own = CellposeModel(gpu=False, pretrained_model=str(model_file)).eval(
        image,
        diameter=17,
        channels=[0, 0],
        flow_threshold=0,
        cellprob_threshold=-10,
        min_size=1,
    )[0]
    masks, diameter = segmentor.masks(image)
    assert diameter == 17
    assert masks.max() > 1
    # Random weights enlarge the last digits; with trained ones the masks are the same.
    assert (masks > 0).mean() == pytest.approx((own > 0).mean(), abs=1e-3)
    assert (masks == as_labels(own)).mean() > 0.98


def test_masks_of_two_channels_are_cellposes_own(segmentor, model_file, image):
    """As of a model of cells that also sees the nuclei: the second channel counts."""
    from cellpose.models import CellposeModel

    nuclei = np.roll(image, 25, axis=1)
    options = {"diameter": 17, "flow_threshold": 0, "cellprob_threshold": -10, "min_size": 1}
    own = CellposeModel(gpu=False, pretrained_model=str(model_file)).eval(
        np.stack([image, nuclei], axis=-1), channels=[1, 2], **options
    )[0]
    masks, _ = segmentor.masks(np.stack([image, nuclei]))
    assert masks.max() > 1
    assert (masks == as_labels(own)).mean() > 0.98
    alone, _ = segmentor.masks(image)
    assert (masks == alone).mean() < 0.9


@pytest.mark.parametrize("precision", ["single", "bfloat16"])
def test_masks_of_a_trained_network_are_cellposes_own(simulated, precision):
    from cellpose.metrics import average_precision

    from idrstream.models import nuclei_model_path
    from idrstream.segment.cellpose.shipped import load_nuclei_network

    if precision == "bfloat16" and not takes_bfloat16():
        pytest.skip("no bfloat16 here")
    frame, _ = simulated
    own = load_nuclei_network(nuclei_model_path()).eval(frame, diameter=14, channels=[0, 0])[0]
    segmentor = CellPoseSegmentor(
        {
            "model_type": "idrstream-nuclei",
            "diameter": 14,
            "gpu": False,
            "flow_threshold": 0.4,
            "remove_edge_masks": False,
            "precision": precision,
        }
    )
    masks, _ = segmentor.masks(frame)
    precisions, *_ = average_precision(own, masks, threshold=[0.5, 0.9])
    assert own.max() > 15
    assert precisions[0] == 1
    assert precisions[1] >= 0.95  # one nucleus of these few at most


def test_the_same_pixels_give_the_same_nuclei_and_are_not_changed(segmentor, image):
    before = image.copy()
    first, second = (
        segmentor.segment(Frame(image[np.newaxis], 1, TASK), outlines=True) for _ in range(2)
    )
    assert np.array_equal(image, before)
    assert len(first) > 1
    assert np.array_equal(first.locations, second.locations)
    assert np.array_equal(first.locations, objects_in(segmentor.masks(image)[0]).locations)
    for one, other in zip(first.outlines, second.outlines, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("pixels", [np.zeros((64, 70), np.uint16), np.full((1, 9), 3, np.uint8)])
def test_empty_and_odd_frames_are_results(segmentor, pixels):
    masks, _ = segmentor.masks(pixels)
    assert masks.shape == pixels.shape


def test_a_size_model_estimates_the_diameter(model_file, image, tmp_path):
    from cellpose.models import SizeModel

    size = tmp_path / "size.npy"
    params = {"A": np.zeros(256), "smean": np.zeros(256), "diam_mean": 17.0, "ymean": 0.1}
    np.save(size, params, allow_pickle=True)
    segmentor = CellPoseSegmentor(
        {"model_type": model_file, **SPECS, "diameter": 0, "size_model": size}
    )
    expected, _ = SizeModel(segmentor._model.get().model, pretrained_size=str(size)).eval(
        image, channels=[0, 0]
    )
    assert segmentor.segment(Frame(image[np.newaxis], 1, TASK)).diameter_px == pytest.approx(
        float(expected)
    )


def test_a_file_that_is_no_model_is_the_users_matter(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("<html>not found</html>")
    with pytest.raises(ConfigError, match=r"page\.html is not a model file of Cellpose 3"):
        CellPoseSegmentor({"model_type": path, **SPECS}).load()


def test_nothing_is_printed_or_logged_by_cellpose(segmentor, image, capfd, caplog):
    with caplog.at_level(logging.INFO):
        segmentor.masks(image)
    assert [record.name for record in caplog.records if record.name.startswith("cellpose")] == []
    assert capfd.readouterr() == ("", "")


def test_the_shipped_model_finds_simulated_nuclei():
    from idrstream.simulate import ScreenSpec, simulate_movie

    segmentor = CellPoseSegmentor(
        {"model_type": "idrstream-nuclei", "gpu": False, "remove_edge_masks": False}
    )
    try:
        segmentor.load()
    except MissingToolError as error:
        pytest.skip(str(error))
    spec = ScreenSpec(frames=1, height=224, width=224, nuclei_per_frame=14, diameter_px=18, seed=5)
    movie = simulate_movie(spec, well="A15")
    nuclei = segmentor.segment(Frame(movie.frames[:1], 1, TASK))
    true = objects_in(as_labels(movie.masks[0])).locations
    distance = np.linalg.norm(true[:, np.newaxis] - nuclei.locations, axis=2)
    assert (distance.min(axis=1) < 3).mean() >= 0.85
    assert len(nuclei) <= 1.2 * len(true)
    assert 10 < nuclei.diameter_px < 35
