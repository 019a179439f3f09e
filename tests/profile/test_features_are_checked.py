"""What engines leave is checked before it becomes a table."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from idrstream.errors import ProfileError
from idrstream.profile import check_features
from idrstream.profile.deepprofiler.features_file import write_features


def leave(project, change=lambda features: features):
    """Write features for every frame with nuclei, changed."""
    rng = np.random.default_rng(0)
    for image in project.images:
        if image.nuclei:
            features = change(rng.normal(size=(image.nuclei, 1280)).astype(np.float32))
            write_features(project, image, features, np.ones((len(features), 2)))


def with_nan(features):
    features[0, 0] = np.nan
    return features


def test_good_features_are_taken_also_beside_frames_without_nuclei(project, add, caplog):
    add(project, 2)
    add(project, 0, number=51)
    leave(project)
    check_features(project)
    assert not caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[:-1], r"frame 50 have shape \(1, 1280\) instead of \(2, 1280\)"),
        (lambda f: f[:, :100], r"shape \(2, 100\) instead of \(2, 1280\)"),
        (with_nan, "frame 50 are not all finite"),
        (lambda f: f * 0, r"all 2 nuclei are the same number: the checkpoint tiny\.h5"),
    ],
)
def test_wrong_features_are_named(project, add, change, message):
    add(project, 2)
    leave(project, change)
    with pytest.raises(ProfileError, match=message):
        check_features(project)


def test_a_missing_or_damaged_file_is_named(project, add):
    add(project, 2)
    with pytest.raises(ProfileError, match="no features for plate LT0001_02 well A4 frame 50"):
        check_features(project)
    leave(project)
    path = project.features_path(project.images[0])
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ProfileError, match=r"frame 50 in .*1\.npz cannot be read"):
        check_features(project)
    np.savez(path, locations=np.ones((2, 2)))
    with pytest.raises(ProfileError, match=r"frame 50 in .* cannot be read: .*features"):
        check_features(project)


@pytest.mark.parametrize(
    ("count", "change"),
    [(2, lambda f: f * 1e-7), (1, lambda f: f * 1e-7), (2, lambda f: f[:1].repeat(2, axis=0))],
)
def test_features_that_hardly_vary_are_a_warning(project, add, caplog, count, change):
    add(project, count)
    leave(project, change)
    with caplog.at_level(logging.WARNING, "idrstream"):
        check_features(project)
    assert "tiny.h5 looks untrained" in caplog.text
