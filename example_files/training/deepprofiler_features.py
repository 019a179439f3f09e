"""Features of crops by DeepProfiler's own model; runs with DeepProfiler's own Python.

Usage: ``python deepprofiler_features.py CHECKPOINT.h5 CONFIG.json CROPS.npy FEATURES.npy``
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py
import numpy as np
import tensorflow as tf
from deepprofiler.profiling import build_model


def main() -> None:
    """Load the checkpoint as the ``profile`` command does, and write the features."""
    checkpoint, config_path, crops, features = map(Path, sys.argv[1:])
    config = json.loads(config_path.read_text())
    config["num_classes"] = 2
    model = build_model(config)
    wanted = {layer.name for layer in model.layers if layer.weights}
    model.layers[-1]._name = "classifier"
    model.load_weights(str(checkpoint), by_name=True)
    with h5py.File(checkpoint) as file:
        names = [n if isinstance(n, str) else n.decode() for n in file.attrs["layer_names"]]
    if missing := wanted - {*names, "classifier", "ClassProb"}:
        raise SystemExit(f"layers without weights in the file: {sorted(missing)}")
    extractor = tf.compat.v1.keras.Model(
        model.inputs, model.get_layer(config["profile"]["feature_layer"]).output
    )
    np.save(features, extractor.predict(np.load(crops)))


if __name__ == "__main__":
    main()
