"""The torch engine's own behaviour; that it equals DeepProfiler is in test_deepprofiler_real."""

from __future__ import annotations

import json
import logging
import threading

import h5py
import numpy as np
import pytest
import torch
from processor import takes_bfloat16

from idrstream.config import ProfileSettings
from idrstream.errors import ConfigError, ProfileError
from idrstream.profile import (
    DeepProfilerEngine,
    DeepProfilerProject,
    Engine,
    TorchEngine,
    make_engine,
)
from idrstream.profile.checkpoint import Checkpoint
from idrstream.profile.torch.efficientnet import build_network
from idrstream.records import Frame, Nuclei


def engine_of(**options):
    return TorchEngine(ProfileSettings(profile_device="cpu", **options))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, trained_checkpoint):
    return trained_checkpoint(tmp_path_factory.mktemp("model") / "trained.h5", 1)


@pytest.fixture
def make(tmp_path, checkpoint, write_config):
    def build(name="project", **changes):
        changes = {"profile__checkpoint": checkpoint.name, **changes}
        config = write_config(tmp_path / f"{name}.json", **changes)
        project = DeepProfilerProject(tmp_path / name, config, checkpoint)
        project.prepare()
        return project

    return build


@pytest.fixture
def filled(make, add):
    project = make()
    for number, count in enumerate((3, 0, 1, 5), start=1):
        add(project, count, number=number)
    return project


def read(project):
    rows = []
    for image in project.images:
        if image.nuclei:
            with np.load(project.features_path(image)) as file:
                rows.append(file["features"])
    return np.concatenate(rows)


@pytest.fixture(scope="module")
def cpu():
    return engine_of()


class LikeAGpu(TorchEngine):
    """Goes the way of a GPU on the CPU: pooled crops, plain network, memory that runs out."""

    def __init__(self, fit=1000, message="CUDA out of memory. Tried to allocate", **options):
        super().__init__(ProfileSettings(profile_device="cpu", **options))
        self.fit, self.message, self.calls = fit, message, []

    def _pools(self, device):
        return True

    def _run(self, project, device, part):
        self.calls.append(sum(len(crops.points) for crops in part))
        if self.calls[-1] > self.fit:
            raise torch.cuda.OutOfMemoryError(self.message)
        return super()._run(project, device, part)


def test_the_same_bytes_for_any_threads_and_any_company(make, add):
    """Features of an image do not depend on threads or on the other images of the batch."""
    engine = engine_of(crops_at_once=8)
    assert isinstance(engine, Engine)
    before, found = torch.get_num_threads(), []
    try:
        for threads, numbers in ((1, (1, 2, 3)), (2, (1, 2, 3)), (2, (3, 1)), (2, (2,)), (3, (2,))):
            torch.set_num_threads(threads)
            project = make(f"{threads} {numbers}")
            for number in numbers:
                add(project, 10 * number, number=number)
            engine.profile(project)
            assert torch.get_num_threads() == threads
            for image in project.images:
                with np.load(project.features_path(image)) as file:
                    found.append((image.frame_number, file["features"]))
    finally:
        torch.set_num_threads(before)
    wanted = dict(found[:3])
    assert [len(features) for features in wanted.values()] == [10, 20, 30]
    assert len(found) == 10
    for number, features in found:
        np.testing.assert_array_equal(features, wanted[number])


def test_batches_are_pooled_over_images_and_change_nothing(cpu, filled):
    cpu.profile(filled)
    whole = read(filled)
    assert whole.shape == (9, 1280)
    assert whole.dtype == np.float32
    assert len(np.unique(whole, axis=0)) == 9
    for engine, calls in ((LikeAGpu(), [9]), (LikeAGpu(crops_at_once=2), [2, 2, 2, 2, 1])):
        engine.profile(filled)
        assert engine.calls == calls
        assert np.abs(read(filled) - whole).max() < 1e-5 * np.abs(whole).max()
    files = [filled.features_path(image).is_file() for image in filled.images]
    assert files == [True, False, True, True]


def test_no_nuclei(cpu, make, add):
    project = make()
    add(project, 0)
    cpu.profile(project)
    assert project.index_path.is_file()


