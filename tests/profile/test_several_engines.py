"""Several engines in one stream, and an engine that looks at the cells instead of the nuclei."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from idrstream.config import ProfileSettings
from idrstream.errors import ConfigError, ProfileError
from idrstream.profile import DeepModel, FeatureEngine, make_engine
from idrstream.profile.several import OfOneKind, SeveralEngines
from idrstream.records import Features
from idrstream.segment import objects_in
from idrstream.testing.engines import FeatureEngineConformance


class Brightness(FeatureEngine):
    """Means of the nuclei and of the cells, where there are any."""

    def __init__(self, *columns):
        self.columns = columns or ("Nuclei_Intensity_MeanIntensity_DNA",)

    def profile(self, frames, objects):
        return [
            Features(
                of.name, self.columns, np.float32([self._means(frame, of)] * len(self.columns)).T
            )
            for frame, of in zip(frames, objects, strict=True)
        ]

    def _means(self, frame, of):
        return [frame.plane()[of.labels == label].mean() for label in of.table["label"]]


@pytest.fixture(scope="module")
def model(tmp_path_factory, trained_checkpoint, write_config):
    folder = tmp_path_factory.mktemp("model")
    checkpoint = trained_checkpoint(folder / "trained.h5", 1)
    config = write_config(folder / "trained.json", profile__checkpoint=checkpoint.name)
    return DeepModel.read(config, checkpoint)


@pytest.fixture(scope="module")
def deep(model, tmp_path_factory):
    return make_engine(ProfileSettings(profile_device="cpu"), model, tmp_path_factory.mktemp("e"))


class TestConformance(FeatureEngineConformance):
    @pytest.fixture
    def engine(self, deep):
        return SeveralEngines({"torch": deep, "brightness": Brightness()})


def scene(channels=("DNA",), *, empty=False):
    frame, nuclei = FeatureEngineConformance().scene(6, seed=3)
    labels = nuclei.labels.copy()
    if empty:
        labels[labels == 2] = 0
    cells = objects_in(labels, "Cells")
    if empty:
        rows = nuclei.table.copy()
        rows[rows["label"] == 2] = (2, np.nan, np.nan, 0, 0, 0, 0, 0, False)
        rows[rows["label"] != 2] = cells.table
        cells = dataclasses.replace(cells, table=rows)
    return frame, dataclasses.replace(nuclei, related=(cells,))


def test_columns_stand_side_by_side_under_names_of_their_objects(deep):
    frame, objects = scene()
    (both,) = SeveralEngines({"torch": deep, "b": Brightness()}).profile([frame], [objects])
    (alone,), (means,) = (one.profile([frame], [objects]) for one in (deep, Brightness()))
    names = tuple(f"Nuclei_{name}" for name in alone.columns)
    assert both.columns == (*names, "Nuclei_Intensity_MeanIntensity_DNA")
    assert np.array_equal(both.values, np.hstack([alone.values, means.values]))


def test_an_engine_of_cells_gets_cells_and_leaves_out_those_without_pixels(deep):
    frame, objects = scene(empty=True)
    (found,) = OfOneKind(deep, "Cells").profile([frame], [objects])
    (nuclei,) = deep.profile([frame], [objects])
    assert found.object == "Nuclei"
    assert found.columns[:2] == ("Cells_efficientnet_0", "Cells_efficientnet_1")
    without = objects.table["label"] == 2
    assert np.isnan(found.values[without]).all()
    np.testing.assert_allclose(found.values[~without], nuclei.values[~without], atol=1e-6)


def test_an_engine_of_cells_says_that_there_are_none(deep):
    frame, objects = scene()
    with pytest.raises(ConfigError, match="set cells"):
        OfOneKind(deep, "Cells").profile([frame], [dataclasses.replace(objects, related=())])


def test_two_engines_with_the_same_column_are_refused():
    frame, objects = scene()
    both = SeveralEngines({"a": Brightness(), "b": Brightness()})
    with pytest.raises(ProfileError, match=r"two engines .* Nuclei_Intensity_MeanIntensity_DNA"):
        both.profile([frame], [objects])


def test_an_error_names_its_engine():
    class Broken(Brightness):
        def profile(self, frames, objects):
            raise ProfileError("no more memory")

    frame, objects = scene()
    with pytest.raises(ProfileError, match="second: no more memory"):
        SeveralEngines({"first": Brightness(), "second": Broken()}).profile([frame], [objects])


def test_settings_name_several_engines_and_their_objects(model, tmp_path):
    settings = ProfileSettings(engines=("torch", "deepprofiler"), profile_device="cpu")
    described = make_engine(settings, model, tmp_path).describe()
    assert [one["engine"] for one in described["engines"]] == ["torch", "deepprofiler"]
    of_cells = make_engine(ProfileSettings(deep_objects="cells"), model, tmp_path)
    assert of_cells.describe() == {"name": "torch", "precision": "float32", "objects": "Cells"}
    with pytest.raises(ConfigError, match="engine"):
        make_engine(ProfileSettings(engines=("torch", "no such")), model, tmp_path)
