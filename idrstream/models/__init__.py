"""The models that ship: where their files are, and which ones they are.

``nuclei.md`` and ``profiler.md`` beside this module say how they were made and how good they are.
Nothing here loads a model; `idrstream.segment.cellpose.shipped` does.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from idrstream.config.model_names import SHIPPED, SHIPPED_MODELS
from idrstream.errors import MissingToolError
from idrstream.files import file_sha256

__all__ = [
    "NUCLEI",
    "model_digest",
    "nuclei_model_path",
    "nuclei_size_model_path",
    "profiler_checkpoint_path",
    "profiler_config_path",
]

NUCLEI = SHIPPED
"""The ``model_type`` that means the nuclei model in this package."""

_FILES = dict(zip(SHIPPED_MODELS, ("nuclei", "nuclei_fast"), strict=True))


def nuclei_model_path(name: str = NUCLEI) -> Path:
    """Return the weights of a nuclei model, by default of `NUCLEI`."""
    return _shipped(f"{_FILES[name]}.npz")


def nuclei_size_model_path(name: str = NUCLEI) -> Path:
    """Return the regression that estimates the diameter of nuclei for a model."""
    return _shipped(f"{_FILES[name]}_size.npz")


def profiler_checkpoint_path() -> Path:
    """Return the DeepProfiler checkpoint for one DNA channel."""
    return _shipped("mitocheck_dna_b0.h5")


def profiler_config_path() -> Path:
    """Return the DeepProfiler configuration that goes with `profiler_checkpoint_path`."""
    return _shipped("mitocheck_profiling_config.json")


def model_digest(path: str | Path) -> str:
    """Return the SHA-256 of a model file, in hexadecimal.

    Parameters
    ----------
    path : str or Path
        Any file.

    Raises
    ------
    idrstream.errors.MissingToolError
        When the file cannot be read.
    """
    try:
        return file_sha256(Path(path))
    except OSError as error:
        raise MissingToolError(f"model file {path} cannot be read: {error}") from error


def _shipped(name: str) -> Path:
    path = Path(str(resources.files(__name__))) / name
    if not path.is_file():
        raise MissingToolError(
            f"{path} is missing from the installed package; reinstall it: "
            "pip install --force-reinstall --no-deps idrstream"
        )
    return path
