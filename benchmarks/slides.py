"""Large images by tiles: agreement with the whole, seams, memory, bytes read, and Cellpose's ways.

    python benchmarks/slides.py make SLIDE.ome.tif --height 5000 --width 5000 [--channels 40]
    python benchmarks/slides.py accuracy --side 2304 --tile-px 1056
    python benchmarks/slides.py run SLIDE.ome.tif OUT [--tile-px 3104]
    python benchmarks/slides.py cellpose SLIDE.ome.tif [--distributed]
    python benchmarks/slides.py seams SLIDE.ome.tif OUT

`accuracy` compares a slide that fits in memory with its truth and with the untiled result. `run`
streams a slide in a process of its own and prints wall time, peak memory, bytes read and how the
tiles agree. `cellpose` does the same slide the ways that Cellpose itself has, with the same model
and diameter: its command's `eval` on the whole image, or `contrib.distributed_segmentation`, which
needs zarr 2.18, dask 2024.12, dask-image 2024.5 and dask-jobqueue. `seams` compares the label image
of `run` with the truth.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from _common import machine, versions
from numpy.typing import NDArray

from idrstream.config import SegmentSettings
from idrstream.download.ranges.local import LocalFile
from idrstream.formats.large.image import LargeImage
from idrstream.formats.large.tiff import open_tiff
from idrstream.records import Box, Frame, ImageTask, Tile
from idrstream.segment import CellPoseSegmentor
from idrstream.simulate.slide import SlideSpec, slide_region, write_slide
from idrstream.tiles.grid import OVERLAP_PX, SIDE_PX, Grid
from idrstream.tiles.own import own_objects
from idrstream.tiles.table import cut_image

Labels = NDArray[np.integer[Any]]
_HEAD_BYTES = 1 << 16
_BLOCK_PX = 2048  # of Cellpose's distributed_segmentation
_CHILDREN = resource.RUSAGE_CHILDREN


def opened(path: Path) -> LargeImage:
    """Open a slide."""
    return open_tiff(LocalFile(path, _HEAD_BYTES), str(path))


def spec_of(path: Path) -> SlideSpec:
    """Return the specification that `make` wrote beside a slide."""
    return SlideSpec(**json.loads(path.with_suffix(".json").read_text()))


def make(options: argparse.Namespace) -> None:
    """Write a slide."""
    spec = SlideSpec(
        options.height, options.width, channels=options.channels, seed=options.seed,
        empty=options.empty, density=options.density,
    )  # fmt: skip
    started = time.monotonic()
    write_slide(options.slide, spec)
    options.slide.with_suffix(".json").write_text(
        json.dumps({name: getattr(spec, name) for name in spec.__slots__})
    )
    size = options.slide.stat().st_size / 1e6
    print(f"{options.slide}: {size:,.0f} MB in {time.monotonic() - started:.0f} s")


def accuracy(options: argparse.Namespace) -> None:
    """Compare tiled, untiled and truth on a slide that fits in memory."""
    with tempfile.TemporaryDirectory() as folder:
        spec = SlideSpec(options.side, options.side, seed=options.seed, empty=options.empty)
        image = opened(write_slide(Path(folder) / "a.ome.tif", spec))
        whole = Box(0, 0, *image.info.shape)
        _, truth = slide_region(spec, whole)
        segmentor = CellPoseSegmentor(
            SegmentSettings(diameter=options.diameter, remove_edge_masks=False)
        )
        tiles = cut_image(
            image, 0, segmentor.whole_image, side_px=options.tile_px,
            overlap_px=options.tile_overlap_px,
        )  # fmt: skip
        started = time.monotonic()
        tiled, seams = by_tiles(image, segmentor, tiles)
        print(f"tiled: {len(tiles)} tiles, {time.monotonic() - started:.0f} s")
        (tile,) = cut_image(image, 0, segmentor.whole_image, side_px=2 * options.side)
        started = time.monotonic()
        untiled, _ = by_tiles(image, segmentor, [tile])
        print(f"untiled: {time.monotonic() - started:.0f} s, diameter {tile.diameter_px:.2f} px")
        frame, diameter_px = segmentor.masks(image.read([0], whole)[0])
        print(f"as a frame, whose windows lie elsewhere: diameter {diameter_px:.2f} px")
    report("tiled against untiled", tiled, untiled)
    report("tiled against a frame", tiled, frame)
    report("tiled against truth", tiled, truth)
    report("untiled against truth", untiled, truth)
    band = seams_of(tiles, options.band_px, truth.shape)
    for name, labels in (("tiled", tiled), ("untiled", untiled)):
        inside, outside = (f1_where(labels, truth, where, 0.5) for where in (band, ~band))
        print(f"{name}: F1 at IoU 0.5 in the seam band {inside:.4f}, elsewhere {outside:.4f}")
    split, merged = parts(overlaps(np.where(band, tiled, 0), np.where(band, untiled, 0)))
    print(f"in the seam band against untiled: {split} split, {merged} merged")
    print(f"seams: {seams}")


def by_tiles(
    image: LargeImage, segmentor: CellPoseSegmentor, tiles: list[Tile]
) -> tuple[Labels, object]:
    """Segment a slide by tiles; return the label image and how the tiles agree."""
    from idrstream.preprocess.tiles import alone_in
    from idrstream.quality.tiles import seen_in
    from idrstream.tiles.seams import check_seams

    labels = np.zeros(image.info.shape, np.int64)
    task, seen = ImageTask("P", "A1", 1, (1,)), []
    for tile in tiles:
        pixels = image.read([0], tile.region, alone_in(tile))
        frame = Frame(pixels, tile.number, task, tile=tile)
        objects = own_objects(segmentor.segment(frame), tile)
        seen.append(seen_in(frame, objects))
        there = labels[tile.region.slices]
        numbers = np.where(
            objects.labels > 0, objects.labels.astype(np.int64) + tile.first_label, 0
        )
        np.maximum(there, numbers, out=there)
    return labels, check_seams(seen)


def report(name: str, one: Labels, other: Labels) -> None:
    """Print how two label images agree."""
    pairs = overlaps(one, other)
    values = {limit: f1(pairs, limit) for limit in (0.5, 0.75, 0.9)}
    count = [len(np.unique(of)) - 1 for of in (one, other)]
    split, merged = parts(pairs)
    print(
        f"{name}: {count[0]} and {count[1]} objects, F1 "
        + ", ".join(f"{value:.4f} at IoU {limit}" for limit, value in values.items())
        + f"; {split} split, {merged} merged"
    )


def overlaps(one: Labels, other: Labels) -> dict[str, Any]:
    """Return the common pixels of the objects of two images, and their sizes."""
    a, ai = np.unique(one, return_inverse=True)
    b, bi = np.unique(other, return_inverse=True)
    both = ai.ravel().astype(np.int64) * len(b) + bi.ravel()
    keys, counts = np.unique(both, return_counts=True)
    i, j = np.divmod(keys, len(b))
    sizes = np.bincount(ai.ravel()), np.bincount(bi.ravel())
    keep = (a[i] > 0) & (b[j] > 0)
    i, j, counts = i[keep], j[keep], counts[keep]
    iou = counts / (sizes[0][i] + sizes[1][j] - counts)
    return {
        "a": a[i], "b": b[j], "iou": iou, "common": counts, "size_a": sizes[0][i],
        "size_b": sizes[1][j], "n": (int((a > 0).sum()), int((b > 0).sum())),
    }  # fmt: skip


def f1(pairs: dict[str, Any], limit: float) -> float:
    """Return F1 of matching at an IoU of 0.5 or more, where each object has one partner."""
    matched = int((pairs["iou"] >= limit).sum() if limit > 0.5 else (pairs["iou"] > 0.5).sum())
    return 2 * matched / max(1, sum(pairs["n"]))


def parts(pairs: dict[str, Any]) -> tuple[int, int]:
    """Return objects of the second image in two or more of the first, and the other way round."""
    half_of_a = pairs["common"] > 0.5 * pairs["size_a"]
    half_of_b = pairs["common"] > 0.5 * pairs["size_b"]
    split = np.unique(pairs["b"][half_of_a], return_counts=True)[1]
    merged = np.unique(pairs["a"][half_of_b], return_counts=True)[1]
    return int((split > 1).sum()), int((merged > 1).sum())


def seams_of(tiles: list[Tile], band_px: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which pixels lie near a border between the cores of two tiles."""
    band = np.zeros(shape, np.bool_)
    for tile in tiles:
        top, left, _, _ = tile.core
        if top:
            band[max(0, top - band_px) : top + band_px] = True
        if left:
            band[:, max(0, left - band_px) : left + band_px] = True
    return band


