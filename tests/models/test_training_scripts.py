"""The training scripts of example_files/training: splits, augmentation, conversion, a few steps."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial

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
def test_split_by_movie_keeps_movies_whole_and_holds_every_crop_out_once():
    from cell_data import split_by_movie

    classes, movies = movies_and_classes()
    folds = split_by_movie(classes, movies, 3)
    assert (np.sum(folds, axis=0) == 1).all()
    for held_out in folds:
        assert not set(np.array(movies)[held_out]) & set(np.array(movies)[~held_out])
        for name in set(classes):
            assert 0.2 < held_out[np.array(classes) == name].mean() < 0.5
    np.testing.assert_array_equal(folds, split_by_movie(classes, movies, 3))


@pytest.mark.models
@pytest.mark.parametrize("strength", [1.0, 1.7])
def test_augmented_crops_keep_their_form_and_range(strength):
    import torch
    from cell_data import augment

    crops = torch.rand(9, 1, 64, 64) * 255
    one = augment(crops, torch.Generator().manual_seed(1), strength, 0.5)
    two = augment(crops, torch.Generator().manual_seed(1), strength, 0.5)
    assert one.shape == crops.shape
    assert one.min() >= 0
    assert one.max() <= 1.0001
    assert not torch.allclose(one[0], one[1])
    torch.testing.assert_close(one, two)


@pytest.mark.models
def test_other_surroundings_leave_the_nucleus_alone():
    import torch
    from cell_data import _other_surroundings

    crops = torch.arange(4.0)[:, None, None, None].expand(4, 1, 64, 64)
    changed = _other_surroundings(
        crops, torch.full((4,), 24.0), torch.tensor([True, False, True, True])
    )
    assert changed[:, 0, 32, 32].tolist() == [0, 1, 2, 3]
    assert changed[:, 0, 0, 0].tolist() == [3, 1, 1, 2]


@pytest.mark.models
def test_patches_without_signal_are_left_out_of_some_crops():
    import torch
    from cell_data import _cut_out

    crops = 1 + torch.rand(200, 1, 64, 64)
    crops[:, :, 0, 0] = 0.5
    cut = (_cut_out(crops, torch.Generator().manual_seed(0), 0.25) != crops).sum((1, 2, 3))
    assert 0.15 < (cut > 0).float().mean() < 0.35
    assert cut[cut > 0].min() >= 7 * 7
    assert cut.max() <= 20 * 20


@pytest.mark.models
def test_training_begins_with_the_weights_of_a_network_for_photographs(tmp_path):
    import torch
    from train_profiler import embed, new_network, start_from

    torch.manual_seed(0)
    weights = {k: v.clone() for k, v in new_network(4).state_dict().items() if "_se_" not in k}
    weights["_conv_stem.weight"] = torch.rand(32, 3, 3, 3)
    weights["_fc.weight"], weights["_fc.bias"] = torch.rand(1000, 1280), torch.rand(1000)
    torch.save(weights, tmp_path / "lite0.pth")
    net = new_network(4)
    start_from(net, tmp_path / "lite0.pth")
    stem = weights["_conv_stem.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(net.state_dict()["_conv_stem.weight"], stem)
    head = "_conv_head.weight"
    torch.testing.assert_close(net.state_dict()[head], weights[head])
    gate = torch.sigmoid(net._blocks[3]._se_expand(torch.rand(1, 6, 1, 1)))
    assert gate.min() > 0.95
    assert embed(net, torch.rand(2, 1, 64, 64)).shape == (2, 1280)
    torch.save(net.state_dict(), tmp_path / "own.pt")
    again = new_network(4)
    start_from(again, tmp_path / "own.pt")
    torch.testing.assert_close(again.state_dict(), net.state_dict())


@pytest.mark.models
def test_disagreement_is_the_share_of_variance_between_two_views():
    import torch
    from train_profiler import disagreement

    rng = torch.Generator().manual_seed(0)
    nuclei = torch.randn(400, 30, generator=rng)
    noise = torch.randn(400, 30, generator=rng)
    assert disagreement(torch.cat([nuclei, nuclei])).item() == 0
    assert disagreement(torch.cat([nuclei, noise])).item() == pytest.approx(1, abs=0.05)
    half = torch.cat([nuclei + noise, nuclei - noise])  # as much of the one as of the other
    assert disagreement(half).item() == pytest.approx(1, abs=0.05)
    assert disagreement(torch.cat([nuclei, nuclei + noise / 3])).item() == pytest.approx(
        1 / 9 / 2 / (1 + 1 / 18), abs=0.01
    )


@pytest.mark.models
@pytest.mark.slow
def test_training_by_folds_looks_at_every_movie_but_the_held_out_ones(tmp_path, monkeypatch):
    import imageio.v3 as iio
    import train_profiler

    rng = np.random.default_rng(0)
    for name, level in (("dark", 0), ("light", 120)):
        (tmp_path / "crops" / name).mkdir(parents=True)
        for number in range(12):
            crop = rng.integers(level, level + 100, (64, 64)).astype(np.uint8)
            path = tmp_path / "crops" / name / f"s___P{number % 4}___{number:02d}.png"
            iio.imwrite(path, crop)
    (tmp_path / "held_out.txt").write_text(
        "".join(
            f"{name}/s___P3___{number:02d}.png\n"
            for name in ("dark", "light")
            for number in (3, 7, 11)
        )
    )
    command = ["train_profiler.py", tmp_path / "crops", "--held-out", tmp_path / "held_out.txt"]
    command += ["--epochs", 1, "--batch", 4]
    monkeypatch.setattr(sys, "argv", [str(x) for x in (*command, "--out", tmp_path / "run")])
    train_profiler.main()
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text())
    assert 0 <= line["macro"] <= 1
    assert (tmp_path / "run" / "last.pt").is_file()
    command += ["--folds", 3, "--agree", 1, "--out", tmp_path / "folds"]
    monkeypatch.setattr(sys, "argv", [str(x) for x in command])
    train_profiler.main()
    summary = json.loads((tmp_path / "folds" / "folds.json").read_text())
    assert len(summary["macro_f1_of_folds"]) == 3
    assert np.sum(summary["all"]["confusion"]) == 18  # not the six of the fourth movie


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
@pytest.mark.parametrize("taught", [False, True])
def test_two_steps_of_the_nuclei_training(taught, nuclei_folder, tmp_path):
    import torch
    from nuclei_data import list_ids, load
    from train_nuclei import WIDTHS, load_network, new_network, save, train

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
        workers=0,
        batch=2,
        until=None,
        bfloat16=False,
        dimmed=0.4,
        scales=0.6,
        changed=1.0,
    )
    options.out, options.start, options.taught, options.teacher = tmp_path, None, 0.5, None
    if taught:
        options.teacher = tmp_path / "teacher.pt"
        save(new_network([2, 24, 48, 96, 192]), options.teacher)
        assert load_network(options.teacher).nbase == [2, 24, 48, 96, 192]
    torch.manual_seed(0)
    net = train(new_network(WIDTHS), data, data, options)
    if taught:
        torch.manual_seed(0)
        options.teacher = None
        alone = train(new_network(WIDTHS), data, data, options)
        last = "output.2.weight"
        assert not torch.equal(net.state_dict()[last], alone.state_dict()[last])
        return
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(np.isfinite(line["validation"]) for line in lines)
    assert (tmp_path / "average.pt").is_file()


@pytest.mark.models
def test_crops_are_changed_as_much_as_asked_for(nuclei_folder):
    from nuclei_data import Changes, draw_batch, list_ids, load, sampling_weights

    data = load(nuclei_folder, list_ids(nuclei_folder))

    def crops(changes):
        rng = np.random.default_rng(0)
        return draw_batch(data, sampling_weights(data), 6, rng, 64, 24.0, changes)[0][:, 0]

    unchanged = crops(Changes(dimmed=0, intensities=0))
    levels = [image.image[0] for image in data]
    assert unchanged.min() >= min(0, *(level.min() for level in levels)) - 1e-5
    assert unchanged.max() <= max(level.max() for level in levels) + 1e-5
    assert not np.array_equal(crops(Changes(dimmed=1, intensities=0)), unchanged)
    assert not np.array_equal(crops(Changes(dimmed=0, intensities=1)), unchanged)
    assert not np.array_equal(crops(Changes(dimmed=0, intensities=0, scales=0)), unchanged)


@pytest.mark.models
def test_the_mean_of_networks_is_written_with_statistics_of_its_own(
    nuclei_folder, tmp_path, monkeypatch
):
    import torch
    import train_nuclei
    from train_nuclei import WIDTHS, new_network, save

    for name in ("one", "other"):
        save(new_network(WIDTHS), tmp_path / f"{name}.pt")
    starts = [tmp_path / "one.pt", tmp_path / "other.pt"]
    command = ["train_nuclei.py", nuclei_folder, "--out", tmp_path / "mean", "--steps", 0]
    command += ["--crop", 64, "--batch", 2, "--threads", 1, "--start", *starts]
    monkeypatch.setattr(sys, "argv", [str(x) for x in command])
    few = partial(train_nuclei.split_by_origin, fraction=0.4)  # of so few there is one, too
    monkeypatch.setattr(train_nuclei, "split_by_origin", few)
    train_nuclei.main()
    one, other, mean = (
        torch.load(path, weights_only=True) for path in (*starts, tmp_path / "mean" / "average.pt")
    )
    name = "output.2.weight"
    torch.testing.assert_close(mean[name], (one[name] + other[name]) / 2)
    name = "output.0.running_mean"
    assert not torch.allclose(mean[name], (one[name] + other[name]) / 2)
    save(new_network([2, 8, 16, 32, 64]), tmp_path / "narrow.pt")
    with pytest.raises(SystemExit, match=r"narrow\.pt has other widths than .*one\.pt"):
        train_nuclei.mean_of([starts[0], tmp_path / "narrow.pt"])


@pytest.mark.models
def test_nothing_is_lost_against_a_teacher_that_says_the_same():
    import torch
    from train_nuclei import taught_loss

    targets = np.zeros((1, 4, 8, 8), np.float32)
    said = torch.randn(1, 3, 8, 8)
    said[:, 2] = 40 * said[:, 2].sign()  # sure of each pixel
    assert taught_loss(said, said, targets).item() == pytest.approx(0, abs=1e-3)
    assert taught_loss(said + 1, said, targets).item() == pytest.approx(0.5, abs=0.1)
    heavy = targets.copy()
    heavy[0, 0, 0, 0] = 3  # the pixel of a small nucleus
    off = said.clone()
    off[0, :2, 0, 0] += 2
    assert taught_loss(off, said, heavy) > 2 * taught_loss(off, said, targets)


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
    from nuclei_data import SMALL_EXPONENT, SMALL_MOST, weigh_small

    labels = np.zeros((40, 40), np.int32)
    labels[2:12, 2:12], labels[20:30, 2:12], labels[2:7, 20:25], labels[30, 30] = 1, 2, 3, 5
    weights = weigh_small(labels)
    assert weights.shape == labels.shape
    assert (weights[labels == 0] == 1).all()
    assert (weights[labels == 1] == 1).all()
    # The median of 100, 100, 25 and 1 pixels is 62.5.
    assert weights[4, 22] == pytest.approx((62.5 / 25) ** SMALL_EXPONENT)
    assert weights[30, 30] == SMALL_MOST
    assert (weigh_small(np.zeros((5, 5), np.int32)) == 1).all()


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_an_image_without_contrast_is_scaled_as_cellpose_does(model_files, value):
    image = np.full((40, 50), value, np.uint16)
    assert model_files.intensity_percentiles(image) == (1.0, 99.0)
