"""The training scripts of example_files/training: splits, augmentation, conversion, a few steps."""

from __future__ import annotations

import argparse
import json
import sys

import numpy as np
import pytest
from own_python import needs_deepprofiler

pytest.importorskip("efficientnet_pytorch", reason="training needs the dev extra")


@pytest.fixture(scope="module", autouse=True)
def scripts(request):
    folder = request.config.rootpath / "example_files" / "training"
    if not folder.is_dir():
        pytest.skip("no example files beside this checkout")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def movies_and_classes():
    rng = np.random.default_rng(0)
    movies = [f"m{i:02d}" for i in rng.integers(0, 30, 600)]
    return [f"c{i}" for i in rng.integers(0, 5, 600)], movies


@pytest.mark.models
def test_split_by_movie_keeps_movies_whole_and_classes_even():
    from cell_data import split_by_movie

    classes, movies = movies_and_classes()
    held_out = split_by_movie(classes, movies, tries=2000)
    sides = {m: {h for x, h in zip(movies, held_out, strict=True) if x == m} for m in set(movies)}
    assert all(len(side) == 1 for side in sides.values())
    for name in set(classes):
        share = held_out[np.array(classes) == name].mean()
        assert 0.12 < share < 0.28
    np.testing.assert_array_equal(held_out, split_by_movie(classes, movies, tries=2000))


@pytest.mark.models
def test_augmented_crops_keep_their_form_and_range():
    import torch
    from cell_data import augment

    crops = torch.rand(9, 1, 64, 64) * 255
    one = augment(crops, torch.Generator().manual_seed(1))
    two = augment(crops, torch.Generator().manual_seed(1))
    assert one.shape == crops.shape
    assert one.min() >= 0
    assert one.max() <= 1.0001
    torch.testing.assert_close(one, two)


@pytest.mark.models
def test_conversion_writes_every_layer_of_deepprofilers_model(tmp_path):
    import h5py
    from convert_profiler import write_checkpoint
    from train_profiler import new_network

    from idrstream.profile.checkpoint import Checkpoint

    state = new_network(3).state_dict()
    write_checkpoint(state, tmp_path / "random.h5")
    checkpoint = Checkpoint.read(tmp_path / "random.h5")
    checkpoint.check(conv_blocks=0, channels=1, feature_layer="pool5")
    written = 0
    with h5py.File(tmp_path / "random.h5") as file:
        for layer in file.attrs["layer_names"]:
            written += sum(file[layer][name].size for name in file[layer].attrs["weight_names"])
    wanted = sum(v.numel() for k, v in state.items() if "_fc" not in k and "num_batches" not in k)
    assert written == wanted


@pytest.mark.models
@needs_deepprofiler
def test_converted_network_equals_deepprofilers_own(tmp_path, scripts):
    import subprocess

    import torch
    from train_profiler import new_network

    from idrstream import models

    torch.manual_seed(0)
    net = new_network(3)
    net.train()
    with torch.no_grad():  # statistics that fit the weights, or everything comes out as zero
        for _ in range(30):
            net.extract_features(torch.rand(8, 1, 64, 64))
    torch.save(net.state_dict(), tmp_path / "random.pt")
    command = [sys.executable, scripts / "convert_profiler.py", tmp_path / "random.pt"]
    command += [models.profiler_config_path(), tmp_path / "random.h5", "--check"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "largest difference" in done.stdout


@pytest.fixture
def nuclei_folder(tmp_path):
    import tifffile

    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :80]
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index in range(8):
        masks = np.zeros((80, 80), np.uint16)
        for number, (cy, cx) in enumerate(((20, 20), (20, 60), (60, 20), (60, 60)), start=1):
            masks[np.hypot(y - cy, x - cx) < 8] = number
        image = 20 * (1 + index // 2) + 100 * (masks > 0) + rng.normal(0, 3, masks.shape)
        tifffile.imwrite(tmp_path / "images" / f"n{index}.tif", image.astype(np.uint8))
        tifffile.imwrite(tmp_path / "masks" / f"n{index}.tif", masks)
    return tmp_path


@pytest.mark.models
def test_split_by_origin_covers_everything_once(nuclei_folder):
    from nuclei_data import list_ids, split_by_origin

    train, held_out = split_by_origin(nuclei_folder, fraction=0.4)
    assert sorted(train + held_out) == list_ids(nuclei_folder)
    assert held_out
    assert not set(train) & set(held_out)


@pytest.mark.models
def test_two_steps_of_the_nuclei_training(nuclei_folder, tmp_path):
    from nuclei_data import list_ids, load
    from train_nuclei import new_network, train

    data = load(nuclei_folder, list_ids(nuclei_folder), tmp_path / "flows")
    assert data[0].diameter_px == pytest.approx(15.5, abs=1)
    options = argparse.Namespace(
        seed=0,
        rate=1e-3,
        warm=0.5,
        decay=0.9,
        every=1,
        steps=2,
        crop=64,
        diameter=24.0,
        minutes=None,
        batch=2,
        until=None,
        bfloat16=False,
    )
    options.out, options.start = tmp_path, None
    train(new_network(), data, data, options)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(np.isfinite(line["validation"]) for line in lines)
    assert (tmp_path / "average.pt").is_file()


@pytest.mark.models
def test_size_fit_recovers_a_line():
    from train_size import fit

    rng = np.random.default_rng(0)
    styles = rng.normal(size=(400, 256)) / 16
    slope = rng.normal(size=256)
    estimator = fit(styles, styles @ slope * 0.2 + 3.0, ridge=1e-6)
    error = np.abs([np.log(estimator.from_style(s)) for s in styles] - (styles @ slope * 0.2 + 3.0))
    assert np.median(error) < 0.02


@pytest.mark.models
def test_learning_rate_rises_then_falls():
    from train_nuclei import one_cycle, progress

    rates = [one_cycle(done, 0.1) for done in np.linspace(0, 0.999, 50)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(1, abs=0.05)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert progress(5, 10, 9.0, 10.0) == 0.9
    assert progress(5, 10, 9.0, None) == 0.5


@pytest.mark.models
def test_small_nuclei_count_more_than_large_ones():
    from nuclei_data import SMALL_MOST, weigh_small

    labels = np.zeros((40, 40), np.int32)
    labels[2:12, 2:12], labels[20:30, 2:12], labels[2:7, 20:25], labels[30, 30] = 1, 2, 3, 5
    weights = weigh_small(labels)
    assert weights.shape == labels.shape
    assert (weights[labels == 0] == 1).all()
    assert (weights[labels == 1] == 1).all()
    # The median of 100, 100, 25 and 1 pixels is 62.5.
    assert weights[4, 22] == pytest.approx((62.5 / 25) ** 0.7)
    assert weights[30, 30] == SMALL_MOST
    assert (weigh_small(np.zeros((5, 5), np.int32)) == 1).all()


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_an_image_without_contrast_is_scaled_as_cellpose_does(model_files, value):
    image = np.full((40, 50), value, np.uint16)
    assert model_files.intensity_percentiles(image) == (1.0, 99.0)
