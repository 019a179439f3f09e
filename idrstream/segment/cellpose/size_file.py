"""Whether a size model of Cellpose holds numbers only: its file is a pickle, which can run code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from idrstream.errors import ConfigError

# What numpy needs to restore arrays and numbers; nothing else is looked up.
_ALLOWED = {
    (f"numpy.{core}.multiarray", name)
    for core in ("core", "_core")
    for name in ("_reconstruct", "scalar")
} | {("numpy", "ndarray"), ("numpy", "dtype")}


class _NumbersOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            msg = f"it asks for {module}.{name}"
            raise pickle.UnpicklingError(msg)
        return super().find_class(module, name)


def check_size_file(path: Path) -> None:
    """Check that a size model can be loaded without running code of its own.

    Parameters
    ----------
    path : Path
        A ``.npy`` file as ``cellpose.train.train_size`` writes it.

    Raises
    ------
    ConfigError
        If it is no such file, or holds anything but numbers, arrays, texts and containers.
    """
    try:
        with path.open("rb") as file:
            form: Any = np.lib.format
            read = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}
            _, _, dtype = read[form.read_magic(file)](file)
            if dtype.hasobject:
                _NumbersOnly(file).load()
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, MemoryError,
            ImportError, pickle.UnpicklingError) as error:  # fmt: skip
        msg = f"segmentor: size_model {path} is not a size model of Cellpose: {error}"
        raise ConfigError(msg) from error
