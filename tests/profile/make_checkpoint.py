"""Write a checkpoint whose features vary, for tests: random weights, batch norms that fit them.

Run in a process of its own (DeepProfiler switches TensorFlow to graph mode for good):
``python make_checkpoint.py CONFIG CHECKPOINT``.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


def main(config_path: str, checkpoint_path: str) -> None:
    tf.compat.v1.set_random_seed(1)
    np.random.seed(1)  # noqa: NPY002, Keras draws from it
    # Without momentum one training step sets the statistics to those of its batch.
    tf.keras.layers.BatchNormalization = functools.partial(
        tf.keras.layers.BatchNormalization, momentum=0.0
    )
    from deepprofiler.profiling import build_model

    config = json.loads(Path(config_path).read_text())
    config["num_classes"] = 2
    model = build_model(config)
    box, channels = (
        config["dataset"]["locations"]["box_size"],
        config["dataset"]["images"]["channels"],
    )
    y, x = np.mgrid[-1 : 1 : box * 1j, -1 : 1 : box * 1j]
    rng = np.random.default_rng(2)
    crops = np.stack(
        [
            np.clip(1 - (y / a) ** 2 - (x / b) ** 2, 0, 1) + rng.random((box, box)) * 0.1
            for a, b in rng.uniform(0.2, 0.9, (16, 2))
        ]
    )
    crops = np.repeat(crops[..., np.newaxis], len(channels), axis=-1)
    model.compile(optimizer=tf.keras.optimizers.legacy.SGD(0.0), loss="categorical_crossentropy")
    model.train_on_batch(crops, np.eye(2)[np.arange(16) % 2])
    model.save_weights(checkpoint_path)


if __name__ == "__main__":
    main(*sys.argv[1:])