def f1_where(labels: Labels, truth: Labels, where: NDArray[np.bool_], limit: float) -> float:
    """Return F1 of the objects of either image whose centre lies in a part of it."""
    from scipy import ndimage

    pairs = overlaps(labels, truth)

    def there(of: Labels) -> set[int]:
        numbers = np.unique(of)[1:]
        centres = np.array(ndimage.center_of_mass(of > 0, of, numbers)).reshape(-1, 2)
        inside = where[tuple(np.rint(centres).astype(int).T)]
        return set(numbers[inside].tolist())

    mine, true = there(labels), there(truth)
    good = pairs["iou"] > limit
    matched_a = sum(int(a) in mine for a in pairs["a"][good])
    matched_b = sum(int(b) in true for b in pairs["b"][good])
    return (matched_a + matched_b) / max(1, len(mine) + len(true))


def run(options: argparse.Namespace) -> None:
    """Stream a slide in a process of its own and print what it took."""
    from idrstream.quality.tiles import read_seen
    from idrstream.tiles.seams import check_seams

    command = [
        sys.executable, "-m", "idrstream", "segment", str(options.slide), "--channel", "DNA",
        "--out", str(options.out), "--tile-px", str(options.tile_px), "--progress", "false",
        "--profile", str(options.out.with_suffix(".steps.csv")), *options.more,
    ]  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    print(
        f"exit {os.waitstatus_to_exitcode(status)}, {seconds:.0f} s, "
        f"{usage.ru_utime + usage.ru_stime:.0f} s of processor, "
        f"peak memory {usage.ru_maxrss / 1024:,.0f} MiB"
    )
    numbers = [int(p.name.split("_")[1].split(".")[0]) for p in options.out.glob("qc/batch_*.csv")]
    tiles = [tile for number in sorted(numbers) for tile in read_seen(options.out, number)]
    check = check_seams(tiles)
    print(f"seams: {check}")
    spec = spec_of(options.slide)
    keep(
        options.json,
        {
            "command": " ".join(command[2:]), "slide": asdict(spec), "seconds": seconds,
            "processor_seconds": usage.ru_utime + usage.ru_stime,
            "peak_mib": usage.ru_maxrss / 1024, "tiles": len(tiles), "objects": check.objects,
            "seams": {name: getattr(check, name) for name in check.__slots__},
            "file_bytes": options.slide.stat().st_size,
            "steps": steps_of(options.out.with_suffix(".steps.csv")),
        },
    )  # fmt: skip


