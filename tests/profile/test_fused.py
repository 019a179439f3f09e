"""The profiler's network with its convolutions fused."""

import logging
from types import SimpleNamespace

import pytest
import torch
from processor import takes_bfloat16
from torch import nn

from idrstream import models
from idrstream.profile import DeepModel
from idrstream.profile.checkpoint import Checkpoint
from idrstream.profile.torch import fused as module
from idrstream.profile.torch.efficientnet import SameConv, build_network
from idrstream.profile.torch.fused import FusedConv, fused

SIDE = 64


@pytest.fixture
def network() -> nn.Module:
    model = DeepModel.read(models.profiler_config_path(), models.profiler_checkpoint_path())
    return build_network(
        Checkpoint.read(model.checkpoint_path),
        conv_blocks=model.config.conv_blocks,
        channels=1,
        box_size=SIDE,
        feature_layer=model.config.feature_layer,
    )


@pytest.fixture
def crops() -> torch.Tensor:
    crops = torch.rand(40, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return crops.contiguous(memory_format=torch.channels_last)


def run(network: nn.Module, crops: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        features: torch.Tensor = network(crops)
    return features


def test_features_differ_by_rounding_from_those_of_the_plain_network(network, crops) -> None:
    wanted, found = run(network, crops), run(fused(network, 1, SIDE), crops)
    assert (found - wanted).abs().max() < 2e-5 * wanted.abs().max()


@pytest.mark.skipif(not takes_bfloat16(), reason="this processor has no bfloat16")
def test_in_bfloat16_they_differ_as_its_rounding_does(network, crops) -> None:
    wanted = run(network, crops)
    found = run(fused(network.to(torch.bfloat16), 1, SIDE), crops.bfloat16())
    assert (found - wanted).abs().max() < 0.1 * wanted.abs().max()


def test_every_convolution_is_fused(network) -> None:
    kinds = [type(layer) for layer in fused(network, 1, SIDE).modules()]
    assert kinds.count(FusedConv) == 49
    assert nn.SiLU not in kinds
    assert SameConv not in kinds


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 2, 8), (5, 2, 9), (3, 1, 7), (1, 1, 4)])
@pytest.mark.parametrize("groups", [1, 6])
def test_padding_of_any_kind(kernel, stride, side, groups) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(12, 6 // groups, kernel, kernel, generator=generator).numpy()
    conv = SameConv(weight, torch.arange(12.0).numpy(), side, stride=stride, groups=groups)
    x = torch.rand(2, 6, side, side, generator=generator)
    wanted = nn.functional.silu(run(conv, x))
    torch.testing.assert_close(run(FusedConv(conv, swish=True), x), wanted, rtol=1e-5, atol=1e-5)


def test_where_pytorch_lacks_the_operators_the_network_stays_plain(network, monkeypatch) -> None:
    monkeypatch.setattr(module.torch.ops, "mkldnn", SimpleNamespace())
    assert fused(network, 1, SIDE) is network


@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_where_they_give_something_else_the_network_stays_plain(
    network, monkeypatch, caplog: pytest.LogCaptureFixture, factor: float
) -> None:
    run_fused = FusedConv.forward
    monkeypatch.setattr(FusedConv, "forward", lambda conv, x: factor * run_fused(conv, x))
    with caplog.at_level(logging.WARNING):
        assert fused(network, 1, SIDE) is network
    assert "other features" in caplog.text
