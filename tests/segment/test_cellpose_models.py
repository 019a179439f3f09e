from __future__ import annotations

import builtins
import io
import logging
import sys
import urllib.error
import urllib.request
from email.message import Message
from types import SimpleNamespace

import numpy as np
import pytest

from idrstream.config import SegmentSettings
from idrstream.errors import ConfigError, MissingToolError
from idrstream.segment.cellpose import models as cellpose_models
from idrstream.segment.cellpose.models import LoadedModel, fetch_built_in, load_model


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(url, timeout):
        assert timeout <= 60
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def answer(monkeypatch, content, length=None):
    class Reply(io.BytesIO):
        headers = Message()

    def opened(url, timeout):
        reply = Reply(content)
        reply.headers = Message()
        reply.headers["Content-Length"] = str(len(content) if length is None else length)
        return reply

    monkeypatch.setattr(urllib.request, "urlopen", opened)


def specs(**values):
    return SegmentSettings(**{"model_type": "nuclei", "gpu": False, **values})


def test_without_internet_the_error_says_what_to_do(models):
    with pytest.raises(MissingToolError) as caught:
        fetch_built_in("nucleitorch_0")
    for part in (
        "nucleitorch_0",
        "https://www.cellpose.org/models",
        "copy it to",
        "CELLPOSE_LOCAL_MODELS_PATH",
        "idrstream-nuclei",
    ):
        assert part in str(caught.value)
    assert list(models.iterdir()) == []


def test_a_file_that_is_there_is_not_fetched(models):
    models.mkdir()
    (models / "cyto3").write_bytes(b"x")
    assert fetch_built_in("cyto3") == models / "cyto3"


def test_a_download_is_kept_whole(models, monkeypatch):
    answer(monkeypatch, b"weights" * 1000)
    assert fetch_built_in("cyto3").read_bytes() == b"weights" * 1000
    assert [path.name for path in models.iterdir()] == ["cyto3"]


def test_a_cut_download_leaves_nothing(models, monkeypatch):
    answer(monkeypatch, b"weights", length=100)
    with pytest.raises(MissingToolError, match="7 of 100 bytes"):
        fetch_built_in("cyto3")
    assert list(models.iterdir()) == []


def test_an_endless_download_is_given_up(monkeypatch):
    monkeypatch.setattr(cellpose_models, "_DOWNLOAD_TIMEOUT_S", -1.0)
    answer(monkeypatch, b"weights")
    with pytest.raises(MissingToolError, match="not finished after"):
        fetch_built_in("cyto3")


class FakeModel:
    device_type = "cpu"
    diam_labels = np.float32(18.5)

    def __init__(self, **options):
        self.options = options
        self.device = SimpleNamespace(type=self.device_type)
        self.prepared = None

    def prepare(self, batch_size, precision):
        self.prepared = batch_size, precision


class FakeSize:
    def __init__(self, cp_model, pretrained_size):
        self.path = pretrained_size
        if "broken" in pretrained_size:
            raise ValueError("no pickle")

    def eval(self, image, channels, batch_size):
        return np.float64(12.5), None


@pytest.fixture
def fake(monkeypatch):
    """Stand-ins for Cellpose and torch, which take seconds to import."""
    cuda = SimpleNamespace(is_available=lambda: False)
    torch = SimpleNamespace(
        cuda=cuda,
        backends=SimpleNamespace(mps=cuda),
        float32="float32",
        bfloat16="bfloat16",
        cpu=SimpleNamespace(get_capabilities=dict),
        ops=SimpleNamespace(mkldnn=SimpleNamespace(_is_mkldnn_bf16_supported=lambda: False)),
    )
    package = SimpleNamespace(CellposeModel=FakeModel, SizeModel=FakeSize)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "cellpose", SimpleNamespace(models=package))
    monkeypatch.setitem(sys.modules, "cellpose.models", package)
    # What a size file may hold has tests of its own: test_size_file.py.
    monkeypatch.setattr(cellpose_models, "check_size_file", lambda path: None)
    pooled = SimpleNamespace(PooledModel=FakeModel)
    monkeypatch.setitem(sys.modules, "idrstream.segment.network.pooled", pooled)
    monkeypatch.setattr(logging.getLogger("cellpose"), "level", logging.NOTSET)
    return SimpleNamespace(torch=torch, package=package, pooled=pooled)


@pytest.mark.parametrize(
    ("name", "files", "diam_mean"),
    [
        ("nuclei", ["nucleitorch_0", "size_nucleitorch_0.npy"], 17.0),
        ("cyto3", ["cyto3", "size_cyto3.npy"], 30.0),
        ("cyto", ["cytotorch_0", "size_cytotorch_0.npy"], 30.0),
    ],
)
def test_built_in_models_with_their_size_models(fake, monkeypatch, models, name, files, diam_mean):
    answer(monkeypatch, b"x")
    loaded = load_model(specs(model_type=name))
    assert sorted(path.name for path in models.iterdir()) == sorted(files)
    assert loaded.model.options == {"gpu": False, "model_type": name, "diam_mean": diam_mean}
    assert loaded.estimator.estimate(np.zeros((3, 3)), loaded.model) == 12.5
    assert loaded.usual_diameter_px == 18.5


