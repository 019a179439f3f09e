"""The model files that ship: there, small enough, readable without pickle, and working."""

from __future__ import annotations

import json
from functools import partial

import h5py
import numpy as np
import pytest

from idrstream import models
from idrstream.config.model_names import SHIPPED_MODELS
from idrstream.errors import MissingToolError
from idrstream.profile import ProfileConfig
from idrstream.segment.cellpose import shipped
from idrstream.segment.cellpose.models import own_files

NUCLEI_PATHS = [
    partial(path, name)
    for path in (models.nuclei_model_path, models.nuclei_size_model_path)
    for name in SHIPPED_MODELS
]
PATHS = [
    *NUCLEI_PATHS,
    models.profiler_checkpoint_path,
    models.profiler_config_path,
]


@pytest.mark.parametrize("path", PATHS)
def test_every_file_is_in_the_package(path):
    assert path().is_file()


def test_all_together_are_small_enough_for_a_wheel():
    assert sum(path().stat().st_size for path in PATHS) <= 25e6


def test_the_name_is_the_one_the_segmentor_knows():
    from idrstream.segment import SHIPPED

    assert models.NUCLEI == SHIPPED


def test_digest_is_sha256_of_the_content(tmp_path):
    path = tmp_path / "model"
    path.write_bytes(b"abc")
    assert models.model_digest(path) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_digest_of_a_missing_file_names_it(tmp_path):
    with pytest.raises(MissingToolError, match="nowhere"):
        models.model_digest(tmp_path / "nowhere")


def test_a_missing_model_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(models.resources, "files", lambda name: "/nowhere")
    with pytest.raises(MissingToolError, match="reinstall"):
        models.nuclei_model_path()


@pytest.mark.parametrize("path", NUCLEI_PATHS)
def test_network_files_hold_no_pickle_and_only_finite_numbers(path):
    with np.load(path(), allow_pickle=False) as file:
        for name in file.files:
            assert np.isfinite(file[name]).all(), name


def test_config_and_checkpoint_fit_together():
    config = ProfileConfig.read(models.profiler_config_path())
    assert config.check_checkpoint(models.profiler_checkpoint_path()) == 1280
    assert (config.size, config.box_size) == ((1024, 1344), 64)
    assert config.channels == ("DNA",)
    assert config.feature_layer == "pool5"


def test_checkpoint_is_an_embedding_without_classifier():
    with h5py.File(models.profiler_checkpoint_path()) as file:
        names = [n if isinstance(n, str) else n.decode() for n in file.attrs["layer_names"]]
    assert "top_bn" in names
    assert not {"ClassProb", "classifier"} & set(names)


def test_example_config_is_the_shipped_one(request):
    example = (
        request.config.rootpath / "example_files" / "DP_files" / "mitocheck_profiling_config.json"
    )
    if not example.is_file():
        pytest.skip("no example files beside this checkout")
    assert json.loads(example.read_text()) == json.loads(models.profiler_config_path().read_text())


def test_a_damaged_network_file_is_named(tmp_path):
    path = tmp_path / "nuclei.npz"
    path.write_bytes(b"not a zip file")
    with pytest.raises(MissingToolError, match=r"nuclei\.npz"):
        shipped.load_size_estimator(path)


def test_a_file_of_a_newer_format_is_refused(tmp_path):
    path = tmp_path / "size.npz"
    np.savez(path, weights=np.zeros(256), offset=1.0, format_version=99)
    with pytest.raises(MissingToolError, match="99"):
        shipped.load_size_estimator(path)


def test_size_estimator_survives_its_file(tmp_path, model_files):
    estimator = shipped.SizeEstimator(np.linspace(-1, 1, 256), 2.75)
    model_files.save_size_estimator(tmp_path / "size.npz", estimator)
    again = shipped.load_size_estimator(tmp_path / "size.npz")
    np.testing.assert_allclose(again.weights, estimator.weights, rtol=1e-6)
    assert again.offset == estimator.offset


@pytest.mark.parametrize(("offset", "wanted"), [(np.log(20), 20), (-9.0, 5), (99.0, 150)])
def test_diameter_from_style_stays_in_bounds(offset, wanted):
    estimator = shipped.SizeEstimator(np.zeros(256), offset)
    assert estimator.from_style(np.ones(256)) == pytest.approx(wanted)


class _Network:
    """Finds squares of a fixed side, whatever the scale; counts how often it is asked."""

    diam_mean = 26.0

    def __init__(self, side: int, number: int = 40, missing: int = 0) -> None:
        self.side, self.number, self.missing, self.asked = side, number, missing, []

    def eval(self, image, *, compute_masks=True, diameter=None, **_):
        if not compute_masks:
            return None, None, np.zeros(256)
        self.asked.append((image.shape, diameter))
        masks = np.zeros((self.side, self.side * max(1, self.number)), np.int32)
        for i in range(self.number):
            masks[:, i * self.side : (i + 1) * self.side] = i + 1
            masks[0, i * self.side : i * self.side + self.missing] = 0
        return masks, None, None


def test_estimate_takes_the_median_of_the_masks_and_asks_again_when_it_was_far_off():
    network = _Network(side=30)
    estimator = shipped.SizeEstimator(np.zeros(256), float(np.log(12)))
    found = estimator.estimate(np.zeros((200, 200)), network)
    assert found == pytest.approx(30 * 2 / np.sqrt(np.pi))
    assert [diameter for _, diameter in network.asked] == [pytest.approx(12), pytest.approx(found)]


