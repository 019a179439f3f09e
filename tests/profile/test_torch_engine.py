"""The torch engine's own behaviour; that it equals DeepProfiler is in test_deepprofiler_real."""

from __future__ import annotations

import logging
import threading

import h5py
import numpy as np
import pytest
import torch
from objects_at import objects_at
from processor import takes_bfloat16

from idrstream.config import ProfileSettings
from idrstream.errors import ConfigError, ProfileError
from idrstream.profile import DeepModel, DeepProfilerEngine, FeatureEngine, TorchEngine, make_engine
from idrstream.profile.checkpoint import Checkpoint
from idrstream.profile.torch.efficientnet import build_network
from idrstream.records import Frame
from idrstream.testing.engines import FeatureEngineConformance

ONE_CPU = {"profile_device": "cpu"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, trained_checkpoint):
    return trained_checkpoint(tmp_path_factory.mktemp("model") / "trained.h5", 1)


@pytest.fixture(scope="module")
def model(checkpoint, write_config, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "trained.json"
    return DeepModel.read(write_config(path, profile__checkpoint=checkpoint.name), checkpoint)


@pytest.fixture
def engine_of(model):
    def make(kind=TorchEngine, of=model, **options):
        return kind(of, ProfileSettings(profile_device="cpu", **options))

    return make


@pytest.fixture(scope="module")
def cpu(model):
    return TorchEngine(model, ProfileSettings(profile_device="cpu"))


@pytest.fixture
def scenes(make_scene):
    """Frames with 3, 0, 1 and 5 nuclei, and these."""
    made = [make_scene(count, number=n) for n, count in enumerate((3, 0, 1, 5), start=1)]
    return [frame for frame, _ in made], [objects for _, objects in made]


def values(engine, scenes):
    return np.concatenate([found.values for found in engine.profile(*scenes)])


@pytest.fixture(scope="module")
def of_three_channels(tmp_path_factory, trained_checkpoint, write_config):
    folder = tmp_path_factory.mktemp("three")
    checkpoint = trained_checkpoint(folder / "three.h5", 3)
    config = write_config(
        folder / "three.json",
        profile__checkpoint=checkpoint.name,
        dataset__images__channels=["AGP", "DNA", "Mito"],
    )
    model = DeepModel.read(config, checkpoint)
    return TorchEngine(model, ProfileSettings(profile_device="cpu"))


class TestConformance(FeatureEngineConformance):
    @pytest.fixture
    def engine(self, cpu):
        return cpu


class TestConformanceWithThreeChannels(FeatureEngineConformance):
    channels = ("DNA", "ER", "AGP", "Mito")  # one more than the model takes

    @pytest.fixture
    def engine(self, of_three_channels):
        return of_three_channels


class LikeAGpu(TorchEngine):
    """Goes the way of a GPU on the CPU: pooled crops, plain network, memory that runs out."""

    fit, message = 1000, "CUDA out of memory. Tried to allocate"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.calls = []

    def _pools(self, device):
        return True

    def _run(self, device, group):
        self.calls.append(sum(len(crops.points) for crops in group))
        if self.calls[-1] > self.fit:
            raise torch.cuda.OutOfMemoryError(self.message)
        return super()._run(device, group)


def test_the_same_bytes_for_any_threads_and_any_company(engine_of, make_scene):
    """Features of a frame do not depend on threads or on the other frames of a call."""
    engine = engine_of(crops_at_once=8)
    assert isinstance(engine, FeatureEngine)
    before, found = torch.get_num_threads(), []
    try:
        for threads, numbers in ((1, (1, 2, 3)), (2, (1, 2, 3)), (2, (3, 1)), (2, (2,)), (3, (2,))):
            torch.set_num_threads(threads)
            scenes = [make_scene(10 * number, number=number) for number in numbers]
            features = engine.profile(*zip(*scenes, strict=True))
            assert torch.get_num_threads() == threads
            found += zip(numbers, features, strict=True)
    finally:
        torch.set_num_threads(before)
    wanted = dict(found[:3])
    assert [len(features) for features in wanted.values()] == [10, 20, 30]
    assert len(found) == 10
    for number, features in found:
        np.testing.assert_array_equal(features.values, wanted[number].values)


def test_crops_are_pooled_over_frames_and_change_nothing(cpu, engine_of, scenes):
    whole = values(cpu, scenes)
    assert whole.shape == (9, 1280)
    assert len(np.unique(whole, axis=0)) == 9
    for engine, calls in (
        (engine_of(LikeAGpu), [9]),
        (engine_of(LikeAGpu, crops_at_once=2), [2, 2, 2, 2, 1]),
    ):
        found = values(engine, scenes)
        assert engine.calls == calls
        assert np.abs(found - whole).max() < 1e-5 * np.abs(whole).max()


def test_a_crop_of_one_value_has_the_features_of_a_black_one(cpu, make_scene):
    frame, _ = make_scene(1)
    objects = objects_at([(24, 32)], frame.shape)
    black, white = (Frame(np.full_like(frame.pixels, value), 1, frame.task) for value in (0, 200))
    first, second = cpu.profile([black, white], [objects, objects])
    np.testing.assert_allclose(first.values, second.values, atol=1e-5)


def test_a_channel_listed_several_times_is_the_same_image_each(
    tmp_path, trained_checkpoint, write_config, engine_of, make_scene
):
    path = trained_checkpoint(tmp_path / "five.h5", 5)
    config = write_config(
        tmp_path / "five.json", profile__checkpoint=path.name,
        dataset__images__channels=["DNA"] * 5,
    )  # fmt: skip
    engine = engine_of(of=DeepModel.read(config, path))
    frame, objects = make_scene(2, channels=("H2B",))
    (one,) = engine.profile([frame], [objects])
    pixels = np.stack([frame.plane() // 2, frame.plane()])
    two = Frame(pixels, frame.number, frame.task, channels=("ER", "DNA"))
    (other,) = engine.profile([two], [objects])
    assert one.values.shape == (2, 1280)
    np.testing.assert_array_equal(one.values, other.values)


def test_a_channel_that_a_frame_lacks_is_named(engine_of, make_model, make_scene):
    engine = engine_of(of=make_model(dataset__images__channels=["DNA", "ER"]))
    with pytest.raises(ConfigError, match="lists ER, but the frames have DNA, AGP"):
        engine.profile(*zip(make_scene(1, channels=("DNA", "AGP")), strict=True))


def test_out_of_memory_halves_the_group_and_stays_there(cpu, engine_of, scenes, caplog):
    wanted = values(cpu, scenes)
    engine = engine_of(LikeAGpu)
    engine.fit = 2
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            found = values(engine, scenes)
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    first = [9, 4, *[2] * 4, 1]
    assert engine.calls == [*first, *[2] * 4, 1]
    assert "continuing with batches of 4" in caplog.text


def test_out_of_memory_on_a_processor_halves_what_a_thread_takes(
    cpu, engine_of, scenes, monkeypatch
):
    wanted, real, counts = values(cpu, scenes), TorchEngine._run, []

    def run(self, device, group):
        counts.append(sum(len(crops.points) for crops in group))
        if counts[-1] > 2:
            raise MemoryError
        return real(self, device, group)

    monkeypatch.setattr(TorchEngine, "_run", run)
    engine = engine_of()
    found = values(engine, scenes)
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    counts.clear()
    engine.profile(*scenes)
    assert max(counts) <= 2


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("could not create a primitive: std::bad_alloc"),
    ],
)
def test_when_not_one_crop_fits_the_batch_fails(engine_of, scenes, monkeypatch, error):
    def run(*_):
        raise error

    monkeypatch.setattr(TorchEngine, "_run", run)
    with pytest.raises(ProfileError, match="does not hold even one crop"):
        engine_of().profile(*scenes)


def test_from_a_full_gpu_to_the_cpu_and_back_at_the_next_batch(
    engine_of, scenes, monkeypatch, caplog
):
    calls = []

    class OnGpu(TorchEngine):
        def _device(self):
            return torch.device("cuda", 0)

        def _run(self, device, group):
            calls.append(device.type)
            if device.type == "cuda":
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return super()._run(device, group)

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    engine = engine_of(OnGpu)
    assert engine.gpus() == ["cuda:0"]
    engine.profile(*scenes)
    assert calls == ["cuda"] * 4 + ["cpu"] * 3
    assert "these frames on the CPU" in caplog.text
    engine.profile(*scenes)
    assert calls[7:] == ["cuda", *["cpu"] * 3]


def test_another_failure_of_torch_fails_the_batch(engine_of, scenes, monkeypatch):
    def run(*_):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(TorchEngine, "_run", run)
    with pytest.raises(ProfileError, match="PyTorch failed on cpu: CUDA error"):
        engine_of().profile(*scenes)


def test_a_stop_ends_the_batch_and_the_engine_goes_on(engine_of, scenes, monkeypatch):
    real, began, go_on, failures = TorchEngine._run, threading.Event(), threading.Event(), []

    def slow(self, *args):
        began.set()
        assert go_on.wait(20)
        return real(self, *args)

    monkeypatch.setattr(TorchEngine, "_run", slow)
    engine = engine_of(crops_at_once=2)

    def run():
        try:
            engine.profile(*scenes)
        except ProfileError as error:
            failures.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    assert began.wait(20)
    engine.interrupt()
    go_on.set()
    thread.join(20)
    assert failures == ["the profiling was stopped"]
    engine.profile(*scenes)
    engine.close()
    engine.close()


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


def test_what_cannot_be_had_names_the_engine_that_can(
    engine_of, tmp_path, write_config, checkpoint
):
    config = write_config(
        tmp_path / "layer.json",
        profile__checkpoint=checkpoint.name,
        profile__feature_layer="block3a_dwconv",
    )
    model = DeepModel.read(config, checkpoint)
    with pytest.raises(ConfigError, match=r'block3a_dwconv.*engine = "deepprofiler"'):
        engine_of(of=model).load()


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


def test_half_precision_is_near(cpu, engine_of, scenes):
    if not takes_bfloat16():
        pytest.skip("no bfloat16 here")
    wanted = values(cpu, scenes)
    engine = engine_of(profile_precision="bfloat16")
    error = np.linalg.norm(values(engine, scenes) - wanted) / np.linalg.norm(wanted)
    assert 0 < error < 0.1
    assert engine.describe() == {"name": "torch", "precision": "bfloat16"}


def test_a_gpu_that_is_not_there(model):
    with pytest.raises(ConfigError, match="PyTorch sees"):
        TorchEngine(model, ProfileSettings(profile_device="cuda", dp_gpu="99")).load()


def test_by_name_and_by_settings(model, tmp_path):
    def make(settings):
        return make_engine(settings, model, tmp_path)

    assert type(make(ProfileSettings())) is type(make("torch")) is TorchEngine
    assert type(make(ProfileSettings(engine="deepprofiler"))) is DeepProfilerEngine
    assert make(ProfileSettings(dp_gpu="-1")).gpus() == []
    for name in ("jax", "command"):
        known = f"no engine '{name}'; known: torch, deepprofiler, classical, model"
        with pytest.raises(ConfigError, match=known):
            make(name)
    with pytest.raises(ConfigError, match="int cannot be used as FeatureEngine: it has no method"):
        make(3)


def test_an_object_with_one_method_is_an_engine(model, tmp_path, scenes, cpu):
    class Mine:
        def profile(self, frames, objects):
            return cpu.profile(frames, objects)

    engine = make_engine(Mine(), model, tmp_path)
    assert isinstance(engine, FeatureEngine)
    assert engine.disk_bytes(scenes[0][0], scenes[1][0]) == 0
    np.testing.assert_array_equal(values(engine, scenes), values(cpu, scenes))
    engine.close()


def test_one_network_as_long_as_the_model_is_the_same(cpu, scenes):
    cpu.load()
    first = cpu._network[1]
    cpu.profile(*scenes)
    assert cpu._network[1] is first
