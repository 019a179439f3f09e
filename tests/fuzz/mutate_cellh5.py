"""Damage CellH5 files at random and read them, in processes that may crash.

    python tests/fuzz/mutate_cellh5.py [--files 5000] [--seed 0] [FILE.ch5 ...]

Each damaged file is read by a child process with limited memory; when HDF5 itself crashes or
hangs in one, the parent notes the seed and goes on with the next. Without files, small simulated
ones are taken, with old and new HDF5 structures. Prints a table and ends with 1 if anything but
our own errors came out. Not part of the suite: some minutes.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np

POSITION = "sample/0/plate/P/experiment/W/position/01"
MEMORY_BYTES = 6 * 2**30
SLOW_S, HANG_S = 5.0, 60.0
ODD_NUMBERS = (b"\xff" * 8, b"\0" * 8, (2**40).to_bytes(8, "little"), (2**63).to_bytes(8, "little"))


def simulated(folder: Path) -> list[Path]:
    """Write small movies with the structures of old and of new HDF5 versions."""
    import h5py

    movie = np.random.default_rng(1).integers(1, 255, (1, 3, 1, 12, 12), dtype=np.uint8)
    paths = []
    for version in ("earliest", "latest"):
        paths.append(folder / f"{version}.ch5")
        with h5py.File(paths[-1], "w", libver=version) as file:
            dataset = file.create_dataset(
                f"{POSITION}/image/channel", data=movie, chunks=(1, 1, 1, 6, 6),
                compression="gzip", shuffle=True,
            )  # fmt: skip
            dataset.attrs["valid"] = np.ones(3)
    return paths


def mutated(whole: bytes, seed: int) -> bytes:
    """Return a file with some bytes changed, most of them where the structure is."""
    chance = random.Random(seed)
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 2, 4, 16, 64))):
        end = len(data) if chance.random() < 0.4 else min(len(data), 12_000)
        at = chance.randrange(end)
        kind = chance.random()
        if kind < 0.4:
            data[at] ^= 1 << chance.randrange(8)
        elif kind < 0.7:
            data[at] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
        elif kind < 0.85:
            data[at : at + 8] = chance.choice((*ODD_NUMBERS, chance.randbytes(8)))
        else:
            other, length = chance.randrange(end), chance.choice((8, 32, 128))
            data[at : at + length] = data[other : other + length]
    return bytes(data[: len(whole)])


def read_all(source: Path, first: int, count: int, scratch: Path) -> None:
    """Child: read mutated files, one line for each; the last line is that of a crash."""
    from idrstream.errors import IdrStreamError
    from idrstream.formats.cellh5.reader import CellH5Reader

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    whole, reader = source.read_bytes(), CellH5Reader()
    for seed in range(first, first + count):
        scratch.write_bytes(mutated(whole, seed))
        sys.stdout.write(f"{seed} ")
        sys.stdout.flush()
        began = time.perf_counter()
        try:
            info = reader.info(scratch)
            numbers = range(1, min(info.n_frames, 4) + 1)
            reader.problems(scratch, numbers)
            reader.read(scratch, numbers)
            outcome = "read"
        except IdrStreamError:
            outcome = "refused"
        except Exception as error:
            outcome = f"foreign_{type(error).__name__}"
        if time.perf_counter() - began > SLOW_S:
            outcome = "slow"
        sys.stdout.write(f"{outcome}\n")
        sys.stdout.flush()


def campaign(source: Path, first: int, count: int, scratch: Path) -> Counter[str]:
    """Parent: run children until all seeds are through."""
    outcomes: Counter[str] = Counter()
    end = first + count
    while first < end:
        child = subprocess.Popen(
            [sys.executable, __file__, "--child", str(source), "--seed", str(first),
             "--files", str(end - first), "--scratch", str(scratch)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert child.stdout is not None
        for line in _lines(child):
            seed, _, outcome = line.partition(" ")
            outcomes[outcome.strip() or "hang"] += 1
            first = int(seed) + 1
        if child.wait() != 0:
            outcomes[f"crash_{child.returncode}"] += 1
            sys.stderr.write(f"{source.name}: died with {child.returncode}, seed {first}\n")
            first += 1
    return outcomes


def _lines(child: subprocess.Popen[str]):
    """Yield the child's lines; kill it when none comes for a while."""
    assert child.stdout is not None
    while True:
        timer = threading.Timer(HANG_S, child.kill)
        timer.start()
        line = child.stdout.readline()
        timer.cancel()
        if not line.endswith("\n"):
            return
        yield line


def main() -> int:
    """Run the campaign, or as its child read the files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("sources", nargs="*", type=Path)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        read_all(given.sources[0], given.seed, given.files, given.scratch)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder) / "mutated.ch5"
        table = {
            source.name: dict(campaign(source, given.seed, given.files, scratch))
            for source in given.sources or simulated(Path(folder))
        }
    sys.stdout.write(json.dumps(table, indent=2) + "\n")
    if given.out:
        given.out.write_text(json.dumps(table, indent=2) + "\n")
    wanted = {"read", "refused"}
    return 0 if all(set(outcomes) <= wanted for outcomes in table.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
