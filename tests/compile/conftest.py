"""Projects whose features files are written as DeepProfiler writes them, without it."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

_PROFILE = Path(__file__).parents[1] / "profile" / "conftest.py"
_spec = spec_from_file_location("profile_fixtures", _PROFILE)
_profile = module_from_spec(_spec)
_spec.loader.exec_module(_profile)
add, make_project, make_task, project = (
    _profile.add,
    _profile.make_project,
    _profile.make_task,
    _profile.project,
)


def _write_features(project, *, seed=0, width=1280, rows=None, shift=0.0):
    """Write index and features of all frames with nuclei, reading what DeepProfiler reads."""
    index = pd.read_csv(project.write_index(), keep_default_na=False)
    rng = np.random.default_rng(seed)
    for (_, row), image in zip(index.iterrows(), project.images, strict=True):
        locations = pd.read_csv(project.locations_path(image))
        if locations.empty:
            continue
        locations["Nuclei_Location_Center_X"] += shift
        if rows is not None:
            locations = locations.head(rows)
        path = project.features_path(image)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path,
            features=rng.normal(size=(len(locations), width)).astype(np.float32),
            metadata={**row, "Metadata_Model": "efficientnet"},
            locations=locations,
        )


@pytest.fixture
def write_features():
    return _write_features
