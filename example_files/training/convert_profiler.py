"""Write the trained EfficientNet as the checkpoint that DeepProfiler 0.5.1 loads by name.

What is written is cut at ``pool5``: an embedding, without the classifier. Convolution weights are
in half precision (Keras casts them to single when it loads them), statistics in single. With
``--check`` DeepProfiler's own model is built, by the Python of ``IDRSTREAM_DEEPPROFILER_PYTHON``,
the file is loaded as its ``profile`` command does, and both networks' features of random crops
are compared.

Example: ``python convert_profiler.py run/best.pt CONFIG.json mitocheck_dna_b0.h5 --check``
"""

from __future__ import annotations

import argparse
import json
import string
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from train_profiler import embed, new_network

from idrstream.profile.deepprofiler.python import deepprofiler_python

REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage of EfficientNet-B0
BATCH_NORM = {
    "gamma:0": "weight",
    "beta:0": "bias",
    "moving_mean:0": "running_mean",
    "moving_variance:0": "running_var",
}


def layer_pairs(state: dict[str, torch.Tensor]) -> Iterator[tuple[str, str]]:
    """Yield each Keras layer with weights and the module of the PyTorch network it comes from."""
    yield from (("stem_conv", "_conv_stem"), ("stem_bn", "_bn0"))
    names = [
        f"block{n}{string.ascii_lowercase[i]}" for n, r in enumerate(REPEATS, 1) for i in range(r)
    ]
    parts = {
        "expand_conv": "_expand_conv",
        "expand_bn": "_bn0",
        "dwconv": "_depthwise_conv",
        "bn": "_bn1",
        "se_reduce": "_se_reduce",
        "se_expand": "_se_expand",
        "project_conv": "_project_conv",
        "project_bn": "_bn2",
    }
    for number, name in enumerate(names):
        for keras_part, part in parts.items():
            module = f"_blocks.{number}.{part}"
            if f"{module}.weight" in state:
                yield f"{name}_{keras_part}", module
    yield from (("top_conv", "_conv_head"), ("top_bn", "_bn1"))


def keras_weights(state: dict[str, torch.Tensor], layer: str, module: str) -> dict[str, np.ndarray]:
    """Return a layer's weights under Keras's names, in Keras's order and axes."""
    if f"{module}.running_mean" in state:
        return {name: state[f"{module}.{own}"].numpy() for name, own in BATCH_NORM.items()}
    kernel = state[f"{module}.weight"].numpy()
    if layer.endswith("dwconv"):
        return {"depthwise_kernel:0": kernel.transpose(2, 3, 0, 1).astype(np.float16)}
    weights = {"kernel:0": kernel.transpose(2, 3, 1, 0).astype(np.float16)}
    if f"{module}.bias" in state:
        weights["bias:0"] = state[f"{module}.bias"].numpy()
    return weights


def write_checkpoint(state: dict[str, torch.Tensor], path: Path) -> None:
    """Write the Keras weights file."""
    layers = {layer: keras_weights(state, layer, module) for layer, module in layer_pairs(state)}
    with h5py.File(path, "w", track_order=False) as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in layers])
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.15.0"
        for layer, weights in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([f"{layer}/{name}".encode() for name in weights])
            for name, values in weights.items():
                group.create_dataset(
                    f"{layer}/{name}", data=np.ascontiguousarray(values), track_times=False
                )


def half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state as it is after the file: convolution weights rounded to half precision."""
    return {k: v.half().float() if v.ndim == 4 else v for k, v in state.items()}


def compare(state: dict[str, torch.Tensor], config: dict, path: Path) -> float:
    """Return the largest difference of the two networks' features, over their spread."""
    box = config["dataset"]["locations"]["box_size"]
    crops = np.random.default_rng(0).random((16, box, box, 1), dtype=np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(config))
        np.save(folder / "crops.npy", crops)
        script = Path(__file__).resolve().with_name("deepprofiler_features.py")
        files = [folder / file for file in ("config.json", "crops.npy", "features.npy")]
        subprocess.run([deepprofiler_python(), "-I", script, path.resolve(), *files], check=True)
        theirs = np.load(folder / "features.npy")
    net = new_network(state["_fc.bias"].numel())
    net.load_state_dict(half(state))
    net.eval()
    with torch.no_grad():
        ours = embed(net, torch.from_numpy(crops.transpose(0, 3, 1, 2).copy())).numpy()
    return float(np.abs(ours - theirs).max() / theirs.std())


def main() -> None:
    """Read the options, convert, and compare when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path, help="state dict of the PyTorch network")
    parser.add_argument("config", type=Path, help="DeepProfiler configuration")
    parser.add_argument("checkpoint", type=Path, help="file to write, .h5")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    state = torch.load(options.weights, weights_only=True)
    write_checkpoint(state, options.checkpoint)
    print(f"{options.checkpoint}: {options.checkpoint.stat().st_size / 1e6:.1f} MB")
    if options.check:
        difference = compare(state, json.loads(options.config.read_text()), options.checkpoint)
        print(f"largest difference to PyTorch: {difference:.2e} of the features' spread")
        if difference > 1e-3:
            raise SystemExit("the converted network is not the same")


if __name__ == "__main__":
    main()
