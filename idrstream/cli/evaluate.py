"""The command ``idrstream evaluate``: measure models on labelled data of your own."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.cli.options import add_section_options, as_file, as_folder, given_options
from idrstream.cli.parser import Parser
from idrstream.cli.terminal import say
from idrstream.config import SegmentSettings, checked
from idrstream.errors import ConfigError, StorageError
from idrstream.files import atomic_path
from idrstream.workers.threads import all_processors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from idrstream.evaluate.crops import LabelledCrops
    from idrstream.evaluate.probe import ProbeResult
    from idrstream.evaluate.segmentation import SegmentationResult


def add_arguments(parser: Parser) -> None:
    """Add what can be evaluated, and the options of each, to the subcommand's parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of ``idrstream evaluate``.
    """
    kinds = parser.add_subparsers(dest="evaluation", metavar="WHAT", required=True)
    _add_segmentation(
        kinds.add_parser("segmentation", help="masks against true masks: average precision")
    )
    _add_features(
        kinds.add_parser("features", help="features of cells of known class: a linear probe")
    )


def handle(namespace: argparse.Namespace) -> int:
    """Run what was chosen and return the exit status, 0.

    Raises
    ------
    idrstream.errors.IdrStreamError
        When an input is wrong or a model fails.
    """
    if namespace.evaluation == "segmentation":
        return evaluate_segmentation_command(namespace)
    return evaluate_features_command(namespace)


def _add_segmentation(parser: Parser) -> None:
    parser.add_argument("images", type=as_folder, help="folder of grey images (TIFF, PNG)")
    parser.add_argument("masks", type=as_folder, help="folder of label images of the same names")
    parser.add_argument("--model", dest="model_type", help="the same as --model-type")
    parser.add_argument("--only", type=as_file, help="file with names of images to use, one a line")
    parser.add_argument("--json", type=as_file, help="also write everything to this file")
    parser.usage = "%(prog)s IMAGES MASKS [options]"
    shown = ("model_type", "diameter", "flow_threshold", "cellprob_threshold", "gpu")
    add_section_options(parser, "segment", shown=shown)


def _add_features(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("crops", type=as_folder, help="folder with one folder of crops per class")
    parser.add_argument("--checkpoint", type=as_file, help="DeepProfiler checkpoint [shipped]")
    parser.add_argument("--config", type=as_file, help="its configuration [shipped]")
    parser.add_argument(
        "--group-by",
        choices=("movie", "screen", "none"),
        default="movie",
        help="what is never on both sides of a split [movie]",
    )
    sides = parser.add_mutually_exclusive_group()
    sides.add_argument(
        "--only",
        type=as_file,
        help="file with the crops to guess, one <class>/<name> a line; the probe learns from the "
        "others (default: five folds)",
    )
    sides.add_argument(
        "--fit-on", type=as_folder, help="folder of crops to learn from; all of CROPS are guessed"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the five folds [0]")
    parser.add_argument("--no-baseline", action="store_true", help="without classical features")
    parser.add_argument("--picture", type=as_file, help="draw the confusion matrix into this file")
    parser.add_argument("--json", type=as_file, help="also write everything to this file")


def evaluate_segmentation_command(namespace: argparse.Namespace) -> int:
    """Run ``idrstream evaluate segmentation``, with the options and defaults of a stream."""
    from idrstream.evaluate.segmentation import evaluate_segmentation, find_pairs
    from idrstream.segment import CellPoseSegmentor

    settings = checked(SegmentSettings, given_options(namespace), "the command line")
    pairs = find_pairs(namespace.images, namespace.masks, _read_list(namespace.only))
    result = evaluate_segmentation(
        CellPoseSegmentor(settings),
        pairs,
        drop_edge=settings.remove_edge_masks,
        threads=settings.threads or all_processors(),
    )
    say(segmentation_text(result))
    _write_json(namespace.json, result.to_json())
    return 0


def segmentation_text(result: SegmentationResult) -> str:
    """Return the result as a table for people: one line per image size, then all."""
    head = f"{'size (y x)':>12} {'images':>7} {'true':>7} {'found':>7}"
    head += f" {'AP@0.5':>7} {'AP@0.75':>8} {'AP@0.9':>7} {'centroid error px':>18}\n"
    lines = [head]
    groups = {f"{y} x {x}": part for (y, x), part in result.by_size().items()}
    for name, part in [*groups.items(), ("all", result)]:
        summary = part.to_json()
        precision = summary["average_precision"]
        error = summary["centroid_error_px"]["median"]
        lines.append(
            f"{name:>12} {summary['n_images']:>7} {summary['n_true']:>7} {summary['n_found']:>7}"
            f" {precision[0]:>7.3f} {precision[1]:>8.3f} {precision[2]:>7.3f}"
            f" {'-' if error is None else f'{error:.2f}':>18}\n"
        )
    pooled = ", ".join(f"{value:.3f}" for value in result.pooled_average_precision())
    lines.append(
        "AP is TP / (TP + FP + FN), the mean over images; over all nuclei together it is "
        f"{pooled}.\n"
    )
    return "".join(lines)


def evaluate_features_command(namespace: argparse.Namespace) -> int:
    """Run ``idrstream evaluate features``."""
    import numpy as np

    from idrstream import models
    from idrstream.evaluate.classical import classical_features
    from idrstream.evaluate.deepfeatures import deep_features

    checkpoint = namespace.checkpoint or models.profiler_checkpoint_path()
    config = namespace.config or models.profiler_config_path()
    crops, held_out = _crops_and_sides(namespace)
    deep = deep_features(crops.pixels, checkpoint, config)
    features = {checkpoint.name: deep}
    if not namespace.no_baseline:
        classical = classical_features(crops.pixels)
        features |= {"classical features": classical, "both": np.hstack([deep, classical])}
    results = {
        name: _probe(values, crops, held_out, namespace.seed) for name, values in features.items()
    }
    say(features_text(results))
    if namespace.picture:
        from idrstream.evaluate.picture import draw_confusion

        shown = results[checkpoint.name]
        title = f"{checkpoint.name}: macro-F1 {shown.macro_f1:.3f}"
        draw_confusion(shown, namespace.picture, title)
    _write_json(namespace.json, {name: result.to_json() for name, result in results.items()})
    return 0


def features_text(results: dict[str, ProbeResult]) -> str:
    """Return the results as tables for people."""
    lines = [f"{'features':<28} {'cells':>6} {'macro-F1':>9} {'weighted F1':>12}\n"]
    for name, result in results.items():
        cells = int(result.confusion.sum())
        lines.append(f"{name:<28} {cells:>6} {result.macro_f1:>9.3f} {result.weighted_f1:>12.3f}\n")
    name, result = next(iter(results.items()))
    lines.append(f"F1 of each class, {name}:\n")
    counts = result.confusion.sum(axis=1)
    for (label, score), count in zip(result.class_f1().items(), counts, strict=True):
        lines.append(f"  {label:<26} {count:>6} {score:>9.3f}\n")
    return "".join(lines)


def _crops_and_sides(
    namespace: argparse.Namespace,
) -> tuple[LabelledCrops, NDArray[np.bool_] | None]:
    import numpy as np

    from idrstream.evaluate.crops import LabelledCrops, read_crops

    crops = read_crops(namespace.crops, namespace.group_by)
    if namespace.only:
        held_out = crops.listed_in(_read_list(namespace.only) or [])
        both = {g for g, h in zip(crops.groups, held_out, strict=True) if h}
        both &= {g for g, h in zip(crops.groups, held_out, strict=True) if not h}
        if both:
            raise ConfigError(
                f"{namespace.only} lists only some of the crops of {len(both)} groups, such as "
                f"{min(both)}; list all of them, or use --group-by none"
            )
        return crops, held_out
    if namespace.fit_on:
        known = read_crops(namespace.fit_on, namespace.group_by)
        if known.pixels.shape[1:] != crops.pixels.shape[1:]:
            raise ConfigError(
                f"the crops of {namespace.fit_on} and {namespace.crops} differ in size"
            )
        both_sides = LabelledCrops(
            np.concatenate([known.pixels, crops.pixels]),
            known.classes + crops.classes,
            known.groups + crops.groups,
            known.names + crops.names,
        )
        return both_sides, np.arange(len(both_sides)) >= len(known)
    return crops, None


def _probe(
    features: NDArray[Any], crops: LabelledCrops, held_out: NDArray[np.bool_] | None, seed: int
) -> ProbeResult:
    from idrstream.evaluate.probe import grouped_probe, split_probe

    if held_out is None:
        return grouped_probe(features, crops.classes, crops.groups, seed)
    return split_probe(features, crops.classes, held_out)


def _read_list(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        return [
            line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
        ]
    except OSError as error:
        raise ConfigError(f"the list {path} cannot be read: {error}") from error


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is None:
        return
    try:
        with atomic_path(path, or_device=True) as part:
            part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
