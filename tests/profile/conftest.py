"""Projects with a checkpoint that has the right names and shapes, but no weights."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from objects_at import objects_at

from idrstream import models
from idrstream.profile import DeepModel, DeepProfilerProject
from idrstream.profile.checkpoint import POOLED_WIDTH, block_names
from idrstream.records import Frame, ImageTask

CONFIG = {
    "dataset": {
        "metadata": {"label_field": "Gene"},
        "images": {"channels": ["DNA"], "file_format": "tif", "width": 64, "height": 48},
        "locations": {"mode": "single_cells", "box_size": 32, "mask_objects": False},
    },
    "prepare": {"compression": {"implement": False}},
    "train": {
        "partition": {"targets": ["Gene"]},
        "model": {
            "crop_generator": "crop_generator",
            "params": {"conv_blocks": 0, "batch_size": 8},
        },
        "validation": {"batch_size": 8},
    },
    "profile": {"feature_layer": "pool5", "checkpoint": "tiny.h5", "batch_size": 8},
}


def _write_checkpoint(path, *, channels=1, conv_blocks=0, without=(), nested=False):
    """Write a Keras weights file with the layers of an EfficientNet; all weights are zeros."""
    shapes = {"stem_conv": ("kernel:0", (3, 3, channels, 32)), "stem_bn": ("gamma:0", (32,))}
    for block in block_names(conv_blocks):
        shapes[f"{block}_dwconv"] = ("depthwise_kernel:0", (3, 3, 24, 1))
        shapes[f"{block}_bn"] = ("gamma:0", (24,))
        shapes[f"{block}_project_conv"] = ("kernel:0", (1, 1, 24, 40))
        shapes[f"{block}_project_bn"] = ("gamma:0", (40,))
    width = POOLED_WIDTH[conv_blocks]
    shapes |= {"top_conv": ("kernel:0", (1, 1, 40, width)), "top_bn": ("gamma:0", (width,))}
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if nested else file
        names = [name for name in ("input_1", *shapes, "pool5") if name not in without]
        root.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            group = root.create_group(name)
            weight, shape = shapes.get(name, (None, None))
            group.attrs["weight_names"] = [] if weight is None else [f"{name}/{weight}".encode()]
            if weight is not None:
                group.create_dataset(f"{name}/{weight}", shape=shape, dtype="f4")
    return path


def _trained_checkpoint(path: Path, channels: int, *, seed: int = 0) -> Path:
    """Write a checkpoint that behaves like a trained one of so many channels.

    It is the shipped one with its stem spread over the channels and all weights shaken.

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


def _write_config(path, **changes):
    """Write CONFIG with values changed at dotted keys (``__`` for the dot); ``...`` removes."""
    config = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        *folders, last = key.split("__")
        where = config
        for folder in folders:
            where = where.setdefault(folder, {})
        if value is ...:
            del where[last]
        else:
            where[last] = value
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def make_model(tmp_path):
    def make(**changes) -> DeepModel:
        config = _write_config(tmp_path / "tiny config.json", **changes)
        channels = changes.get("dataset__images__channels", ["DNA"])
        checkpoint = _write_checkpoint(tmp_path / "tiny.h5", channels=len(channels))
        return DeepModel.read(config, checkpoint)

    return make


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture
def project(model, tmp_path):
    return DeepProfilerProject(tmp_path / "DP project", model)


def _make_task(plate="LT0001_02", well_number=4, **values):
    metadata = values.pop("metadata", {"Original Gene Target": "ENSG00000149503"})
    return ImageTask(plate, f"A{well_number}", well_number, (50,), metadata=metadata, **values)


def _make_scene(
    count=2, *, task=None, number=50, outlines=False, shape=(48, 64), channels=("DNA",), dtype="u1"
):
    """Return a frame of noise with so many nuclei, and the nuclei."""
    task = task or _make_task()
    rng = np.random.default_rng([count, number, task.well_number])
    pixels = rng.integers(0, 255, (len(channels), *shape)).astype(dtype)
    points = rng.uniform([0, 0], shape, (count, 2))
    shapes = tuple(np.array([[n, 1], [n, 2]]) for n in range(count)) if outlines else None
    frame = Frame(pixels, number, task, channels=channels)
    return frame, objects_at(points, shape, outlines=shapes)


@pytest.fixture
def make_scene():
    return _make_scene


@pytest.fixture
def write_checkpoint():
    return _write_checkpoint


@pytest.fixture(scope="session")
def trained_checkpoint():
    return _trained_checkpoint


@pytest.fixture(scope="session")
def write_config():
    return _write_config


@pytest.fixture
def make_task():
    return _make_task
