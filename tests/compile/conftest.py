"""Batches of profiled frames, without a network."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from idrstream.compile import ProfiledFrame
from idrstream.records import Features

_PROFILE = Path(__file__).parents[1] / "profile" / "conftest.py"
_spec = spec_from_file_location("profile_fixtures", _PROFILE)
_profile = module_from_spec(_spec)
_spec.loader.exec_module(_profile)
make_model, make_scene, make_task, model, project = (
    _profile.make_model,
    _profile.make_scene,
    _profile.make_task,
    _profile.model,
    _profile.project,
)


@pytest.fixture
def profiled(project, make_scene):
    """Return a function that adds a frame with so many nuclei to the project, profiled."""

    def add(count=2, *, outlines=False, **options):
        frame, objects = make_scene(count, outlines=outlines, **options)
        image = project.add(frame, objects, pixels=False, outlines=outlines)
        project.write_index()
        values = np.random.default_rng(count).normal(size=(count, 1280)).astype(np.float32)
        features = Features(objects.name, project.model.columns, values)
        return ProfiledFrame(image, objects.locations, features, objects.outlines)

    return add
