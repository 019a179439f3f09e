"""Seeded transfers through a server that truncates, stalls, resets, changes and corrupts.

    python benchmarks/transfer_faults.py                  # 1,000 transfers, some minutes
    python benchmarks/transfer_faults.py --transfers 60

A real nginx behind a proxy (`tests/helpers`) that breaks answers. Every transfer must end with a
file whose SHA-256 is that of a version the server had, or with an error of `idrstream.errors`;
nothing else may be left. Where bytes are corrupted the server states digests (``Repr-Digest``),
because without one a changed byte that no checksum covers cannot be seen by anybody; how many
the deep check alone sees is counted in a second series. Bytes of HTTP headers are not corrupted.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

from fault_proxy import Fault, FaultProxy
from local_servers import Served, nginx

from idrstream.config import DownloadSettings
from idrstream.download import HttpTransport
from idrstream.errors import IdrStreamError

KINDS = ("cut", "reset", "stall", "refuse", "call", "flip")
N_FILES = 8


def make_movie(path: Path, seed: int) -> bytes:
    """Return an HDF5 file of some 60 to 400 KB."""
    import h5py
    import numpy as np

    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        shape = (int(rng.integers(3, 20)), 128, 160)
        pixels = rng.integers(0, 255, shape, dtype=np.uint8)
        file.create_dataset("image", data=pixels, chunks=(1, 64, 80), compression="gzip")
    return path.read_bytes()


def campaign(transfers: int, seed: int, folder: Path) -> dict[str, object]:
    """Run all transfers and return what came of them."""
    movies = [make_movie(folder / "made.ch5", seed + n) for n in range(N_FILES)]
    digests = "".join(
        f'/fixed/{n}.ch5 "sha-256=:{base64.b64encode(hashlib.sha256(m).digest()).decode()}:";\n'
        for n, m in enumerate(movies)
    )
    rng = random.Random(seed)
    told: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    wrong: list[int] = []
    left: list[str] = []
    started = time.monotonic()
    with nginx(folder / "nginx", digests=digests) as server:
        for number, movie in enumerate(movies):
            server.put(f"fixed/{number}.ch5", movie)
        with FaultProxy(server.port, stall_s=1.0) as proxy:
            for number in range(transfers):
                outcome = transfer(number, rng, movies, server, proxy, folder / "to", faults)
                told[outcome] += 1
                if outcome == "WRONG":
                    wrong.append(number)
                left += [path.name for path in (folder / "to").iterdir()]
            seen = deep_only(max(10, transfers // 10), rng, movies, proxy, folder / "to")
    return {
        "transfers": transfers, "seed": seed, "outcomes": dict(sorted(told.items())),
        "faults_played": dict(sorted(faults.items())), "wrong_files_accepted": wrong,
        "files_left": left, "seconds": round(time.monotonic() - started, 1),
        "corruption_without_digest": seen,
        "python": platform.python_version(), "machine": platform.machine(),
    }  # fmt: skip


def transfer(
    number: int,
    rng: random.Random,
    movies: list[bytes],
    server: Served,
    proxy: FaultProxy,
    folder: Path,
    faults: Counter[str],
) -> str:
    """Make one transfer; return ``delivered``, the error's name, or ``WRONG``."""
    folder.mkdir(exist_ok=True)
    which = rng.randrange(N_FILES)
    movie = movies[which]
    remote, right = f"fixed/{which}.ch5", [movie]
    kinds = rng.choices(KINDS, k=rng.choice((0, 1, 1, 2, 3, 12)))
    if "call" in kinds:  # its file changes: one of its own, without a digest, never corrupted
        remote = f"own/{number}.ch5"
        server.put(remote, movie)
        kinds = [kind for kind in kinds if kind != "flip"]

    def change() -> None:
        right.append(movies[rng.randrange(N_FILES)])
        server.put(remote, right[-1])

    proxy.faults = [Fault(kind, rng.randrange(len(movie)), change) for kind in kinds]
    transport = HttpTransport(
        proxy.address,
        DownloadSettings(
            connect_timeout_s=2, stall_timeout_s=0.25, total_timeout_s=10, download_attempts=3,
            retry_wait_s=0, deep_verify=rng.random() < 0.5,
        ),
    )  # fmt: skip
    target = folder / "movie.ch5"
    try:
        fetched = transport.fetch(remote, target)
    except IdrStreamError as error:
        return type(error).__name__
    finally:
        faults.update(kinds[: len(kinds) - len(proxy.faults)])
        proxy.faults = []
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    good = digest == fetched.sha256 and digest in {hashlib.sha256(m).hexdigest() for m in right}
    target.unlink()
    (folder / "movie.ch5.source.json").unlink()
    return "delivered" if good else "WRONG"


def deep_only(
    transfers: int, rng: random.Random, movies: list[bytes], proxy: FaultProxy, folder: Path
) -> dict[str, int]:
    """Corrupt one byte of each file that no digest covers; count what the deep check sees."""
    counted: Counter[str] = Counter(seen=0, not_seen=0)
    for number in range(transfers):
        which = rng.randrange(N_FILES)
        proxy.faults = [Fault("flip", rng.randrange(len(movies[which])))]
        target = folder / "movie.ch5"
        options = DownloadSettings(
            download_attempts=3, retry_wait_s=0, deep_verify=True, sidecar=False
        )
        # The same files by an address that states no digest.
        transport = HttpTransport(f"{proxy.address}norange/fixed", options)
        fetched = transport.fetch(f"{which}.ch5", target)
        same = target.read_bytes() == movies[which]
        counted["seen" if same and fetched.requests > 1 else "not_seen"] += 1
        target.unlink()
        del number
    return dict(counted)


def main() -> int:
    """Run the campaign of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--transfers", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20240607)
    here = Path(__file__).resolve().parent
    parser.add_argument("--out", type=Path, default=here / "results" / "transfer_faults.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = campaign(options.transfers, options.seed, Path(folder))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 1 if result["wrong_files_accepted"] or result["files_left"] else 0


if __name__ == "__main__":
    sys.exit(main())