def test_a_crop_of_one_value_has_the_features_of_a_black_one(cpu, make, make_task):
    project = make()
    for number, value in enumerate((0, 200), start=1):
        task = make_task(well_number=number)
        pixels = np.full((project.config.height, project.config.width), value, np.uint8)
        point = np.array([[24.0, 32.0]])
        project.add(Frame(pixels, 1, task), Nuclei(point, None, 1, task, 9.0))
    cpu.profile(project)
    black, white = read(project)
    np.testing.assert_allclose(black, white, atol=1e-5)


def test_several_channels_are_the_same_image_each(tmp_path, trained_checkpoint, write_config, add):
    path = trained_checkpoint(tmp_path / "five.h5", 5)
    config = write_config(
        tmp_path / "five.json",
        profile__checkpoint=path.name,
        dataset__images__channels=["DNA"] * 5,
    )
    project = DeepProfilerProject(tmp_path / "five", config, path)
    project.prepare()
    add(project, 2)
    engine_of().profile(project)
    assert read(project).shape == (2, 1280)


def test_out_of_memory_halves_the_batch_and_stays_there(cpu, filled, caplog):
    cpu.profile(filled)
    wanted = read(filled)
    engine = LikeAGpu(fit=2)
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            engine.profile(filled)
    assert np.abs(read(filled) - wanted).max() < 1e-5 * np.abs(wanted).max()
    first = [9, 4, *[2] * 4, 1]
    assert engine.calls == [*first, *[2] * 4, 1]
    assert "continuing with batches of 4" in caplog.text


def test_out_of_memory_on_a_processor_halves_what_a_thread_takes(cpu, filled, monkeypatch):
    cpu.profile(filled)
    wanted, real, counts = read(filled), TorchEngine._run, []

    def run(self, project, device, part):
        counts.append(sum(len(crops.points) for crops in part))
        if counts[-1] > 2:
            raise MemoryError
        return real(self, project, device, part)

    monkeypatch.setattr(TorchEngine, "_run", run)
    engine = engine_of()
    engine.profile(filled)
    assert np.abs(read(filled) - wanted).max() < 1e-5 * np.abs(wanted).max()
    counts.clear()
    engine.profile(filled)
    assert max(counts) <= 2


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("could not create a primitive: std::bad_alloc"),
    ],
)
def test_when_not_one_crop_fits_the_batch_fails(filled, monkeypatch, error):
    def run(*_):
        raise error

    monkeypatch.setattr(TorchEngine, "_run", run)
    with pytest.raises(ProfileError, match="does not hold even one crop"):
        engine_of().profile(filled)


def test_from_a_full_gpu_to_the_cpu_and_back_at_the_next_batch(filled, monkeypatch, caplog):
    calls = []

    class OnGpu(TorchEngine):
        def _device(self):
            return torch.device("cuda", 0)

        def _run(self, project, device, part):
            calls.append(device.type)
            if device.type == "cuda":
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return super()._run(project, device, part)

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    engine = OnGpu()
    assert engine.gpus() == ["cuda:0"]
    engine.profile(filled)
    assert calls == ["cuda"] * 4 + ["cpu"] * 3
    assert "this batch on the CPU" in caplog.text
    engine.profile(filled)
    assert calls[7:] == ["cuda", *["cpu"] * 3]


def test_another_failure_of_torch_fails_the_batch(filled, monkeypatch):
    def run(*_):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(TorchEngine, "_run", run)
    with pytest.raises(ProfileError, match="PyTorch failed on cpu: CUDA error"):
        engine_of().profile(filled)


def test_a_stop_ends_the_batch_and_the_engine_goes_on(filled, monkeypatch):
    real, began, go_on, failures = TorchEngine._run, threading.Event(), threading.Event(), []

    def slow(self, *args):
        began.set()
        assert go_on.wait(20)
        return real(self, *args)

    monkeypatch.setattr(TorchEngine, "_run", slow)
    engine = engine_of(crops_at_once=2)

    def run():
        try:
            engine.profile(filled)
        except ProfileError as error:
            failures.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    assert began.wait(20)
    engine.interrupt()
    go_on.set()
    thread.join(20)
    assert failures == ["the profiling was stopped"]
    engine.profile(filled)
    engine.close()
    engine.close()


