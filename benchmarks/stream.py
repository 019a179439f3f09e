"""Images a second of a whole stream, ours against the first IDR_stream's way, over a slow link.

``python benchmarks/stream.py`` simulates movies as CellCognition writes them, serves them by nginx
behind a link of 8 MB/s, and streams them three times to features:

- *first*: whole files, one image after the other, Cellpose's own ``eval``, its model loaded anew
  for every frame, ``python -m deepprofiler`` anew for every batch, and nothing side by side;
- *ours*: ``IdrStream`` as it comes, which segments in bfloat16 where the processor computes in it;
- *single*: the same in single precision, as Cellpose's ``eval`` computes.

All use the same libraries, models and settings, and their tables are compared nucleus by nucleus.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _common import write_result
from fetch import nginx
from link import Link

OURS = ("ours", "single")
PLATES = "idr0013-screenA-plates.tsv"
SPECS = {
    "model_type": "idrstream-nuclei",
    "channels": [0, 0],
    "diameter": 0,
    "flow_threshold": 0.8,
    "cellprob_threshold": 0,
    "remove_edge_masks": True,
}


def make_movies(folder: Path, options: argparse.Namespace) -> None:
    """Write the screen; three frames are simulated for each well and repeated in turn."""
    from idrstream.screen.wells import well_number
    from idrstream.simulate import ScreenSpec, simulate_movie
    from idrstream.simulate.cellh5 import write_cellh5
    from idrstream.simulate.screen import _table
    from idrstream.simulate.spec import ANALYSIS, STUDY, screen_name

    wanted = options.frames // 2 + 1
    spec = ScreenSpec(
        plates=1,
        wells_per_plate=options.movies,
        frames=3,
        nuclei_per_frame=options.nuclei,
        wanted_frames=(2,),
    )
    plate = spec.plate_names[0]
    for well in spec.wells:
        number = well_number(well)
        path = folder / STUDY / ANALYSIS / screen_name(plate) / "hdf5" / f"{number:05d}_01.ch5"
        if path.exists():
            continue
        movie = simulate_movie(spec, plate=plate, well=well)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        first = wanted - 2  # counted from 0: the three simulated frames are around the wanted one
        shape = (options.frames, *movie.frames.shape[1:])
        frames, masks = np.zeros(shape, np.uint8), np.zeros(shape, np.uint16)
        frames[first : first + 3], masks[first : first + 3] = movie.frames, movie.masks
        valid = np.zeros(options.frames, bool)
        valid[first : first + 3] = True
        write_cellh5(
            part, frames, masks, valid=valid, screen=screen_name(plate), well_number=number
        )
        repeat_frames(part, np.flatnonzero(valid), options.frames)
        part.replace(path)
    (folder / PLATES).write_text(f"{plate}\t../screens/{screen_name(plate)}.screen\n")
    lines = _table(spec).splitlines()
    column = lines[0].split("\t").index("Frames")
    for index in range(1, len(lines)):
        cells = lines[index].split("\t")
        cells[column] = str(wanted)
        lines[index] = "\t".join(cells)
    (folder / "data_to_process.tsv").write_text("\n".join(lines) + "\n")


def repeat_frames(path: Path, sources: Any, n_frames: int) -> None:
    """Fill a movie with copies of the compressed chunks of a few of its frames."""
    import h5py

    with h5py.File(path, "r+") as file:
        images: list[Any] = []
        file.visititems(
            lambda name, item: images.append(item) if name.endswith(("channel", "region")) else None
        )
        stacks = [item for item in images if isinstance(item, h5py.Dataset) and item.ndim == 5]
        for number in sorted(set(range(n_frames)) - set(sources)):
            source = int(sources[number % len(sources)])
            for stack in stacks:
                _copy_chunks(stack, source, number)
        for stack in stacks:
            stack.attrs["valid"] = np.ones(n_frames)


def _copy_chunks(stack: Any, source: int, target: int) -> None:
    height, width = stack.chunks[3:]
    for row in range(0, stack.shape[3], height):
        for column in range(0, stack.shape[4], width):
            mask, data = stack.id.read_direct_chunk((0, source, 0, row, column))
            stack.id.write_direct_chunk((0, target, 0, row, column), data, mask)


def downloader(url: str, folder: Path, fetch: str) -> Any:
    """Return a downloader of the simulated study over HTTP."""
    from idrstream.config import DownloadSettings
    from idrstream.download import HttpTransport, TransportDownloader
    from idrstream.screen.study.idr0013 import Idr0013Locator, PlateScreens
    from idrstream.simulate.spec import STUDY

    screens = PlateScreens.read(folder / PLATES)
    return TransportDownloader(
        HttpTransport(f"{url}/{STUDY}/"), Idr0013Locator(screens), DownloadSettings(fetch=fetch)
    )


def run_ours(
    url: str, folder: Path, work: Path, options: argparse.Namespace, precision: str = "auto"
) -> dict[str, Any]:
    """Stream with idrstream as it comes."""
    from idrstream import IdrStream, read_table

    stream = IdrStream("idr0013", work / "tmp", work / "features", log=work / "stream.log")
    stream.init_downloader(downloader(url, folder, "auto"))
    stream.init_preprocessor(None, True)
    stream.init_segmentor({**SPECS, "precision": precision})
    stream.copy_DP_files()
    table = read_table(folder / "data_to_process.tsv")
    started = time.monotonic()
    result = stream.run_stream(table, batch_size=options.batch_size, progress=False)
    seconds = time.monotonic() - started
    stream.close()
    return {
        "seconds": seconds,
        "failures": len(result.failures()),
        "lanes": {lane.name: round(lane.share, 3) for lane in result.lanes},
    }


def run_first(url: str, folder: Path, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Stream as the first IDR_stream did, with our parts in its order."""
    from command_engine import CommandEngine

    from idrstream import models, read_table
    from idrstream.formats import CellH5Reader
    from idrstream.preprocess import FrameContext, Preprocessor
    from idrstream.profile import DeepModel, DeepProfilerProject
    from idrstream.run.profiling import EngineProfiling
    from idrstream.screen import Plan, tasks_from_table

    started = time.monotonic()
    source = downloader(url, folder, "file")
    preprocessor = Preprocessor(CellH5Reader(), FrameContext())
    model = DeepModel.read(models.profiler_config_path(), models.profiler_checkpoint_path())
    profiling = EngineProfiling(
        DeepProfilerProject(work / "tmp" / "DP_project", model),
        CommandEngine(model, work / "tmp" / "DP_engine"),
        work / "features",
    )
    shares = dict.fromkeys(("download", "preprocess", "segment", "profile", "compile"), 0.0)

    def timed(stage: str, call: Any, *arguments: Any) -> Any:
        since = time.monotonic()
        result = call(*arguments)
        shares[stage] += time.monotonic() - since
        return result

    tasks = tasks_from_table(read_table(folder / "data_to_process.tsv"))
    count = -(-len(tasks) // options.batch_size)
    plan = Plan(tasks, options.batch_size, tuple(range(count)))
    for batch in plan:
        frames: list[Any] = []
        objects: list[Any] = []
        for task in batch.tasks:
            movie = timed("download", source.download, task, work / "tmp" / "downloads")
            for frame in timed("preprocess", preprocessor.process, movie):
                frames.append(frame)
                objects.append(timed("segment", segment_like_the_first, frame))
            movie.path.unlink()
        timed("profile", profiling.profile, frames, objects)
        timed("compile", profiling.publish, batch.number, batch.tasks)
        profiling.clear()
    seconds = time.monotonic() - started
    return {
        "seconds": seconds,
        "failures": 0,
        "lanes": {name: round(value / seconds, 3) for name, value in shares.items()},
    }


def segment_like_the_first(frame: Any) -> Any:
    """Load Cellpose's network anew and find the nuclei of one frame by Cellpose's own ``eval``."""
    from cellpose.utils import remove_edge_masks

    from idrstream.segment import objects_in
    from idrstream.segment.cellpose.shipped import load_shipped
    from idrstream.segment.labels import as_labels

    model, estimator = load_shipped(gpu=False)  # not prepared: all of `eval` is Cellpose's
    diameter = estimator.estimate(frame.plane(), model)
    masks = model.eval(
        frame.plane(),
        channels=SPECS["channels"],
        diameter=diameter,
        flow_threshold=SPECS["flow_threshold"],
        cellprob_threshold=SPECS["cellprob_threshold"],
    )[0]
    labels = as_labels(remove_edge_masks(masks))
    return objects_in(labels, diameter_px=diameter)


class Watch(threading.Thread):
    """Samples memory of a process with all its children, and what lies in a folder."""

    def __init__(self, pid: int, folder: Path) -> None:
        super().__init__(daemon=True)
        self.pid, self.folder = pid, folder
        self.peak_rss = self.peak_disk = 0
        self.over = threading.Event()
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Sample until told to stop."""
        try:
            while not self.over.wait(0.1):
                self._sample()
        except BaseException as error:
            self.failed = error

    def close(self) -> None:
        """Stop; what ended the samples early is raised, for the peaks would be too low."""
        self.over.set()
        self.join()
        if self.failed is not None:
            raise self.failed

    def _sample(self) -> None:
        import psutil

        from idrstream.schedule.disk.budget import tree_bytes

        # Of the disk in any case: the process may end while its folders still stand.
        self.peak_disk = max(self.peak_disk, tree_bytes(self.folder))
        try:
            process = psutil.Process(self.pid)
            every = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        rss = 0
        for one in every:
            with suppress(psutil.NoSuchProcess):
                rss += one.memory_info().rss
        self.peak_rss = max(self.peak_rss, rss)


def measure(kind: str, url: str, folder: Path, work: Path, given: list[str]) -> dict[str, Any]:
    """Run one way in a process of its own."""
    work.mkdir(parents=True)
    command = [sys.executable, "-W", "ignore", __file__, *given]
    command += ["--data", str(folder), "--child", kind, url, str(work)]
    with (work / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        watch = Watch(process.pid, work / "tmp")
        watch.start()
        status = process.wait()
        watch.close()
    if status != 0:
        sys.exit(f"{kind} failed:\n{(work / 'output').read_text()[-4000:]}")
    found = json.loads((work / "result.json").read_text())
    found.update(peak_rss_bytes=watch.peak_rss, peak_disk_bytes=watch.peak_disk)
    return found


def compare(first: Path, ours: Path) -> dict[str, Any]:
    """Match the nuclei of both ways and compare their features."""
    import pandas as pd
    from scipy.spatial import cKDTree

    def load(folder: Path) -> pd.DataFrame:
        files = sorted(folder.glob("batch_*.csv.gz"))
        return pd.concat([pd.read_csv(path, index_col=0) for path in files], ignore_index=True)

    a, b = load(first), load(ours)
    names = [name for name in a.columns if name.startswith("efficientnet_")]
    firsts: list[Any] = []
    seconds: list[Any] = []
    distances: list[float] = []
    key = ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
    others = dict(list(b.groupby(key)))
    place = ["Location_Center_Y", "Location_Center_X"]
    for name, mine in a.groupby(key):
        other = others.get(name)
        if other is None:
            continue
        distance, index = cKDTree(other[place]).query(mine[place], distance_upper_bound=3.0)
        near = np.isfinite(distance)
        distances += list(distance[near])
        firsts.append(mine[names].to_numpy()[near])
        seconds.append(other[names].to_numpy()[index[near]])
    same = np.array(distances) < 1e-6
    x, y = np.concatenate(firsts), np.concatenate(seconds)
    errors = np.linalg.norm(x - y, axis=1) / np.linalg.norm(x, axis=1)
    # Beside how much nuclei differ from each other.
    from_mean = np.linalg.norm(x - y, axis=1) / np.linalg.norm(x - x.mean(axis=0), axis=1)
    centred = [features - features.mean(axis=0) for features in (x, y)]
    correlation = (centred[0] * centred[1]).sum(axis=0) / np.prod(
        [np.linalg.norm(features, axis=0) for features in centred], axis=0
    )
    return {
        "nuclei_first": len(a),
        "nuclei_ours": len(b),
        "matched_within_3_px": len(errors),
        "at_the_same_place": int(same.sum()),
        "distance_px_median": float(np.median(distances)),
        "feature_error_at_the_same_place_max": float(np.max(errors[same], initial=0)),
        "feature_error_median": float(np.median(errors)),
        "feature_error_p95": float(np.quantile(errors, 0.95)),
        "feature_error_of_spread_median": float(np.median(from_mean)),
        "feature_correlation_median": float(np.nanmedian(correlation)),
        "feature_correlation_p05": float(np.nanquantile(correlation, 0.05)),
    }


def main() -> None:
    """Read the options, run both ways, print a table and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--movies", type=int, default=20)
    parser.add_argument("--frames", type=int, default=93, help="frames of each movie")
    parser.add_argument("--nuclei", type=int, default=120)
    parser.add_argument("--batch-size", type=int, default=5)
    parser.add_argument("--rate", type=float, default=8.0, help="of the link in MB/s")
    parser.add_argument("--data", type=Path, help="folder for the movies, kept; else temporary")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/stream.json")
    parser.add_argument(
        "--like-the-first", action="store_true", help="run the first IDR_stream's way only"
    )
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, url, work = options.child
        run = {
            "first": run_first,
            "ours": run_ours,
            "single": partial(run_ours, precision="single"),
        }[kind]
        (Path(work) / "tmp").mkdir(exist_ok=True)
        found = run(url, options.data, Path(work), options)
        (Path(work) / "result.json").write_text(json.dumps(found))
        return
    given = [f"--batch-size={options.batch_size}"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.data or Path(temporary) / "screen"
        folder.mkdir(parents=True, exist_ok=True)
        make_movies(folder, options)
        sizes = [path.stat().st_size for path in folder.rglob("*.ch5")]
        kinds = ["first"] if options.like_the_first else ["first", *OURS]
        found: dict[str, Any] = {}
        with nginx(folder) as port, Link(port, options.rate * 1e6) as link:
            url = f"http://127.0.0.1:{link.port}"
            for kind in kinds:
                passed = link.bytes_passed
                found[kind] = measure(kind, url, folder, Path(temporary) / kind, given)
                found[kind]["bytes_moved"] = link.bytes_passed - passed
                found[kind]["images_per_s"] = options.movies / found[kind]["seconds"]
                print(kind, json.dumps(found[kind]), flush=True)
        if options.like_the_first:
            return
        base = Path(temporary)
        for kind in OURS:
            found[kind] |= compare(base / "first/features", base / kind / "features")
            found[kind]["ratio"] = found[kind]["images_per_s"] / found["first"]["images_per_s"]
        found["movies"] = {"count": len(sizes), "mean_bytes": float(np.mean(sizes))}
        found["options"] = {
            name: value for name, value in vars(options).items() if isinstance(value, (int, float))
        }
    report(found)
    packages = ("cellpose", "deepprofiler", "tensorflow", "torch", "basicpy", "pycytominer")
    write_result(options.out, "images a second of a whole stream", packages, **found)


def report(found: dict[str, Any]) -> None:
    """Print the small table."""
    print(f"{'':8}{'s':>8}{'images/s':>10}{'RSS GB':>8}{'disk MB':>9}  lanes")
    for kind in ("first", *OURS):
        one = found[kind]
        lanes = " ".join(f"{name} {share:.0%}" for name, share in one["lanes"].items())
        print(
            f"{kind:8}{one['seconds']:8.1f}{one['images_per_s']:10.3f}"
            f"{one['peak_rss_bytes'] / 1e9:8.2f}{one['peak_disk_bytes'] / 1e6:9.1f}  {lanes}"
        )
    for kind in OURS:
        one = found[kind]
        print(
            f"{kind}: {one['ratio']:.2f} times as fast; of {one['nuclei_first']} nuclei "
            f"{one['matched_within_3_px']} within 3 px, {one['at_the_same_place']} at the same "
            f"place to the last digit; features differ by {one['feature_error_median']:.2g} "
            f"(median), there by {one['feature_error_at_the_same_place_max']:.2g} at most; "
            f"correlation {one['feature_correlation_median']:.5f} (median of features)"
        )


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
