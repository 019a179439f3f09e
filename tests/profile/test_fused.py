"""The fused network is the plain one: every variant, padding of every kind, and when in doubt."""

from __future__ import annotations

import logging
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from idrstream.profile.torch import efficientnet, fused
from idrstream.profile.torch.efficientnet import build_network
from idrstream.profile.torch.fused import FusedNetwork, fuse

HAS_IT = torch.backends.mkldnn.is_available()
needs_it = pytest.mark.skipif(not HAS_IT, reason="PyTorch without oneDNN")


@pytest.fixture
def make(monkeypatch):
    """Return what builds a network of random weights that keep values alive."""
    rng = np.random.default_rng(0)

    def draw(self, layer, name, shape):
        if name in ("gamma", "moving_variance"):
            return rng.uniform(0.7, 1.5, shape).astype(np.float32)
        if "kernel" not in name:
            return rng.normal(0, 0.1, shape).astype(np.float32)
        inputs = np.prod(shape[:2]) * (1 if name == "depthwise_kernel" else shape[2])
        return rng.normal(0, 0.8 / np.sqrt(inputs), shape).astype(np.float32)

    monkeypatch.setattr(efficientnet._Builder, "_get", draw)
    weights = defaultdict(lambda: {"bias": None})
    checkpoint = SimpleNamespace(path="random.h5", weights=lambda: weights)

    def build(conv_blocks=0, channels=1, box_size=48, feature_layer="pool5"):
        return build_network(
            checkpoint,
            conv_blocks=conv_blocks,
            channels=channels,
            box_size=box_size,
            feature_layer=feature_layer,
        )

    return build


def difference(network, ready, crops):
    with torch.inference_mode():
        wanted, found = network(crops), ready(crops)
    assert found.shape == wanted.shape
    assert found.dtype == torch.float32
    assert wanted.std() > 1e-3
    return float((found - wanted).abs().max() / wanted.abs().max())


@needs_it
@pytest.mark.parametrize("conv_blocks", [0, 1, 2, 3, 4, 5, 6, 7])
def test_every_variant(make, conv_blocks):
    network = make(conv_blocks, channels=2, box_size=32)
    assert difference(network, FusedNetwork(network), torch.rand(1, 2, 32, 32)) < 1e-5


@needs_it
@pytest.mark.parametrize(
    ("box_size", "layer"),
    [(64, "pool5"), (45, "pool5"), (33, "block5c_add"), (50, "block4b_activation"), (7, "stem_bn")],
)
def test_any_box_and_layer(make, box_size, layer):
    network = make(box_size=box_size, feature_layer=layer)
    crops = torch.rand(3, 1, box_size, box_size)
    assert difference(network, FusedNetwork(network), crops) < 1e-5
    with torch.inference_mode():
        half = FusedNetwork(network, torch.bfloat16)(crops)
        wanted = network(crops)
    assert float((half - wanted).norm() / wanted.norm()) < 0.1


@needs_it
def test_it_is_taken_when_it_agrees_and_not_when_it_does_not(make, monkeypatch, caplog):
    network = make()
    assert isinstance(fuse(network, 1, 48, torch.float32), FusedNetwork)

    class Wrong(FusedNetwork):
        def __call__(self, crops):
            return super().__call__(crops) * 1.001

    monkeypatch.setattr(fused, "FusedNetwork", Wrong)
    with caplog.at_level(logging.WARNING):
        assert fuse(network, 1, 48, torch.float32) is network
    assert "other features" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(torch.backends.mkldnn, "is_available", lambda: False),
        lambda patch: patch.setattr(fused, "FusedNetwork", _gone),
    ],
)
def test_the_plain_network_where_this_pytorch_has_it_not(make, monkeypatch, change):
    change(monkeypatch)
    network = make(feature_layer="stem_activation")
    assert fuse(network, 1, 48, torch.float32) is network
    half = fuse(network, 1, 48, torch.bfloat16)
    assert next(half.parameters()).dtype == torch.bfloat16


def _gone(network, precision):
    raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_convolution_pointwise'")
