"""Checkpoints with other numbers of channels that behave like trained ones, made of the shipped."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from idrstream import models


def trained_checkpoint(path: Path, channels: int, *, seed: int = 0) -> Path:
    """Write the shipped checkpoint with its stem spread over `channels`, and all weights shaken.

    The parts of the stem add up to the whole for equal channels, so the statistics of the batch
    norms stay those of real nuclei.
    """
    rng = np.random.default_rng(seed)
    with h5py.File(models.profiler_checkpoint_path()) as source, h5py.File(path, "w") as target:
        for name, value in source.attrs.items():
            target.attrs[name] = value

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                group = target.require_group(name)
                for key, value in item.attrs.items():
                    group.attrs[key] = value
                return
            values = item[:].astype(np.float32)
            if name.startswith("stem_conv"):
                parts = rng.dirichlet(np.full(channels, 3.0)).astype(np.float32)
                values = values * parts[None, None, :, None]
            # Batch norms' variances and scales stay positive.
            values = values * rng.uniform(0.97, 1.03, values.shape).astype(np.float32)
            target.create_dataset(name, data=values)

        source.visititems(copy)
    return path
