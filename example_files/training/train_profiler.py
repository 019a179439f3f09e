"""Train the profiler: an EfficientNet-B0 with one input channel on labelled nuclei.

Examples::

    python train_profiler.py CROPS --start LITE0.pth --out run
    python train_profiler.py CROPS --start LITE0.pth --out choice --folds 3

The movies of the list ``--held-out`` are never trained on. With ``--folds`` they are not looked at
either: the other movies are split into that many parts, each is guessed by a network trained on the
rest, and ``folds.json`` has the scores. That is where choices are made.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from cell_data import BOX_PX, augment, min_max, split_by_movie
from efficientnet_pytorch import EfficientNet
from torch.nn import functional

from idrstream.evaluate.crops import LabelledCrops, read_crops
from idrstream.evaluate.probe import ProbeResult, pooled, split_probe

HELD_OUT = Path(__file__).resolve().with_name("mitocheck_validation.txt")


def new_network(n_classes: int) -> EfficientNet:
    """Return the untrained network, with batch statistics that follow in tens of steps."""
    net = EfficientNet.from_name(
        "efficientnet-b0",
        in_channels=1,
        num_classes=n_classes,
        image_size=BOX_PX,
        dropout_rate=0.4,
        drop_connect_rate=0.2,
    )
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1
        if isinstance(module, torch.nn.Conv2d) and isinstance(
            module.static_padding, torch.nn.ZeroPad2d
        ):
            left, right, top, bottom = module.static_padding.padding
            if left == right == top == bottom:  # the same result without a copy
                module.padding, module.static_padding = (left, left), torch.nn.Identity()
    net.set_swish(memory_efficient=False)
    return net.to(memory_format=torch.channels_last)


def start_from(net: EfficientNet, path: Path) -> None:
    """Fill the network with weights of this script, or of EfficientNet-Lite0 for photographs.

    Lite0 is B0 without squeeze-and-excitation: its three colours are summed into one, and what it
    does not have begins as a gate that is nearly open.
    """
    weights = torch.load(path, weights_only=True)
    if weights["_conv_stem.weight"].shape[1] == 3:
        weights["_conv_stem.weight"] = weights["_conv_stem.weight"].sum(1, keepdim=True)
        for name, value in net.state_dict().items():
            if "_se_expand" in name:
                weights[name] = torch.full_like(value, 4.0 if name.endswith("bias") else 0.0)
            elif "_se_reduce" in name or name.startswith("_fc"):
                weights[name] = value
    net.load_state_dict(weights)


def embed(net: EfficientNet, crops: torch.Tensor) -> torch.Tensor:
    """Return the pooled features of scaled crops, shape ``(n, 1280)``: DeepProfiler's ``pool5``."""
    return net.extract_features(crops).mean((2, 3))


