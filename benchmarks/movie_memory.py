r"""Peak memory of a stream of one tracked movie, by its number of frames.

    python benchmarks/movie_memory.py --out benchmarks/results/movie_memory.json
    python benchmarks/movie_memory.py --no-illumination \
        --out benchmarks/results/movie_memory_no_illumination.json
    python benchmarks/movie_memory.py --networks --size 1024 1344 --nuclei 160 \
        --out benchmarks/results/movie_memory_networks.json

Each movie (by default 512 x 672 pixels, 60 nuclei a frame) is streamed in a process of its own,
with tracks, film, quality report and kept masks. Nuclei are bright connected parts and their 672
features are random numbers, so that neither network hides what frames leave in memory; `--networks`
takes the shipped ones instead, and `--no-illumination` leaves out BaSiC, which is fitted on all
frames. The peak is that of the process and includes all libraries. `tables_mb` is what features
and table of the frames take: 4 bytes for each value, held as features, as the table, and as a copy
of it while it is made.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from _common import resident_bytes, show, write_result
from scipy import ndimage
from skimage.filters import threshold_otsu

from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen
from idrstream.demo import config_for
from idrstream.profile.protocol import FeatureEngine
from idrstream.records import Features, Frame, Objects
from idrstream.segment import Segmentor, objects_in
from idrstream.simulate.screen import TABLE

FEATURES = tuple(f"Feature_{number}" for number in range(672))
MB = 1e6


class Bright(Segmentor):
    """What is brighter than Otsu's threshold, in connected parts."""

    def segment(self, frame: Frame, *, outlines: bool = False) -> Objects:
        """Return the nuclei of a frame."""
        pixels = frame.plane()
        labels, count = ndimage.label(pixels > threshold_otsu(pixels))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        kept = np.flatnonzero(sizes[1:] >= 30) + 1
        number = np.zeros(count + 1, np.int32)
        number[kept] = np.arange(1, len(kept) + 1)
        return objects_in(number[labels], outlines=outlines)


class Random(FeatureEngine):
    """As many features as the shipped model has."""

    def profile(self, frames: Sequence[Frame], objects: Sequence[Objects]) -> list[Features]:
        """Return a row of numbers for each object."""
        del frames
        rng = np.random.default_rng(0)
        sizes = [(len(one), len(FEATURES)) for one in objects]
        values = [rng.normal(size=size).astype(np.float32) for size in sizes]
        return [Features(one.name, FEATURES, v) for one, v in zip(objects, values, strict=True)]


def simulate(frames: int, size: tuple[int, int], nuclei: int, folder: Path) -> None:
    """Write a screen of one movie."""
    height, width = size
    spec = ScreenSpec(
        plates=1, wells_per_plate=1, frames=frames, height=height, width=width,
        nuclei_per_frame=nuclei, seed=1,
    )  # fmt: skip
    simulate_screen(folder / "mirror", spec)


def stream(
    frames: int,
    size: tuple[int, int],
    folder: Path,
    networks: bool,
    track: bool,
    illumination: bool,
) -> dict[str, float]:
    """Stream one movie in this process; return its numbers."""
    mirror = folder / "mirror"
    one = IdrStream("idr0013", folder / "tmp", folder / "out", log=folder / "log")
    with closing(one):
        one.init_downloader(
            make_downloader(
                method="local", root=mirror, screens_path=mirror / "idr0013-screenA-plates.tsv"
            )
        )
        one.init_preprocessor(None, illumination)
        if networks:
            one.init_segmentor({"model_type": "idrstream-nuclei", "diameter": 18})
            one.copy_DP_files(config_for(*size, folder))
        else:
            one.init_segmentor(Bright())
            one.copy_DP_files(config_for(*size, folder), engine=Random())
        table = read_table(mirror / TABLE).iloc[:1].assign(Frames="all")
        result = one.run_stream(table, batch_size=1, progress=False, track=track, keep_masks=True)
    if result.failed_batches:
        sys.exit(f"the stream failed: {result}")
    published = result.batches[0].published
    rows, features = published.rows, 1280 if networks else len(FEATURES)
    return {
        "frames": frames,
        "nuclei": rows,
        "peak_mb": round(_peak() / MB),
        "after_mb": round(resident_bytes() / MB),
        "tables_mb": round(3 * rows * features * 4 / MB, 1),
    }


_FLAGS = ("networks", "no_track", "no_illumination")


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure each number of frames in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[10, 93])
    parser.add_argument("--size", type=int, nargs=2, default=[512, 672], metavar=("Y", "X"))
    parser.add_argument("--nuclei", type=int, default=60, help="in the first frame")
    parser.add_argument("--networks", action="store_true", help="the shipped networks")
    parser.add_argument("--no-track", action="store_true", help="without tracks, to compare")
    parser.add_argument("--no-illumination", action="store_true", help="and without BaSiC")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    size = (chosen.size[0], chosen.size[1])
    if chosen.here:
        (frames,) = chosen.frames
        numbers = stream(
            frames, size, chosen.here, chosen.networks, not chosen.no_track,
            not chosen.no_illumination,
        )  # fmt: skip
        print(json.dumps(numbers))
        return
    rows = []
    flags = [f"--{name.replace('_', '-')}" for name in _FLAGS if vars(chosen)[name]]
    for frames in chosen.frames:
        with tempfile.TemporaryDirectory() as folder:
            simulate(frames, size, chosen.nuclei, Path(folder))  # not in that process
            command = [sys.executable, __file__, "--frames", str(frames), "--here", folder]
            command += ["--size", *map(str, size), *flags]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    show(rows)
    write_result(
        chosen.out, "How much memory does a tracked movie take, by its number of frames?",
        ("numpy", "pandas", "pycytominer", "torch"), rows=rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
