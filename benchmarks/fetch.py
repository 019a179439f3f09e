"""Measure what the frames of a movie cost against the whole movie.

    python benchmarks/fetch.py [--frames 93] [--rate 8e6] [--round-trip 0.02] [--repeat 3]

Simulates a movie of 93 frames of 1344 x 1024 pixels laid out as CellCognition does (pixels,
labels and features between each other, gzip 4, chunks of a sixteenth of a frame), serves it with
nginx (Debian's ``nginx-light``) over a link of 8 MB/s, and brings 1 frame and 3 frames of it
(one frame and the two that BaSiC's context adds; and three far apart) by ranges, and the whole
file. Prints a table and writes benchmarks/results/fetch.json. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from link import Link

from idrstream.config import DownloadSettings
from idrstream.download import HttpTransport, TransportDownloader
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.records import ImageTask
from idrstream.simulate import ScreenSpec, simulate_movie
from idrstream.simulate.cellh5 import write_cellh5

PROJECT = Path(__file__).resolve().parents[1]
SCREEN = "LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3"
NAME = "00004_01.ch5"
WANTED = {
    "1 frame": (50,),
    "3 frames, a frame and BaSiC's context": (50, 51, 52),
    "3 frames, far apart": (1, 46, 93),
}


class Anywhere:
    """Every task's movie is the same file."""

    def movie_path(self, _task: ImageTask) -> str:
        """Return its name."""
        return NAME


def make_movie(path: Path, n_frames: int) -> None:
    """Write the movie; its pixels are one simulated in full."""
    movie = simulate_movie(ScreenSpec(frames=n_frames, height=1024, width=1344))
    write_cellh5(
        path, movie.frames, movie.masks, valid=np.ones(n_frames, bool), screen=SCREEN,
        well_number=4, interleaved=True,
    )  # fmt: skip


@contextmanager
def nginx(root: Path) -> Iterator[int]:
    """Serve a folder; yield the port."""
    program = shutil.which("nginx")
    if program is None:
        raise SystemExit("nginx is missing: apt-get install nginx-light")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        Path(folder, "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log;"
            "user root; events {}"
            f"http {{ access_log off; {paths} server {{ listen 127.0.0.1:{port}; root {root}; }} }}"
        )
        command = [program, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/log"]
        with subprocess.Popen(command) as process:
            try:
                _wait_for(port)
                yield port
            finally:
                process.terminate()


def _wait_for(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("nginx did not start")


def bring(url: str, frames: tuple[int, ...], fetch: str, folder: Path) -> dict[str, object]:
    """Bring the movie once and measure it; connections of earlier ones may be used again."""
    downloader = TransportDownloader(HttpTransport(url), Anywhere(), DownloadSettings(fetch=fetch))
    downloader.limit_to(lambda task, _info: task.frames)
    started = time.perf_counter()
    movie = downloader.download(ImageTask("LT0001_02", "A4", 4, frames), folder)
    seconds = time.perf_counter() - started
    read = CellH5Reader().read(movie.path, frames)
    digest = [int(np.asarray(read[number], dtype=np.int64).sum()) for number in frames]
    on_disk = movie.path.stat().st_size
    shutil.rmtree(folder)
    return {
        "seconds": seconds,
        "bytes": movie.bytes_moved,
        "requests": movie.requests,
        "bytes_on_disk": on_disk,
        "sums": digest,
    }


def measure(url: str, size: int, rate: float, repeat: int, folder: Path) -> dict[str, object]:
    """Measure the file and every case, and check that pixels agree.

    The ratio is taken to the measured time of the file or to what the link alone takes for it,
    whichever is less: a machine that is busy beside it must not make frames look better.
    """
    every = tuple(sorted({number for frames in WANTED.values() for number in frames}))
    whole = [bring(url, every, "file", folder / "work") for _ in range(repeat)]
    file_s = statistics.median(run["seconds"] for run in whole)
    link_s = size / rate
    print(
        f"{'whole file':40} {size:>10,} bytes          {file_s:18.3f} s"
        f" ({link_s:.3f} s at the link's rate)"
    )
    rows: list[dict[str, object]] = []
    for case, frames in WANTED.items():
        runs = [bring(url, frames, "frames", folder / "work") for _ in range(repeat)]
        sums = [whole[0]["sums"][every.index(number)] for number in frames]
        if any(run["sums"] != sums for run in runs):
            raise SystemExit(f"{case}: the ways do not give the same pixels")
        seconds = statistics.median(run["seconds"] for run in runs)
        rows.append(
            {
                "case": case,
                "frames": frames,
                "bytes": runs[0]["bytes"],
                "percent_of_file": 100 * runs[0]["bytes"] / size,
                "requests": runs[0]["requests"],
                "seconds": seconds,
                "time_ratio": min(file_s, link_s) / seconds,
                "runs": runs,
            }
        )
        print(
            f"{case:40} {runs[0]['bytes']:>10,} bytes {rows[-1]['percent_of_file']:5.2f} % "
            f"{runs[0]['requests']:>3} requests {seconds:6.3f} s: "
            f"{rows[-1]['time_ratio']:5.1f} times"
        )
    return {
        "file_seconds": file_s,
        "file_seconds_at_rate": link_s,
        "file_runs": whole,
        "cases": rows,
    }


def about() -> dict[str, object]:
    """Return the machine and what ran on it."""
    version = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "python": platform.python_version(),
        "nginx": version.strip(),
        "hdf5": h5py.version.hdf5_version,
        "packages": {
            name: importlib.metadata.version(name) for name in ("idrstream", "h5py", "numpy")
        },
    }


def main() -> None:
    """Measure, print, write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=93)
    parser.add_argument("--rate", type=float, default=8e6)
    parser.add_argument("--round-trip", type=float, nargs="+", default=[0.0, 0.02])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=Path, default=PROJECT / "benchmarks/results/fetch.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "served").mkdir()
        folder.chmod(0o755)
        movie = folder / "served" / NAME
        make_movie(movie, options.frames)
        size = movie.stat().st_size
        print(f"movie: {size:,} bytes, {options.frames} frames, link {options.rate:,.0f} B/s")
        results = []
        with nginx(folder / "served") as port:
            for round_trip in options.round_trip:
                print(f"round trip {1000 * round_trip:g} ms")
                with Link(port, options.rate, round_trip) as link:
                    url = f"http://127.0.0.1:{link.port}"
                    found = measure(url, size, options.rate, options.repeat, folder)
                results.append({"round_trip_s": round_trip, **found})
    content = {
        "about": about(),
        "movie": {"bytes": size, "frames": options.frames, "shape": [1024, 1344]},
        "link_bytes_per_s": options.rate,
        "results": results,
    }
    options.output.write_text(json.dumps(content, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