def steps_of(path: Path) -> dict[str, dict[str, float]]:
    """Return calls, seconds, peak memory and bytes read of each step that `--profile` wrote."""
    import pandas as pd

    found = {}
    for name, calls in pd.read_csv(path).groupby("step", sort=False):
        found[str(name)] = {
            "calls": len(calls),
            "seconds": round(float(calls["seconds"].sum()), 2),
            "peak_mib": round(float(calls["peak_bytes"].max()) / 2**20, 1),
            "read_bytes": int(calls["read_bytes"].sum()),
        }
    return found


def keep(path: Path | None, values: dict[str, Any]) -> None:
    """Write figures to a file, with the machine that they are of."""
    if path is not None:
        values = {"machine": machine(), "versions": versions(("cellpose", "torch")), **values}
        path.write_text(json.dumps(values, indent=1) + "\n")


def reading(options: argparse.Namespace) -> None:
    """Read all tiles of a slide once, in order, and print the bytes that this took."""
    from idrstream.preprocess.tiles import alone_in
    from idrstream.tiles.grid import tiles_of

    image = opened(options.slide)
    started = time.monotonic()
    tiles = list(tiles_of(Grid(image.info.shape, options.tile_px, OVERLAP_PX)))
    for tile in tiles:
        image.read([0], tile.region, alone_in(tile))
    moved, stored = image.bytes_moved, options.slide.stat().st_size
    print(
        f"{len(tiles)} tiles: {moved / 1e6:,.0f} MB read of {stored / 1e6:,.0f} MB in the file "
        f"({moved / stored:.3f} times), {time.monotonic() - started:.0f} s"
    )


