"""Train the nuclei model that ships: a Cellpose 3 network of half width, from nothing.

Example: ``python train_nuclei.py DSB2018 --out run --steps 6000``

Another network, of any widths, may teach it: ``--teacher wide/average.pt``. What that one puts out
for a crop, flows and probabilities, is a target then beside what is annotated.

Networks that were trained on from the same weights in different ways have a mean that is better
than each of them: ``--start one/average.pt other/average.pt --steps 0`` writes it.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from cellpose.resnet_torch import CPnet
from nuclei_data import (
    CROP_PX,
    DIAM_MEAN,
    USUAL_CHANGES,
    Changes,
    Labelled,
    draw_batch,
    list_ids,
    load,
    sampling_weights,
    split_by_origin,
)

WIDTHS = [2, 16, 32, 64, 128]
STATISTICS_BATCHES = 60


def new_network(widths: list[int]) -> CPnet:
    """Return an untrained network."""
    net = CPnet(list(widths), 3, sz=3, mkldnn=False, max_pool=True, diam_mean=DIAM_MEAN)
    return net.to(memory_format=torch.channels_last)


def load_network(path: Path) -> CPnet:
    """Return the network of a state dict, which tells its widths."""
    state = torch.load(path, weights_only=True)
    net = new_network(widths_of(state))
    net.load_state_dict(state)
    return net.eval()


def mean_of(paths: list[Path]) -> dict[str, torch.Tensor]:
    """Return the mean of the weights of networks of the same widths, as a state dict.

    Source: Wortsman et al., "Model soups", ICML 2022. Batch statistics of a mean are to be
    measured anew, see `settle_statistics`.
    """
    states = [torch.load(path, weights_only=True) for path in paths]
    for path, state in zip(paths, states, strict=True):
        if widths_of(state) != widths_of(states[0]):
            msg = f"{path} has other widths than {paths[0]}: {widths_of(state)}"
            raise SystemExit(msg)
    mean = states[0]
    for name, value in mean.items():
        if value.dtype.is_floating_point:
            mean[name] = torch.stack([state[name] for state in states]).mean(0)
    return mean


def widths_of(state: dict[str, torch.Tensor]) -> list[int]:
    """Return the channels of the image and of each level of a network, by its state dict."""
    each = (f"downsample.down.res_down_{level}.conv.conv_0.2.weight" for level in range(4))
    return [2, *(len(state[name]) for name in each)]


def weighted_loss(output: torch.Tensor, targets: np.ndarray) -> torch.Tensor:
    """Return Cellpose's loss, with the pixels weighted as the targets say."""
    wanted = torch.from_numpy(targets).to(output.device)
    return _loss(output, 5 * wanted[:, 2:], wanted[:, 1].clamp(0, 1), wanted[:, 0])


def taught_loss(output: torch.Tensor, taught: torch.Tensor, targets: np.ndarray) -> torch.Tensor:
    """Return the same loss against what another network puts out."""
    weights = torch.from_numpy(targets[:, 0]).to(output.device)
    return _loss(output, taught[:, :2], taught[:, 2].sigmoid(), weights)


