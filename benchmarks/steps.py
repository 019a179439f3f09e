"""What memory and disk vertical and horizontal processing need, on the same images.

``python benchmarks/steps.py [--images 2 6 20] [--side 1024] [--out results/steps.json]``

Images of three channels in 16 bits, as OME-TIFF. Each strategy runs in a process of its own, with
few images and with more: what it needs for each further image is the difference between the last
two by their number, and what it would need for 1,000 is extrapolated from it, not measured.
``--add`` keeps what was measured with other numbers of images.

- ``held``: all images are read into one array, as one step over all images in memory needs; the
  memory of any result is not in it.
- ``step``: ``idrstream step segment``; what it makes is kept on the disk.
- ``stream``: ``idrstream run``, to features.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from _common import machine, versions

from idrstream.files import atomic_file

_STRATEGIES = ("held", "step", "stream")
_MANY = 1000


def make(folder: Path, images: int, side: int) -> None:
    """Write images, their table and settings."""
    import numpy as np
    import tifffile
    from scipy import ndimage

    from idrstream.records import Box
    from idrstream.screen.wells import well_name
    from idrstream.simulate.slide import SlideSpec, slide_region

    lines = ["Plate\tWell\tFrames\tPath"]
    for number in range(images):
        path = folder / f"image_{number}.ome.tif"
        nuclei, _ = slide_region(
            SlideSpec(side, side, seed=number, empty=0.0), Box(0, 0, side, side)
        )
        others = [ndimage.gaussian_filter(nuclei, sigma) for sigma in (3, 8)]
        pixels = np.stack([nuclei, *others]).astype(np.uint16)
        tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "CYX"})
        lines.append(f"P1\t{well_name(number + 1)}\t1\t{path}")
    (folder / "table.tsv").write_text("\n".join(lines) + "\n")
    (folder / "stream.toml").write_text(
        f'[stream]\ntable = "table.tsv"\nfinal_data_dir = "out"\ntmp_dir = "tmp"\nbatch_size = 10\n'
        "progress = false\npictures = 0\nplate_format = 384\n"
        f'[download]\nmethod = "local"\nroot = "{folder}"\n'
        '[preprocess]\nimage_channels = ["A=0", "B=1", "C=2"]\n'
        "perform_illumination_correction = false\n[segment]\ndiameter = 20.0\n"
        '[profile]\nengine = "classical"\nclassical_features = ["size_shape", "intensity"]\n'
        "classical_processes = 1\n"
    )


def run(strategy: str, folder: Path) -> dict[str, Any]:
    """Run a strategy in this process; return what it needed."""
    from idrstream.cli.main import main

    started, disk = time.monotonic(), 0
    if strategy == "held":
        import numpy as np
        import tifffile

        paths = sorted(folder.glob("*.tif"))
        one = tifffile.imread(paths[0])
        held = np.empty((len(paths), *one.shape), one.dtype)
        for at, path in enumerate(paths):
            held[at] = tifffile.imread(path)
    elif strategy == "step":
        code = main(
            ["step", "segment", str(folder / "stream.toml"), "--images=100000",
             f"--out={folder / 'look'}"]
        )  # fmt: skip
        assert code == 0, code
        disk = sum(path.stat().st_size for path in (folder / "look").rglob("*") if path.is_file())
    else:
        from idrstream import IdrStream, load_settings
        from idrstream.stream.build import run_settings

        settings = load_settings(folder / "stream.toml")
        stream = IdrStream.from_settings(settings)
        with _Watched(folder / "tmp") as watched:
            result = run_settings(stream, settings)
        stream.close()
        assert not len(result.failures()), result.failures()
        disk = watched.peak_bytes
    return {
        "peak_mb": _peak_bytes() / 1e6,
        "disk_mb": disk / 1e6,
        "seconds": time.monotonic() - started,
    }


class _Watched:
    """Looks at the size of a folder every 20 ms."""

    def __init__(self, folder: Path) -> None:
        self.peak_bytes = 0
        self._folder = folder
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            sizes = []
            with suppress(OSError):  # a file or folder was deleted meanwhile: look again
                sizes = [path.stat().st_size for path in self._folder.rglob("*")]
            size = sum(sizes)
            self.peak_bytes = max(self.peak_bytes, size)


def _peak_bytes() -> int:
    """Return the most memory that this process had."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def measured(strategy: str, images: int, side: int) -> dict[str, Any]:
    """Run a strategy over new images in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="idrstream-steps-") as name:
        make(Path(name), images, side)
        done = subprocess.run(
            [sys.executable, __file__, "--run", strategy, name], stdout=subprocess.PIPE, check=True
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found | {"images": images}


def main() -> None:
    """Measure every strategy, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[2, 6, 20])
    parser.add_argument("--strategies", nargs="+", choices=_STRATEGIES, default=_STRATEGIES)
    parser.add_argument("--add", action="store_true", help="keep what --out has")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/steps.json")
    parser.add_argument("--run", nargs=2, metavar=("STRATEGY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        found = run(options.run[0], Path(options.run[1]))
        sys.stdout.write(f"\n{json.dumps(found)}\n")
        return
    results: dict[str, Any] = {}
    if options.add:
        results = json.loads(options.out.read_text(encoding="utf-8"))["strategies"]
    for strategy in options.strategies:
        kept = results.get(strategy, {}).get("measured", [])
        found = {one["images"]: one for one in kept}
        found |= {images: measured(strategy, images, options.side) for images in options.images}
        rows = [found[images] for images in sorted(found)]
        few, more = rows[-2:]
        by = more["images"] - few["images"]
        each = {name: (more[name] - few[name]) / by for name in ("peak_mb", "disk_mb")}
        results[strategy] = {
            "measured": rows,
            "each_further_image": each,
            f"extrapolated_to_{_MANY}": {
                name: more[name] + each[name] * (_MANY - more["images"]) for name in each
            },
        }
        sys.stdout.write(f"{strategy}: {json.dumps(results[strategy], indent=1)}\n")
    content = {
        "machine": machine(),
        "versions": versions(("numpy", "torch", "cellpose")),
        "pixels": [3, options.side, options.side],
        "strategies": results,
    }
    with atomic_file(options.out) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