def test_no_size_model_is_fetched_when_the_diameter_is_given(fake, monkeypatch, models):
    answer(monkeypatch, b"x")
    assert load_model(specs(diameter=20.0)).estimator is None
    assert [path.name for path in models.iterdir()] == ["nucleitorch_0"]


def test_a_built_in_model_without_a_size_model(fake, monkeypatch):
    answer(monkeypatch, b"x")
    assert load_model(specs(model_type="TN1")).estimator is None


def test_a_model_file_finds_the_size_model_beside_it(fake, tmp_path):
    model = tmp_path / "mine"
    model.touch()
    assert load_model(specs(model_type=str(model))).estimator is None
    beside = tmp_path / "mine_size.npy"
    beside.touch()
    loaded = load_model(specs(model_type=str(model)))
    assert loaded.model.options == {"gpu": False, "pretrained_model": str(model)}
    assert loaded.estimator._size_model.path == str(beside)
    other = tmp_path / "other.npy"
    other.touch()
    loaded = load_model(specs(model_type=str(model), size_model=str(other)))
    assert loaded.estimator._size_model.path == str(other)
    assert load_model(specs(model_type=str(model), diameter=9.0)).estimator is None


def test_a_broken_size_model_is_named(fake, tmp_path):
    model, size = tmp_path / "mine", tmp_path / "broken.npy"
    model.touch()
    with pytest.raises(ConfigError, match=r"size_model .*broken\.npy is not a size model"):
        load_model(specs(model_type=str(model), size_model=str(size)))


def test_a_file_that_is_no_model_is_named(fake, tmp_path, monkeypatch):
    def broken(**options):
        raise KeyError("output.2.weight")

    monkeypatch.setattr(fake.pooled, "PooledModel", broken)
    with pytest.raises(ConfigError, match=r"text\.txt is not a model file of Cellpose 3"):
        load_model(specs(model_type=str(tmp_path / "text.txt")))


def test_a_gpu_is_taken_when_there_is_one(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(fake.torch.cuda, "is_available", lambda: True)
    for wanted, got in (("auto", True), (True, True), (False, False)):
        loaded = load_model(specs(model_type=str(tmp_path), gpu=wanted))
        assert loaded.model.options["gpu"] is got


@pytest.mark.parametrize(
    ("precision", "device", "native", "got"),
    [
        ("auto", "cpu", False, "float32"),
        ("auto", "cpu", True, "bfloat16"),
        ("auto", "cuda", False, "float32"),
        ("auto", "cuda", True, "bfloat16"),
        ("auto", "mps", True, "float32"),
        ("single", "cpu", True, "float32"),
        ("bfloat16", "cuda", True, "bfloat16"),
        ("bfloat16", "cpu", True, "bfloat16"),
    ],
)
def test_the_precision_is_what_the_hardware_computes_in(
    fake, tmp_path, monkeypatch, precision, device, native, got
):
    monkeypatch.setattr(fake.torch.cpu, "get_capabilities", lambda: {"avx512_bf16": native})
    monkeypatch.setattr(
        fake.torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: native,
        raising=False,
    )
    mkldnn = SimpleNamespace(_is_mkldnn_bf16_supported=lambda: native)
    monkeypatch.setattr(fake.torch.ops, "mkldnn", mkldnn)
    monkeypatch.setattr(FakeModel, "device_type", device)
    loaded = load_model(specs(model_type=str(tmp_path), precision=precision, tile_batch_size=5))
    assert loaded.model.prepared == (5, got)


def test_a_gpu_that_is_insisted_on_must_be_there(fake):
    with pytest.raises(MissingToolError, match="gpu is true, but PyTorch sees no GPU"):
        load_model(specs(gpu=True))


def test_cellpose_is_kept_quiet(fake, tmp_path):
    load_model(specs(model_type=str(tmp_path)))
    assert logging.getLogger("cellpose.models").getEffectiveLevel() == logging.ERROR


def test_missing_torch_is_said(monkeypatch):
    real = builtins.__import__

    def without_torch(name, *rest, **more):
        if name == "torch":
            raise ImportError("No module named 'torch'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    with pytest.raises(MissingToolError, match="pip install torch"):
        load_model(specs())


def test_the_shipped_model_comes_with_its_estimator(fake, monkeypatch):
    model, estimator = FakeModel(), object()
    seen = []

    def load_shipped(gpu, network, size):
        seen.append((gpu, network.name, size.name))
        return model, estimator

    monkeypatch.setitem(
        sys.modules,
        "idrstream.segment.cellpose.shipped",
        SimpleNamespace(load_shipped=load_shipped),
    )
    loaded = load_model(specs(model_type="idrstream-nuclei"))
    assert loaded == LoadedModel(model, estimator, 18.5)
    mine = load_model(specs(model_type="models/mine.npz"))
    assert mine == loaded
    assert seen == [
        (False, "nuclei.npz", "nuclei_size.npz"), (False, "mine.npz", "mine_size.npz"),
    ]  # fmt: skip
