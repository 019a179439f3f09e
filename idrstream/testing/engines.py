"""Conformance tests for every `FeatureEngine`.

Examples
--------
::

    class TestMyEngine(FeatureEngineConformance):
        @pytest.fixture
        def engine(self):
            return MyEngine()
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from idrstream.profile import FeatureEngine, check_features
from idrstream.records import Features, Frame, ImageTask, Objects
from idrstream.segment import objects_in

_RADIUS_PX = 7


class FeatureEngineConformance:
    """Inherit, and override the fixture `engine`; `channels` and `tolerance` if need be."""

    channels: tuple[str, ...] = ("DNA",)
    """Channels of the frames."""
    tolerance: float = 1e-5
    """Largest difference between two groupings, relative to the largest value: rounding."""

    @pytest.fixture
    def engine(self) -> FeatureEngine:
        """Return the engine under test."""
        raise NotImplementedError

    def scene(
        self, count: int, shape: tuple[int, int] = (160, 200), seed: int = 0
    ) -> tuple[Frame, Objects]:
        """Return a frame with about so many objects, some at the border, and the objects."""
        rng = np.random.default_rng([seed, count, *shape])
        labels = np.zeros(shape, np.int32)
        y, x = np.mgrid[: shape[0], : shape[1]]
        for label in range(1, count + 1):
            centre = rng.uniform((0, 0), shape)
            top, left = (max(0, int(at) - _RADIUS_PX) for at in centre)
            box = np.s_[top : top + 2 * _RADIUS_PX, left : left + 2 * _RADIUS_PX]
            distance = np.hypot(y[box] - centre[0], x[box] - centre[1])
            labels[box][distance < rng.uniform(0.6, 1) * _RADIUS_PX] = label
        planes = [_light(labels, rng) for _ in self.channels]
        frame = Frame(
            np.stack(planes), seed + 1, ImageTask("P1", "A1", 1, (seed + 1,)),
            channels=self.channels,
        )  # fmt: skip
        return frame, objects_in(labels, diameter_px=2.0 * _RADIUS_PX)

    def same(self, ours: Features, theirs: Features) -> None:
        """Check that features are the same within the tolerance, NaN in the same places."""
        assert (ours.object, ours.columns) == (theirs.object, theirs.columns)
        assert np.array_equal(np.isnan(ours.values), np.isnan(theirs.values))
        largest = np.nanmax(np.abs(theirs.values), initial=0)
        difference = np.nanmax(np.abs(ours.values - theirs.values), initial=0)
        assert difference <= self.tolerance * largest

    def test_it_has_the_methods(self, engine: FeatureEngine) -> None:
        """An engine is a `FeatureEngine`; `load` may be called again and again."""
        assert isinstance(engine, FeatureEngine)
        engine.load()
        engine.load()
        assert all(isinstance(name, str) for name in engine.gpus())

    def test_a_row_per_object_and_names_for_all_columns(self, engine: FeatureEngine) -> None:
        """Features belong to the kind of the objects, single precision, with unique names."""
        frame, objects = self.scene(5)
        (found,) = profile(engine, [frame], [objects])
        assert found.object == objects.name
        assert found.values.dtype == np.float32
        assert len(found) == len(objects)
        assert len(set(found.columns)) == len(found.columns) > 0
        assert not np.isnan(found.values).all(axis=0).any()

    def test_frames_without_objects_have_the_same_columns(self, engine: FeatureEngine) -> None:
        """Also when no frame of a call has any, and when there is no frame."""
        empty, none = self.scene(0)
        frame, objects = self.scene(3)
        found = profile(engine, [empty, frame, empty], [none, objects, none])
        assert [len(one) for one in found] == [0, len(objects), 0]
        (alone,) = profile(engine, [empty], [none])
        assert alone.columns == found[1].columns
        assert alone.values.shape == (0, len(alone.columns))
        assert len(engine.profile([], [])) == 0

    def test_one_object_and_thousands(self, engine: FeatureEngine) -> None:
        """Values of an object are those that it has alone, whatever the number of others."""
        frame, objects = self.scene(3000, (700, 900), seed=1)
        assert len(objects) > 1500
        (all_of_them,) = profile(engine, [frame], [objects])
        assert len(all_of_them) == len(objects)
        frame, objects = self.scene(1)
        (one,) = profile(engine, [frame], [objects])
        assert len(one) == 1

    def test_objects_at_the_border(self, engine: FeatureEngine) -> None:
        """Objects that touch the border and the corners have values like others."""
        labels = np.zeros((90, 110), np.int32)
        boxes = [(0, 0), (0, 100), (80, 0), (80, 100), (40, 0), (40, 50)]
        for label, (top, left) in enumerate(boxes, start=1):
            labels[top : top + 10, left : left + 10] = label
        rng = np.random.default_rng(5)
        pixels = np.stack([_light(labels, rng) for _ in self.channels])
        frame = Frame(pixels, 1, ImageTask("P1", "A1", 1, (1,)), channels=self.channels)
        objects = objects_in(labels)
        assert objects.table["touches_border"].tolist() == [True] * 5 + [False]
        (found,) = profile(engine, [frame], [objects])
        assert len(found) == 6

    def test_frames_of_several_sizes_in_any_company(self, engine: FeatureEngine) -> None:
        """Values do not depend on the grouping or the order of frames."""
        scenes = [
            self.scene(6, (160, 200), seed=2),
            self.scene(4, (128, 96), seed=3),
            self.scene(0, (64, 300), seed=4),
            self.scene(9, (160, 200), seed=5),
            self.scene(2, (201, 133), seed=6),
        ]
        together = profile(engine, *zip(*scenes, strict=True))
        for (frame, objects), found in zip(scenes, together, strict=True):
            (alone,) = profile(engine, [frame], [objects])
            self.same(alone, found)
        backwards = profile(engine, *zip(*scenes[::-1], strict=True))
        for one, other in zip(backwards[::-1], together, strict=True):
            self.same(one, other)

    def test_rows_are_in_the_order_of_the_objects(self, engine: FeatureEngine) -> None:
        """Objects in another order have their values in that order."""
        frame, objects = self.scene(8, seed=7)
        order = np.random.default_rng(0).permutation(len(objects))
        turned = Objects(objects.name, objects.labels, objects.table[order])
        (plain,) = profile(engine, [frame], [objects])
        (other,) = profile(engine, [frame], [turned])
        self.same(other, Features(plain.object, plain.columns, plain.values[order]))

    def test_frames_and_objects_are_not_changed(self, engine: FeatureEngine) -> None:
        """Pixels and labels are shared with others."""
        frame, objects = self.scene(4, seed=8)
        before = frame.pixels.copy(), objects.labels.copy(), objects.table.copy()
        profile(engine, [frame], [objects])
        after = frame.pixels, objects.labels, objects.table
        for one, other in zip(before, after, strict=True):
            assert np.array_equal(one, other)

    def test_a_frame_without_light(self, engine: FeatureEngine) -> None:
        """A feature that cannot be computed is NaN; nothing is infinite."""
        frame, objects = self.scene(3, seed=9)
        black = Frame(frame.pixels * 0, 1, frame.task, channels=self.channels)
        (found,) = profile(engine, [black], [objects])
        assert len(found) == len(objects)

    def test_it_goes_on_after_close(self, engine: FeatureEngine) -> None:
        """`close` may be called twice, and the engine be used again."""
        frame, objects = self.scene(3, seed=10)
        (before,) = profile(engine, [frame], [objects])
        engine.close()
        engine.close()
        (after,) = profile(engine, [frame], [objects])
        self.same(after, before)


def profile(
    engine: FeatureEngine, frames: Sequence[Frame], objects: Sequence[Objects]
) -> Sequence[Features]:
    """Return what an engine gives, after the checks that a stream makes."""
    features = engine.profile(frames, objects)
    check_features(features, frames, objects)
    return features


def _light(labels: NDArray[np.int32], rng: np.random.Generator) -> NDArray[Any]:
    levels = rng.integers(60, 200, labels.max(initial=0) + 1)
    levels[0] = 15
    noise = rng.normal(0, 4, labels.shape)
    pixels: NDArray[Any] = np.clip(levels[labels] + noise, 0, 255).astype(np.uint8)
    return pixels