def cellpose(options: argparse.Namespace) -> None:
    """Segment a slide as Cellpose itself does."""
    from idrstream.workers.steps import StepClock

    spec = spec_of(options.slide)
    started, children = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    diameter = int(options.diameter) if options.diameter % 1 == 0 else options.diameter
    with StepClock() as clock:
        labels = (_distributed if options.distributed else _at_once)(options.slide, diameter)
    seconds = time.monotonic() - started
    own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, _CHILDREN))
    spent = sum(of.ru_utime + of.ru_stime for of in (own, workers)) - (
        children.ru_utime + children.ru_stime
    )
    peak_mib = max(own.ru_maxrss, workers.ru_maxrss if options.distributed else 0) / 1024
    figures = {
        "way": "distributed_segmentation" if options.distributed else "eval",
        "slide": asdict(spec), "diameter": diameter, "seconds": seconds,
        "processor_seconds": spent, "peak_mib_of_the_largest_process": peak_mib,
        "objects": len(np.unique(labels)) - 1,
        "steps": {call.step: 0.0 for call in clock.calls},
    }  # fmt: skip
    for call in clock.calls:
        figures["steps"][call.step] += round(call.seconds, 2)
    lines = [list(range(_BLOCK_PX, side, _BLOCK_PX)) for side in labels.shape]
    if options.distributed:
        figures["at_seams"] = at_seams(labels, spec, *lines)
    print(json.dumps(figures, indent=1))
    keep(options.json, figures)


def _at_once(slide: Path, diameter: float) -> Labels:
    """Run the model's ``eval`` on the whole image, as Cellpose's command does."""
    from idrstream import models
    from idrstream.segment.cellpose.shipped import load_nuclei_network
    from idrstream.workers.steps import step

    with step("load"):  # Cellpose's own loops: it is not prepared
        model = load_nuclei_network(models.nuclei_model_path())
    for name, of in (("_run_net", "network"), ("_compute_masks", "masks")):
        setattr(model, name, _timed(getattr(model, name), of))
    with step("read"):
        image = opened(slide)
        (pixels,) = image.read([0], Box(0, 0, *image.info.shape))
    with step("eval"):
        labels: Labels = model.eval(pixels, channels=[0, 0], diameter=diameter, flow_threshold=0.8)[
            0
        ]
    return labels


def _timed(call: Any, name: str) -> Any:
    from idrstream.workers.steps import step

    def timed(*arguments: Any, **options: Any) -> Any:
        with step(name):
            return call(*arguments, **options)

    return timed


def _distributed(slide: Path, diameter: float) -> Labels:
    """Run `contrib.distributed_segmentation` on the slide's pixels as Zarr, with the same model.

    That of Cellpose 3.1.1 needs Zarr 2, and stops with an error at an image of two dimensions, as
    it joins what touches by a structure of three. Here it gets one of two.
    """
    import zarr
    from cellpose.contrib.distributed_segmentation import distributed_eval, myLocalCluster
    from dask_image.ndmeasure._utils import _label
    from scipy.ndimage import generate_binary_structure

    join = _label._across_block_label_grouping
    _label._across_block_label_grouping = lambda face, _: join(
        face, generate_binary_structure(face.ndim, 1)
    )

    image = opened(slide)
    height, width = image.info.shape
    with tempfile.TemporaryDirectory() as folder:
        source: Any = zarr.open_array(
            f"{folder}/pixels.zarr", mode="w", shape=(height, width), chunks=(1024, 1024),
            dtype="uint16",
        )  # fmt: skip
        for top in range(0, height, 1024):
            box = Box(top, 0, min(top + 1024, height), width)
            source[top : box.bottom] = image.read([0], box)[0]
        with (
            contextlib.chdir(folder),  # where it leaves its logs
            myLocalCluster(
                n_workers=1, ncpus=2, memory_limit="16GB", threads_per_worker=1
            ) as cluster,
        ):
            cluster.client.run(_use_the_shipped_model)
            labels, _ = distributed_eval(
                input_zarr=source,
                blocksize=(_BLOCK_PX, _BLOCK_PX),
                write_path=f"{folder}/labels.zarr",
                model_kwargs={},
                eval_kwargs={
                    "diameter": diameter, "channels": [0, 0], "flow_threshold": 0.8,
                },
                cluster=cluster,
            )  # fmt: skip
            return np.asarray(labels[:])


