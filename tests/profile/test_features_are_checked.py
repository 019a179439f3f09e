"""What engines return is checked before it becomes a table."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from idrstream.errors import ProfileError
from idrstream.profile import check_features
from idrstream.profile.checks import check_embedding
from idrstream.profile.deepprofiler.features_file import read_features, write_features
from idrstream.records import Features


def features_of(objects, model, change=lambda features: features):
    values = np.random.default_rng(0).normal(size=(len(objects), len(model.columns)))
    return Features(objects.name, model.columns, change(values.astype(np.float32)))


def with_value(value):
    def change(features):
        features[0, 0] = value
        return features

    return change


@pytest.fixture
def check(model, make_scene):
    def check(change=lambda features: features, count=2):
        frame, objects = make_scene(count)
        found = [features_of(objects, model, change)]
        check_features(found, [frame], [objects])
        check_embedding(found, [frame], model)

    return check


def test_good_features_are_taken_also_beside_frames_without_nuclei(model, make_scene, caplog):
    frames, objects = zip(make_scene(2), make_scene(0, number=51), strict=True)
    found = [features_of(of, model) for of in objects]
    check_features(found, frames, objects)
    check_embedding(found, frames, model)
    assert not caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[:-1], r"frame 50 have shape \(1, 1280\) instead of \(2, 1280\)"),
        (lambda f: f[:, :100], r"shape \(2, 100\) instead of \(2, 1280\)"),
        (with_value(np.nan), "frame 50 are not all finite"),
        (with_value(-np.inf), "frame 50 are not all finite"),
        (lambda f: f * 0, r"all 2 objects are the same number: the checkpoint tiny\.h5"),
    ],
)
def test_wrong_features_are_named(check, change, message):
    with pytest.raises(ProfileError, match=message):
        check(change)


def test_a_feature_that_is_not_defined_is_no_error_of_every_engine(model, make_scene):
    frame, objects = make_scene(2)
    check_features([features_of(objects, model, with_value(np.nan))], [frame], [objects])


def test_frames_must_agree(model, make_scene):
    frames, objects = zip(make_scene(2), make_scene(1, number=51), strict=True)
    found = [features_of(of, model) for of in objects]
    with pytest.raises(ProfileError, match="features of 1 frames for 2"):
        check_features(found[:1], frames, objects)
    other = Features("Nuclei", tuple("abc"), np.zeros((1, 3), np.float32))
    with pytest.raises(ProfileError, match="frame 51 have other names than those before"):
        check_features([found[0], other], frames, objects)


def test_a_missing_or_damaged_file_is_named(tmp_path):
    path = tmp_path / "P1" / "4_50" / "1.npz"
    with pytest.raises(ProfileError, match="no features for frame 50"):
        read_features(path, "frame 50")
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_features(path, values, np.ones((2, 2)), {"Metadata_Plate": "P1"})
    assert np.array_equal(read_features(path, "frame 50"), values)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ProfileError, match=r"frame 50 in .*1\.npz cannot be read"):
        read_features(path, "frame 50")
    np.savez(path, locations=np.ones((2, 2)))
    with pytest.raises(ProfileError, match=r"frame 50 in .* cannot be read: .*features"):
        read_features(path, "frame 50")


@pytest.mark.parametrize(
    ("count", "change"),
    [(2, lambda f: f * 1e-7), (1, lambda f: f * 1e-7), (2, lambda f: f[:1].repeat(2, axis=0))],
)
def test_features_that_hardly_vary_are_a_warning(check, caplog, count, change):
    with caplog.at_level(logging.WARNING, "idrstream"):
        check(change, count)
    assert "tiny.h5 looks untrained" in caplog.text
