"""Train the profiler: an EfficientNet-B0 with one input channel on labelled nuclei.

Example: ``python train_profiler.py MITOCHECK_CELLS --out run --epochs 80``
"""

from __future__ import annotations

import argparse
import copy
import json
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from cell_data import BOX_PX, augment, min_max, read_crops, split_by_movie
from efficientnet_pytorch import EfficientNet
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from torch.nn import functional


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


def embed(net: EfficientNet, crops: torch.Tensor) -> torch.Tensor:
    """Return the pooled features of scaled crops, shape ``(n, 1280)``: DeepProfiler's ``pool5``."""
    return net.extract_features(crops).mean((2, 3))


class Classifier(torch.nn.Module):
    """The network's features and its class scores in one call."""

    def __init__(self, net: EfficientNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Return class scores, shape ``(n, classes)``."""
        return self.net._fc(self.net._dropout(embed(self.net, crops)))


def features_of(net: EfficientNet, crops: torch.Tensor) -> np.ndarray:
    """Return the features of unscaled crops in evaluation mode."""
    net.eval()
    with torch.no_grad():
        return torch.cat([embed(net, min_max(part)) for part in crops.split(64)]).numpy()


def probe(features: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> dict[str, float]:
    """Fit the linear probe on the training movies and return its F1 on the others."""
    scaler = StandardScaler().fit(features[~held_out])
    model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(scaler.transform(features[~held_out]), labels[~held_out])
    guess = model.predict(scaler.transform(features[held_out]))
    return {
        kind: round(float(f1_score(labels[held_out], guess, average=kind)), 4)
        for kind in ("macro", "weighted")
    }


def update_average(average: torch.nn.Module, net: torch.nn.Module, decay: float) -> None:
    """Move the averaged weights and batch statistics towards those of ``net``."""
    with torch.no_grad():
        for a, b in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            if a.dtype.is_floating_point:
                a.lerp_(b, 1 - decay)
            else:
                a.copy_(b)


def train(
    crops: torch.Tensor, labels: np.ndarray, held_out: np.ndarray, options: argparse.Namespace
) -> None:
    """Train; the averaged weights are saved whenever they were probed."""
    rng = np.random.default_rng(options.seed)
    torch_rng = torch.Generator().manual_seed(options.seed)
    n_classes = int(labels.max()) + 1
    net = new_network(n_classes)
    if options.start:
        net.load_state_dict(torch.load(options.start, weights_only=True))
    average = copy.deepcopy(net)
    module = Classifier(net)
    train_index = np.flatnonzero(~held_out)
    chance = 1 / np.sqrt(np.bincount(labels[train_index], minlength=n_classes))[labels[train_index]]
    steps = len(train_index) // options.batch
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=options.rate, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.rate, total_steps=options.epochs * steps, pct_start=0.2
    )
    start, best = time.time(), 0.0
    for epoch in range(1, options.epochs + 1):
        losses = []
        for _ in range(steps):
            net.train()
            picked = rng.choice(train_index, options.batch, p=chance / chance.sum())
            x = augment(crops[picked], torch_rng).to(memory_format=torch.channels_last)
            y = functional.one_hot(torch.from_numpy(labels[picked]), n_classes).float()
            if rng.random() < options.mix:
                share = float(rng.beta(0.4, 0.4))
                x, y = share * x + (1 - share) * x.flip(0), share * y + (1 - share) * y.flip(0)
            loss = functional.cross_entropy(module(x), y, label_smoothing=0.1)
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
            "loss": round(np.mean(losses), 4),
        }
        if epoch % options.every == 0 or epoch == options.epochs:
            line |= probe(features_of(average, crops), labels, held_out)
            torch.save(average.state_dict(), options.out / "last.pt")
            if line["macro"] >= best:
                best = line["macro"]
                torch.save(average.state_dict(), options.out / "best.pt")
        with (options.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with one folder of crops per class")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=4e-3, help="highest learning rate")
    parser.add_argument("--weight-decay", type=float, default=0.03)
    parser.add_argument(
        "--mix", type=float, default=0.3, help="part of the batches that are mixed up"
    )
    parser.add_argument("--decay", type=float, default=0.99, help="of the average of the weights")
    parser.add_argument("--every", type=int, default=5, help="epochs between probes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--start", type=Path, help="state dict to start from")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    crops, classes, movies, names = read_crops(options.data)
    held_out = split_by_movie(classes, movies)
    (options.out / "validation.txt").write_text(
        "".join(f"{n}\n" for n, h in zip(names, held_out, strict=True) if h)
    )
    labels = np.searchsorted(sorted(set(classes)), classes)
    train(torch.from_numpy(crops)[:, None].float(), labels, held_out, options)


if __name__ == "__main__":
    main()
