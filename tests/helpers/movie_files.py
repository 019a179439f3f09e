"""Small CellH5 movies in CellCognition's layout, and the jar for the Java readers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[2]
CACHED_JAR = PROJECT / ".cache" / "bioformats" / "bioformats_package.jar"


def write_ch5(
    path: Path,
    movie: np.ndarray,
    *,
    valid=None,
    plate: str = "PL--x",
    well: str = "00004",
    positions: tuple[str, ...] = ("1",),
    written=None,
    chunks: bool = True,
    **options,
) -> Path:
    """Write a movie of shape (c, t, z, y, x), frames not in `written` (from 0) left out."""
    import h5py

    n_frames, (height, width) = movie.shape[1], movie.shape[3:]
    if chunks:
        quarter = (max(1, height // 4), max(1, width // 4))
        options = {"chunks": (movie.shape[0], 1, 1, *quarter), "compression": "gzip", **options}
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name in ("image", "object", "feature"):
            file.create_group(f"definition/{name}")
        for position in positions:
            folder = f"sample/0/plate/{plate}/experiment/{well}/position/{position}"
            image = file.create_group(f"{folder}/image")
            channel = image.create_dataset("channel", movie.shape, movie.dtype, **options)
            for t in range(n_frames) if written is None else written:
                channel[:, t] = movie[:, t]
            channel.attrs["valid"] = np.ones(n_frames) if valid is None else np.asarray(valid)
            labels = (movie.shape[0], n_frames, 1, height, width)
            image.create_dataset("region", labels, "u2", chunks=(1, 1, 1, height, width))
    return path


@pytest.fixture
def ch5(tmp_path) -> Callable[..., Path]:
    """Return a writer of small movies: ``ch5(array, name=..., **layout)``."""

    def write(movie: np.ndarray, name: str = "00004_01.ch5", **layout) -> Path:
        return write_ch5(tmp_path / name, movie, **layout)

    return write


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    """Return a maker of noise movies of shape (c, t, z, y, x)."""

    def make(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
        high = np.iinfo(dtype).max
        return np.random.default_rng(seed).integers(1, high, shape, dtype=dtype)

    return make


@pytest.fixture(scope="session")
def movie_bytes(tmp_path_factory) -> bytes:
    """The bytes of a small HDF5 file, some 60 KB."""
    import h5py

    path = tmp_path_factory.mktemp("hdf5") / "movie.ch5"
    with h5py.File(path, "w") as file:
        noise = np.random.default_rng(0).integers(0, 255, (30, 40, 50), dtype=np.uint8)
        file.create_dataset("image", data=noise, chunks=(1, 20, 25), compression="gzip")
    return path.read_bytes()


@pytest.fixture(scope="session")
def bioformats_jar() -> Path:
    """Return the Bio-Formats jar; skip where it or Java is missing."""
    named = os.environ.get("IDRSTREAM_BIOFORMATS_JAR")
    jar = Path(named) if named else CACHED_JAR
    if not jar.is_file():
        pytest.skip(
            f"no Bio-Formats jar at {jar}: run python tests/tools/get_bioformats.py "
            "or set IDRSTREAM_BIOFORMATS_JAR"
        )
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("no Java: apt-get install default-jre-headless")
    return jar


@pytest.fixture(scope="session")
def real_movies(shared_data) -> list[Path]:
    """Return the three real movies; the last has a frame that is marked not valid."""
    return sorted((shared_data / "movies").rglob("*.ch5"))