def _use_the_shipped_model() -> None:
    """Let `distributed_segmentation` load the model that ships, in the process of a worker."""
    import cellpose.models

    from idrstream import models
    from idrstream.segment.cellpose.shipped import load_nuclei_network

    path = models.nuclei_model_path()
    load_nuclei_network(path)  # its own class is one of Cellpose's
    cellpose.models.CellposeModel = lambda: load_nuclei_network(path)


def seams(options: argparse.Namespace) -> None:
    """Compare the label image of `run` with the truth, near the borders of tiles and elsewhere."""
    import zarr

    (path,) = options.out.glob("labels/*.zarr/labels/nuclei")
    labels: Any = zarr.open_group(path, mode="r")["0"]
    grid = Grid(labels.shape, options.tile_px, OVERLAP_PX)
    cores = [core for _, core in grid.boxes()]
    lines = [sorted({core[axis] for core in cores} - {0}) for axis in (0, 1)]
    figures = at_seams(labels[:], spec_of(options.slide), *lines)
    print(json.dumps(figures, indent=1))
    keep(options.json, figures)


def at_seams(
    labels: Labels, spec: SlideSpec, rows: list[int], columns: list[int]
) -> dict[str, Any]:
    """Return how well a label image agrees with the truth near some lines and elsewhere."""
    _, truth = slide_region(spec, Box(0, 0, spec.height, spec.width))
    band = np.zeros(truth.shape, np.bool_)
    for row in rows:
        band[max(0, row - 40) : row + 40] = True
    for column in columns:
        band[:, max(0, column - 40) : column + 40] = True
    near, elsewhere = (f1_where(labels, truth, where, 0.5) for where in (band, ~band))
    pairs = overlaps(np.where(band, labels, 0), np.where(band, truth, 0))
    split, merged = parts(pairs)
    return {
        "rows": rows, "columns": columns, "objects": len(np.unique(labels)) - 1,
        "true_objects": len(np.unique(truth)) - 1, "true_in_band": pairs["n"][1],
        "f1_in_band": near, "f1_elsewhere": elsewhere, "split_in_band": split,
        "merged_in_band": merged,
    }  # fmt: skip


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for call in (make, accuracy, run, reading, cellpose, seams):
        sub = commands.add_parser(call.__name__, help=call.__doc__)
        sub.set_defaults(call=call)
        if call is not accuracy:
            sub.add_argument("slide", type=Path)
        if call in (run, cellpose, seams):
            sub.add_argument("--json", type=Path, help="file of the figures")
        if call in (run, seams):
            sub.add_argument("out", type=Path)
        if call is run:
            sub.add_argument(
                "more", nargs="*", help="further options of idrstream segment, after --"
            )
        if call in (make, accuracy):
            sub.add_argument("--seed", type=int, default=0)
            sub.add_argument("--empty", type=float, default=0.2)
        if call is make:
            sub.add_argument("--height", type=int, default=5000)
            sub.add_argument("--width", type=int, default=5000)
            sub.add_argument("--channels", type=int, default=1)
            sub.add_argument("--density", type=float, default=0.6)
        if call is accuracy:
            sub.add_argument("--side", type=int, default=2304)
            sub.add_argument("--tile-overlap-px", type=int, default=None)
            sub.add_argument("--band-px", type=int, default=40)
        if call in (accuracy, cellpose):
            sub.add_argument("--diameter", type=float, default=17.0 if call is cellpose else 0.0)
        if call in (accuracy, run, reading, seams):
            sub.add_argument("--tile-px", type=int, default=SIDE_PX)
        if call is cellpose:
            sub.add_argument("--distributed", action="store_true")
    options = parser.parse_args()
    options.call(options)


if __name__ == "__main__":
    main()