class Classifier(torch.nn.Module):
    """The network's features and its class scores in one call."""

    def __init__(self, net: EfficientNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return class scores, shape ``(n, classes)``, and features, shape ``(n, 1280)``."""
        features = embed(self.net, crops)
        return self.net._fc(self.net._dropout(features)), features


def features_of(net: EfficientNet, crops: torch.Tensor) -> np.ndarray:
    """Return the features of unscaled crops in evaluation mode."""
    net.eval()
    with torch.no_grad():
        return torch.cat([embed(net, min_max(part)).cpu() for part in crops.split(64)]).numpy()


def disagreement(features: torch.Tensor) -> torch.Tensor:
    """Return the share of the features' variance that lies between two views of one crop.

    The views are the first and the second half of the batch. 0: features do not depend on how a
    nucleus lies and how it was exposed; 1: on nothing else.
    """
    one, other = features.chunk(2)
    return (one - other).square().mean() / (2 * features.var(0).mean() + 1e-6)


def update_average(average: torch.nn.Module, net: torch.nn.Module, decay: float) -> None:
    """Move the averaged weights and batch statistics towards those of ``net``."""
    with torch.no_grad():
        for a, b in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            if a.dtype.is_floating_point:
                a.lerp_(b, 1 - decay)
            else:
                a.copy_(b)


def train(
    data: LabelledCrops, held_out: np.ndarray, out: Path, options: argparse.Namespace
) -> ProbeResult:
    """Train on what is not held out; save the averaged weights, and probe those of the end."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    torch_rng = torch.Generator(options.device).manual_seed(options.seed)
    names, labels = np.unique(data.classes, return_inverse=True)
    crops = torch.from_numpy(data.pixels)[:, None].float().to(options.device)
    net = new_network(len(names))
    if options.start:
        start_from(net, options.start)
    net.to(options.device)
    average = copy.deepcopy(net)
    module = Classifier(net)
    train_index = np.flatnonzero(~held_out)
    chance = 1 / np.sqrt(np.bincount(labels[train_index], minlength=len(names)))
    chance = chance[labels[train_index]]
    steps = options.steps or max(1, len(train_index) // options.batch)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=options.rate, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.rate, total_steps=options.epochs * steps, pct_start=0.2
    )
    start = time.time()
    for epoch in range(1, options.epochs + 1):
        losses = []
        for _ in range(steps):
            net.train()
            views = 2 if options.agree else 1
            picked = rng.choice(train_index, options.batch // views, p=chance / chance.sum())
            picked = np.tile(picked, views)
            x = augment(crops[picked], torch_rng, options.strength, options.surroundings)
            x = x.to(memory_format=torch.channels_last)
            y = functional.one_hot(torch.from_numpy(labels[picked]), len(names)).to(x)
            mixed = rng.random() < options.mix
            if mixed:
                share = float(rng.beta(0.4, 0.4))
                x, y = share * x + (1 - share) * x.flip(0), share * y + (1 - share) * y.flip(0)
            scores, features = module(x)
            loss = functional.cross_entropy(scores, y, label_smoothing=0.1)
            if options.agree and not mixed:
                loss = loss + options.agree * disagreement(features)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            update_average(average, net, options.decay)
            losses.append(loss.item())
        line = {
            "epoch": epoch,
            "minutes": round((time.time() - start) / 60, 2),
            "loss": round(float(np.mean(losses)), 4),
        }
        torch.save({k: v.cpu() for k, v in average.state_dict().items()}, out / "last.pt")
        if epoch == options.epochs or (options.folds and epoch % 5 == 0):
            result = split_probe(features_of(average, crops), data.classes, held_out)
            line |= {"macro": result.macro_f1, "weighted": result.weighted_f1}
        with (out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
    return result


def train_folds(data: LabelledCrops, options: argparse.Namespace) -> None:
    """Train and probe once for each fold; write the score of each and of all guesses together."""
    results = []
    folds = split_by_movie(data.classes, data.groups, options.folds)
    for number, held_out in enumerate(folds, start=1):
        result = train(data, held_out, options.out / f"fold{number}", options)
        results.append(result)
        summary = {
            "options": {k: str(v) for k, v in vars(options).items()},
            "macro_f1_of_folds": [one.macro_f1 for one in results],
            "all": pooled(results).to_json(),
        }
        (options.out / "folds.json").write_text(json.dumps(summary, indent=1) + "\n")


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with one folder of crops per class")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--held-out", type=Path, default=HELD_OUT, help="list of crops")
    parser.add_argument("--folds", type=int, help="choose by this many folds of the other movies")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--steps", type=int, help="batches an epoch; by default as many as the crops fill once"
    )
    parser.add_argument("--rate", type=float, default=1.5e-3, help="highest learning rate")
    parser.add_argument("--weight-decay", type=float, default=0.03)
    parser.add_argument("--strength", type=float, default=1.0, help="of the augmentation")
    parser.add_argument(
        "--surroundings", type=float, default=0.0, help="part with those of another nucleus"
    )
    parser.add_argument(
        "--mix", type=float, default=0.3, help="part of the batches that are mixed up"
    )
    parser.add_argument(
        "--agree", type=float, default=0.0, help="weight of two views' features being the same"
    )
    parser.add_argument("--decay", type=float, default=0.99, help="of the average of the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = read_crops(options.data)
    held_out = data.listed_in(options.held_out.read_text().splitlines())
    if options.folds:
        train_folds(data.take(~held_out), options)
    else:
        train(data, held_out, options.out, options)


if __name__ == "__main__":
    main()
