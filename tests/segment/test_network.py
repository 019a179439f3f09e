"""The folded network against Cellpose's own, on weights as awkward as training may leave them."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.models


def make_network(widths):
    import torch

    from idrstream.segment.cellpose.shipped import build_network

    torch.manual_seed(1)
    network = build_network(list(widths), 17.0).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 3)
            module.weight.data.normal_(0.8, 0.5)  # some negative, some nearly 0
            module.bias.data.normal_(0, 0.3)
    return network


def tiles(count, height, width):
    import torch

    torch.manual_seed(2)
    values = torch.randn(count, 2, height, width)
    values[:, 1] = 0
    return values


@pytest.fixture(scope="module", params=[(2, 16, 32, 64, 128), (2, 32, 64, 128, 256)])
def network(request):
    return make_network(request.param)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_flows_and_styles_are_cellposes(network, count, fused, monkeypatch):
    import torch

    from idrstream.segment.network.network import FoldedNetwork

    if not fused:  # as on a GPU, or a processor without oneDNN
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    x = tiles(count, 48, 64)
    with torch.no_grad():
        flows, styles, _ = network(x)
    got_flows, got_styles = FoldedNetwork(network)(x)
    scale = flows.abs().max()
    torch.testing.assert_close(got_flows / scale, flows / scale, atol=2e-5, rtol=0)
    torch.testing.assert_close(got_styles, styles, atol=2e-6, rtol=0)


@pytest.mark.skipif("not __import__('processor').takes_bfloat16()", reason="no bfloat16 here")
def test_bfloat16_stays_near(network):
    import torch

    from idrstream.segment.network.network import FoldedNetwork

    x = tiles(1, 64, 64)
    flows, styles = FoldedNetwork(network)(x)
    got_flows, got_styles = FoldedNetwork(network, torch.bfloat16)(x)
    assert got_flows.dtype == got_styles.dtype == torch.float32
    assert float((got_flows - flows).std() / flows.std()) < 0.03
    assert float((got_styles - styles).abs().max()) < 0.01


def test_later_training_does_not_change_it(network):
    import torch

    from idrstream.segment.network.network import FoldedNetwork

    folded = FoldedNetwork(network)
    x = tiles(1, 32, 32)
    before = folded(x)[0].clone()
    saved = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.5)
        for name, buffer in network.named_buffers():
            if name.endswith(("mean", "var")):
                buffer.add_(0.5)
    after = folded(x)[0]
    network.load_state_dict(saved)
    np.testing.assert_array_equal(before.numpy(), after.numpy())