@pytest.mark.parametrize(("shape", "wanted"), [((1024, 1344), 26 / 1.05**5), ((200, 200), 20.31)])
def test_estimate_asks_once_when_the_first_value_was_near(shape, wanted):
    network = _Network(side=18)  # 20.31 px
    estimator = shipped.SizeEstimator(np.zeros(256), float(np.log(16.5)))
    assert estimator.estimate(np.zeros(shape), network) == pytest.approx(wanted, rel=1e-3)
    assert len(network.asked) == 1


def test_estimate_looks_at_a_window_of_a_large_image():
    network = _Network(side=18)
    shipped.SizeEstimator(np.zeros(256), float(np.log(20))).estimate(
        np.zeros((1024, 1344)), network
    )
    assert [shape for shape, _ in network.asked] == [(406, 406)]  # 528 / 26 * 20


def test_estimate_looks_at_the_whole_image_when_the_window_has_few_nuclei():
    network = _Network(side=18, number=3)
    found = shipped.SizeEstimator(np.zeros(256), float(np.log(20))).estimate(
        np.zeros((1024, 1344)), network
    )
    assert found == network.asked[-1][1]  # so that segmenting costs nothing more
    assert [shape for shape, _ in network.asked] == [(406, 406), (1024, 1344)]


def test_the_whole_of_a_sparse_image_is_not_looked_at_on_far_too_large_a_scale():
    network = _Network(side=30, number=3)
    estimator = shipped.SizeEstimator(np.zeros(256), float(np.log(12)))
    found = estimator.estimate(np.zeros((1024, 1344)), network)
    assert found == pytest.approx(26 * 1.05**6)  # the next above 33.9
    whole = [diameter for shape, diameter in network.asked if shape == (1024, 1344)]
    assert whole == [pytest.approx(found)]  # and at the scale at which it will be segmented
    assert len(network.asked) == 3


def test_estimate_keeps_the_scale_at_which_a_small_image_was_seen_when_it_agrees():
    network = _Network(side=18)
    estimator = shipped.SizeEstimator(np.zeros(256), float(np.log(20)))
    assert estimator.estimate(np.zeros((300, 300)), network) == pytest.approx(20)


@pytest.mark.parametrize("missing", [0, 1, 9])
def test_a_few_pixels_of_the_nuclei_do_not_change_the_diameter_of_a_large_image(missing):
    network = _Network(side=18, missing=missing)
    estimator = shipped.SizeEstimator(np.zeros(256), float(np.log(20)))
    found = estimator.estimate(np.zeros((1024, 1344)), network)
    assert found == pytest.approx(network.diam_mean / 1.05**5)
    assert found == pytest.approx(18 * 2 / np.sqrt(np.pi), rel=0.025)


def test_estimate_without_any_nucleus_is_what_the_style_says():
    network = _Network(side=18, number=0)
    estimator = shipped.SizeEstimator(np.zeros(256), float(np.log(23)))
    assert estimator.estimate(np.zeros((100, 100)), network) == pytest.approx(23)


@pytest.fixture(scope="module", params=SHIPPED_MODELS)
def loaded(request):
    return shipped.load_shipped(False, *own_files(request.param))


def disks(diameter, side=220, seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    image = rng.normal(20, 2, (side, side))
    masks = np.zeros((side, side), int)
    pitch = round(1.6 * diameter)
    centres = np.arange(pitch // 2, side - pitch // 2 + 1, pitch)
    for number, (cy, cx) in enumerate(((a, b) for a in centres for b in centres), start=1):
        inside = np.hypot(y - cy, x - cx) <= diameter / 2
        masks[inside] = number
        image[inside] += 80 + rng.normal(0, 6, inside.sum())
    return np.clip(image, 0, 255).astype(np.uint8), masks


@pytest.mark.models
@pytest.mark.parametrize("scale", [1, 100])
def test_shipped_model_finds_bright_disks_in_8_and_16_bits(loaded, scale):
    model, estimator = loaded
    image, truth = disks(18)
    image = image.astype(np.uint16) * scale if scale > 1 else image
    diameter = estimator.estimate(image, model)
    assert diameter == pytest.approx(18, rel=0.3)
    masks = model.eval(image, channels=[0, 0], diameter=diameter)[0]
    assert masks.max() == pytest.approx(truth.max(), rel=0.1)


@pytest.mark.models
def test_shipped_model_finds_nothing_in_an_empty_frame(loaded):
    model, estimator = loaded
    empty = np.full((128, 128), 7, np.uint8)
    diameter = estimator.estimate(empty, model)
    assert 5 <= diameter <= 150
    assert model.eval(empty, channels=[0, 0], diameter=diameter)[0].max() == 0


@pytest.mark.models
def test_a_network_survives_its_file(tmp_path, model_files):
    import torch

    widths = [2, 4, 8, 8, 8]
    torch.manual_seed(0)
    network = shipped.build_network(widths, 17.0).eval()
    path = tmp_path / "nuclei.npz"
    model_files.save_nuclei_network(path, network.state_dict(), widths, 21.0)
    model = shipped.load_nuclei_network(path)
    assert model.diam_mean == 17.0
    assert model.diam_labels == 21.0
    x = torch.rand(1, 2, 32, 32)
    with torch.no_grad():
        one, two = network(x), model.net(x)
    assert one[1].shape == (1, 256)
    torch.testing.assert_close(one[0], two[0], atol=2e-2, rtol=2e-2)