def test_images_and_locations_that_are_gone_fail_the_batch(cpu, filled):
    image = filled.images[0]
    pixels = filled.image_path(image).read_bytes()
    filled.image_path(image).write_bytes(pixels[:20])
    with pytest.raises(ProfileError, match="frame 1 cannot be read"):
        cpu.profile(filled)
    filled.image_path(image).write_bytes(pixels)
    locations = filled.locations_path(image)
    lines = locations.read_text().splitlines(keepends=True)
    locations.write_text("".join(lines[:-1]))
    with pytest.raises(ProfileError, match=r"has 3 nuclei, .* has 2"):
        cpu.profile(filled)
    locations.unlink()
    with pytest.raises(ProfileError, match=r"locations of .* cannot be read"):
        cpu.profile(filled)


@pytest.mark.parametrize(
    ("layer", "width"),
    [("pool5", 1280), ("block2b_add", 24), ("block6a_activation", 672), ("stem_bn", 32),
     ("block3b_drop", 40), ("top_activation", 1280)],
)  # fmt: skip
def test_feature_layers(checkpoint, layer, width):
    network = build_network(
        Checkpoint.read(checkpoint), conv_blocks=0, channels=1, box_size=48, feature_layer=layer
    )
    with torch.inference_mode():
        assert network(torch.rand(2, 1, 48, 48)).shape == (2, width)


def test_what_cannot_be_had_names_the_engine_that_can(make):
    project = make(profile__feature_layer="block3a_dwconv")
    with pytest.raises(ConfigError, match=r'block3a_dwconv.*engine = "deepprofiler"'):
        engine_of().load(project)


def test_weights_that_do_not_fit_are_named(tmp_path, checkpoint):
    path = tmp_path / "broken.h5"
    path.write_bytes(checkpoint.read_bytes())
    options = {"conv_blocks": 0, "channels": 1, "box_size": 32, "feature_layer": "pool5"}
    with h5py.File(path, "r+") as file:
        del file["block2a_bn/block2a_bn/gamma:0"]
        file["block2a_bn/block2a_bn/gamma:0"] = np.ones(5, np.float32)
    with pytest.raises(ConfigError, match=r"shape \(5,\) of weights block2a_bn/gamma.*\(96,\)"):
        build_network(Checkpoint.read(path), **options)
    with pytest.raises(ConfigError, match="stem_conv/kernel"):
        build_network(Checkpoint.read(checkpoint), **{**options, "channels": 3})


def test_half_precision_is_near(cpu, filled):
    if not takes_bfloat16():
        pytest.skip("no bfloat16 here")
    cpu.profile(filled)
    wanted = read(filled)
    engine = engine_of(profile_precision="bfloat16")
    engine.profile(filled)
    error = np.linalg.norm(read(filled) - wanted) / np.linalg.norm(wanted)
    assert 0 < error < 0.1
    assert engine.describe() == {"name": "torch", "precision": "bfloat16"}


def test_a_gpu_that_is_not_there(filled):
    with pytest.raises(ConfigError, match="PyTorch sees"):
        TorchEngine(ProfileSettings(profile_device="cuda", dp_gpu="99")).load(filled)


def test_by_name_and_by_settings():
    assert type(make_engine()) is type(make_engine("torch")) is TorchEngine
    assert type(make_engine(ProfileSettings(engine="deepprofiler"))) is DeepProfilerEngine
    assert make_engine(ProfileSettings(dp_gpu="-1")).gpus() == []
    for name in ("jax", "command"):
        with pytest.raises(ConfigError, match="engine: Input should be 'torch' or 'deepprofiler'"):
            make_engine(name)
    with pytest.raises(ConfigError, match="int cannot be used as Engine: it has no method profile"):
        make_engine(3)


def test_one_network_for_projects_that_are_alike(cpu, make, filled, add):
    cpu.load(filled)
    first = cpu._network[1]
    sibling = make("other")
    add(sibling, 2)
    cpu.profile(sibling)
    assert cpu._network[1] is first
    assert json.loads(sibling.config.path.read_text())["profile"]["batch_size"] == 8
    cpu.profile(make("bigger", dataset__locations__box_size=48))