def _loss(
    output: torch.Tensor, flows: torch.Tensor, nucleus: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    weights = weights.clamp(min=1)
    weights = weights / weights.mean()
    off = (output[:, :2] - flows).square().mean(1)
    unsure = torch.nn.functional.binary_cross_entropy_with_logits(
        output[:, 2], nucleus, reduction="none"
    )
    return ((off / 2 + unsure) * weights).mean()


def update_average(average: CPnet, net: CPnet, decay: float) -> None:
    """Move the averaged weights and batch statistics towards those of ``net``."""
    with torch.no_grad():
        for a, b in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            if a.dtype.is_floating_point:
                a.lerp_(b, 1 - decay)
            else:
                a.copy_(b)


def settle_statistics(
    net: CPnet,
    data: list[Labelled],
    rng: np.random.Generator,
    at: tuple[int, float, Changes],
    size: int,
) -> None:
    """Measure the batch statistics of averaged weights anew, on crops as in training.

    Averages of statistics of changing weights lag, and one odd batch stays in them for long.
    """
    norms = [part for part in net.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    usual = [part.momentum for part in norms]
    for part in norms:
        part.reset_running_stats()
        part.momentum = None  # the plain mean over all batches
    weights = sampling_weights(data)
    net.train()
    with torch.no_grad():
        for _ in range(STATISTICS_BATCHES):
            net(torch.from_numpy(draw_batch(data, weights, size, rng, *at)[0]).to(net.device))
    for part, momentum in zip(norms, usual, strict=True):
        part.momentum = momentum
    net.eval()


def validation_loss(net: CPnet, crops: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the loss on fixed crops."""
    net.eval()
    with torch.no_grad():
        losses = [
            weighted_loss(
                net(torch.from_numpy(crops[0][i : i + 8]).to(net.device))[0], crops[1][i : i + 8]
            ).item()
            for i in range(0, len(crops[0]), 8)
        ]
    return float(np.mean(losses))


def progress(step: int, steps: int, minutes: float, allowed_minutes: float | None) -> float:
    """Return how much of the training is done, 0 to 1, by steps or by the clock."""
    return max(step / steps, minutes / allowed_minutes if allowed_minutes else 0.0)


def one_cycle(done: float, warm: float) -> float:
    """Return the learning rate as part of the highest: a linear rise, then half a cosine."""
    if done < warm:
        return 0.05 + 0.95 * done / warm
    return 0.5 * (1 + np.cos(np.pi * (done - warm) / (1 - warm))) + 1e-3


def save(net: CPnet, path: Path) -> None:
    """Write a state dict so that a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    torch.save({name: value.cpu() for name, value in net.state_dict().items()}, part)
    part.replace(path)


def drawn_at(options: argparse.Namespace) -> tuple[int, float, Changes]:
    """Return how crops are drawn: side, diameter of nuclei, changes."""
    changes = Changes(options.dimmed, options.scales, options.changed)
    return options.crop, options.diameter, changes


class Drawn(torch.utils.data.IterableDataset):
    """Batches without end; each worker draws others."""

    def __init__(
        self, data: list[Labelled], weights: np.ndarray, options: argparse.Namespace
    ) -> None:
        self.data, self.weights, self.options = data, weights, options

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Draw them."""
        worker = torch.utils.data.get_worker_info()
        seed = self.options.seed if worker is None else [self.options.seed, worker.id]
        rng, at = np.random.default_rng(seed), drawn_at(self.options)
        while True:
            yield draw_batch(self.data, self.weights, self.options.batch, rng, *at)


def drawn_batches(
    data: list[Labelled], weights: np.ndarray, options: argparse.Namespace
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Return batches, drawn by processes of their own when there are to be any.

    A GPU wants crops sooner than one processor can draw them.
    """
    return iter(
        torch.utils.data.DataLoader(
            Drawn(data, weights, options),
            batch_size=None,
            num_workers=options.workers,
            collate_fn=lambda batch: batch,
            multiprocessing_context="fork" if options.workers else None,
        )
    )


def train(
    net: CPnet, data: list[Labelled], held_out: list[Labelled], options: argparse.Namespace
) -> CPnet:
    """Train and return the network with averaged weights; checkpoints go to ``options.out``."""
    rng = np.random.default_rng(options.seed)
    weights = sampling_weights(data)
    at = drawn_at(options)
    # Always changed as usual, so that the losses of different trainings can be compared.
    crops = draw_batch(held_out, sampling_weights(held_out), 64, np.random.default_rng(1), *at[:2])
    average = copy.deepcopy(net)
    teacher = load_network(options.teacher).to(net.device) if options.teacher else None
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=1e-4)
    batches = drawn_batches(data, weights, options)
    start, losses = time.time(), []
    for step in range(options.steps):
        done = progress(step, options.steps, (time.time() - start) / 60, options.minutes)
        if done >= 1 or step == options.until:
            break
        for group in optimizer.param_groups:
            group["lr"] = options.rate * one_cycle(done, options.warm)
        net.train()
        images, targets = next(batches)
        # Half precision where the processor has it is three times as fast; the loss is in single.
        with torch.autocast(net.device.type, torch.bfloat16, enabled=options.bfloat16):
            x = torch.from_numpy(images).to(net.device, memory_format=torch.channels_last)
            output = net(x)[0].float()
            if teacher is not None:
                with torch.no_grad():
                    taught = teacher(x)[0].float()
        loss = weighted_loss(output, targets)
        if teacher is not None:
            share = options.taught
            loss = (1 - share) * loss + share * taught_loss(output, taught, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        update_average(
            average,
            net,
            options.decay if options.start else min(options.decay, (step + 1) / (step + 10)),
        )
        losses.append(loss.item())
        if (step + 1) % options.every == 0 or step + 1 == options.steps:
            line = {
                "rate": round(optimizer.param_groups[0]["lr"], 6),
                "step": step + 1,
                "minutes": round((time.time() - start) / 60, 2),
                "loss": round(float(np.mean(losses)), 4),
                "validation": round(validation_loss(average, crops), 4),
            }
            losses = []
            with (options.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            save(average, options.out / "average.pt")
    settle_statistics(average, data, rng, at, 2 * options.batch)
    print(f"validation {validation_loss(average, crops):.4f} with statistics measured anew")
    save(average, options.out / "average.pt")
    return average


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with images/ and masks/")
    parser.add_argument(
        "--simulated", type=Path, help="another such folder, all of it for training"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--until", type=int, help="stop at this step of the schedule")
    parser.add_argument("--minutes", type=float, help="end after this time, whatever the steps")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=CROP_PX, help="side of the crops in pixels")
    parser.add_argument("--diameter", type=float, default=DIAM_MEAN, help="in the crops")
    parser.add_argument("--rate", type=float, default=4e-3, help="highest learning rate")
    parser.add_argument("--warm", type=float, default=0.1, help="part of the steps for warming up")
    parser.add_argument("--decay", type=float, default=0.995, help="of the average of the weights")
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--start", type=Path, nargs="+", help="state dict to start from; of several, their mean"
    )
    parser.add_argument(
        "--dimmed",
        type=float,
        default=USUAL_CHANGES.dimmed,
        help="part of the crops with dimmed nuclei",
    )
    parser.add_argument(
        "--scales", type=float, default=USUAL_CHANGES.scales, help="0.6: 30 percent either way"
    )
    parser.add_argument(
        "--changed",
        type=float,
        default=USUAL_CHANGES.intensities,
        help="part of the crops whose intensities are changed",
    )
    parser.add_argument("--widths", type=int, nargs=4, default=WIDTHS[1:], help="of the levels")
    parser.add_argument("--teacher", type=Path, help="state dict of a network to learn from")
    parser.add_argument("--taught", type=float, default=0.5, help="the teacher's part of the loss")
    parser.add_argument(
        "--bfloat16", action="store_true", help="for processors with AVX512-BF16 or AMX"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw crops")
    options = parser.parse_args()
    if not 0 <= options.taught <= 1:
        parser.error("--taught is a part, 0 to 1")
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    train_ids, validation_ids = split_by_origin(options.data)
    (options.out / "validation.txt").write_text("\n".join(validation_ids) + "\n")
    cache = options.out.parent / "flows"
    data = load(options.data, train_ids, cache, options.workers)
    held_out = load(options.data, validation_ids, cache, options.workers)
    if options.simulated:
        data += load(options.simulated, list_ids(options.simulated), cache, options.workers)
    net = new_network([2, *options.widths])
    if options.start:
        net.load_state_dict(mean_of(options.start))
    net.diam_mean.data.fill_(options.diameter)
    net.diam_labels.data.fill_(options.diameter)
    train(net.to(options.device), data, held_out, options)


if __name__ == "__main__":
    main()
