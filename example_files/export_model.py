"""Write the shipped profiler as a model folder: ``model.pt2`` and ``model.toml``.

``python export_model.py my_model``, then ``engine = "model"`` and ``model_folder = "my_model"`` in
``[profile]`` give the features of ``engine = "torch"``, as ``mitocheck-b0_0`` and so on. For a
network of your own replace `shipped_network`, and what `SPEC` says of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from idrstream import models
from idrstream.profile import DeepModel
from idrstream.profile.checkpoint import Checkpoint
from idrstream.profile.torch.efficientnet import build_network

SPEC = """\
name = "mitocheck-b0"       # columns: mitocheck-b0_0, mitocheck-b0_1 ...
channels = ["DNA"]          # by their names in the stream
box_px = {box_px}                # side of the square cut out around each nucleus
normalisation = "crop"      # each crop from its minimum to its maximum, as DeepProfiler does
"""


def shipped_network() -> tuple[torch.nn.Module, int]:
    """Return the network that ships, and the side of its crops."""
    model = DeepModel.read(models.profiler_config_path(), models.profiler_checkpoint_path())
    config = model.config
    network = build_network(
        Checkpoint.read(model.checkpoint_path),
        conv_blocks=config.conv_blocks,
        channels=len(config.channels),
        box_size=config.box_size,
        feature_layer=config.feature_layer,
    )
    return network.eval(), config.box_size


def export(folder: Path) -> None:
    """Write both files into a folder."""
    network, side = shipped_network()
    folder.mkdir(parents=True, exist_ok=True)
    crops = torch.rand(2, 1, side, side)
    # The first dimension stays free: how many crops come together is the engine's choice.
    any_number = {0: torch.export.Dim("crops")}
    program = torch.export.export(network, (crops,), dynamic_shapes=(any_number,))
    torch.export.save(program, folder / "model.pt2")
    (folder / "model.toml").write_text(SPEC.format(box_px=side), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder to write, made if missing")
    export(parser.parse_args().folder)
