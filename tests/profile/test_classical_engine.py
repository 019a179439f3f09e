"""The classical engine: cp_measure's numbers under CellProfiler's names, object by object."""

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import pytest

from idrstream.config import ProfileSettings, checked
from idrstream.errors import ConfigError, ProfileError
from idrstream.profile.classical.engine import ClassicalEngine
from idrstream.records import Frame, ImageTask
from idrstream.segment.cells import expanded, objects_of
from idrstream.testing.engines import FeatureEngineConformance
from idrstream.workers.process import WorkerProcess

pytest.importorskip("cp_measure")

ALL = checked(ProfileSettings, {"classical_features": "all"}, "test").classical_features
CHANNELS = ("DNA", "ER")


@pytest.fixture(scope="module")
def engine():
    made = ClassicalEngine(ProfileSettings(classical_features=ALL, classical_processes=2))
    yield made
    made.close()


@pytest.fixture(scope="module")
def usual():
    made = ClassicalEngine(ProfileSettings(classical_processes=2))
    yield made
    made.close()


class TestConformance(FeatureEngineConformance):
    @pytest.fixture
    def engine(self, usual):
        return usual


def scene(seed=0, *, channels=CHANNELS, dtype=np.uint16, distance=6):
    """Return a frame whose channels differ, and its nuclei, cells and cytoplasms."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:120, :150]
    nuclei = np.zeros((120, 150), np.int32)
    for label, centre in enumerate(((30, 30), (34, 62), (80, 40), (85, 110), (20, 120)), start=1):
        nuclei[np.hypot(y - centre[0], 1.3 * (x - centre[1])) < 9 + label] = label
    objects = objects_of(expanded(nuclei, distance), drop_edge=False)
    top = np.iinfo(dtype).max
    planes = [
        (0.1 + 0.1 * n) * top
        + (nuclei > 0) * (0.5 if n == 0 else 0.05) * top
        + (objects.kind("Cytoplasm").labels > 0) * (0.02 if n == 0 else 0.4) * top
        + rng.normal(0, 0.02 * top, nuclei.shape)
        for n in range(len(channels))
    ]
    pixels = np.clip(planes, 0, top).astype(dtype)
    return Frame(pixels, 1, ImageTask("P", "A1", 1, (1,)), channels=channels), objects


def column(features, name):
    return features.values[:, features.columns.index(name)]


def test_names_are_cellprofilers(engine):
    (found,) = engine.profile(*([one] for one in scene()))
    assert {
        "Cells_AreaShape_Area", "Nuclei_AreaShape_Zernike_9_9", "Cytoplasm_AreaShape_FormFactor",
        "Nuclei_Intensity_MeanIntensity_DNA", "Cells_Intensity_IntegratedIntensityEdge_ER",
        "Nuclei_Location_CenterMassIntensity_X_DNA", "Cells_Texture_Contrast_ER_3_00_256",
        "Cells_Granularity_16_ER", "Cytoplasm_RadialDistribution_FracAtD_ER_1of4",
        "Nuclei_RadialDistribution_ZernikeMagnitude_DNA_0_0",
        "Cytoplasm_Correlation_Correlation_DNA_ER", "Cells_Correlation_K_DNA_ER",
        "Cells_Correlation_K_ER_DNA", "Cells_Correlation_Manders_ER_DNA",
        "Nuclei_Correlation_Costes_DNA_ER", "Nuclei_Correlation_RWC_ER_DNA",
        "Cells_Correlation_Overlap_DNA_ER", "Nuclei_AreaShape_MaxFeretDiameter",
        "Cells_Neighbors_NumberOfNeighbors_Adjacent", "Nuclei_Neighbors_FirstClosestDistance_5",
    } <= set(found.columns)  # fmt: skip
    assert len(found.columns) == len(set(found.columns))


def test_numbers_are_those_of_cp_measure_by_hand(engine):
    """Column by column, from the functions that cp_measure documents."""
    from cp_measure.bulk import get_core_measurements, get_correlation_measurements
    from cp_measure.core.measurecolocalization import get_correlation_overlap

    frame, objects = scene(1)
    (found,) = engine.profile([frame], [objects])
    planes = frame.pixels / 65535
    seen = set()

    def same(name, values):
        seen.add(name)
        values = np.asarray(values, float)
        values[~np.isfinite(values)] = np.nan
        np.testing.assert_array_equal(column(found, name), values.astype(np.float32), name)

    by_hand = get_core_measurements(legacy=True)
    pairs = get_correlation_measurements()
    for kind in objects.kinds:
        for family in ("sizeshape", "feret", "zernike"):
            for name, values in by_hand[family](kind.labels, None).items():
                if np.isnan(values).all():  # by its definition, for every object
                    assert name.startswith("NormalizedMoment_")
                    continue
                same(f"{kind.name}_AreaShape_{name}", values)
        for channel, plane in zip(CHANNELS, planes, strict=True):
            for name, values in by_hand["intensity"](kind.labels, plane).items():
                if not name.endswith("_Z"):
                    same(f"{kind.name}_{name}_{channel}", values)
            for name, values in by_hand["granularity"](kind.labels, plane).items():
                same(f"{kind.name}_{name}_{channel}", values)
            for name, values in by_hand["texture"](kind.labels, plane).items():
                what, rest = name.split("_", 1)
                same(f"{kind.name}_Texture_{what}_{channel}_{rest}", values)
            for family in ("radial_distribution", "radial_zernikes"):
                for name, values in by_hand[family](kind.labels, plane).items():
                    _, what, rest = name.split("_", 2)
                    same(f"{kind.name}_RadialDistribution_{what}_{channel}_{rest}", values)
        for measure, options in (
            (pairs["pearson"], {}), (pairs["manders_fold"], {}), (pairs["rwc"], {}),
            (pairs["costes"], {"scale_max": 65535}), (get_correlation_overlap, {}),
        ):  # fmt: skip
            for name, values in measure(*planes, kind.labels, **options).items():
                what = name.replace("Pearson", "Correlation")
                pair = "ER_DNA" if what.endswith("_2") else "DNA_ER"
                same(f"{kind.name}_{what.removesuffix('_1').removesuffix('_2')}_{pair}", values)
    assert {n for n in found.columns if "Neighbors" not in n} == seen


def test_neighbours_are_those_of_cp_measure_by_hand(engine):
    from cp_measure.bulk import get_multimask_measurements

    measure = get_multimask_measurements()["neighbors"]
    frame, objects = scene(1)
    (found,) = engine.profile([frame], [objects])
    for kind, method in (("Cells", "Adjacent"), ("Nuclei", "Within a specified distance")):
        labels = objects.kind(kind).labels
        for name, values in measure(labels, labels, method, 5).items():
            ours = column(found, f"{kind}_{name}")
            np.testing.assert_array_equal(ours, np.asarray(values, np.float32), name)
    assert not any(name.startswith("Cytoplasm_Neighbors") for name in found.columns)


def test_nucleus_and_cytoplasm_are_different_pixels(engine):
    """DNA is bright in the nuclei and ER in the cytoplasm; a swap of either shows."""
    (found,) = engine.profile(*([one] for one in scene(2)))

    def mean(kind, channel):
        return column(found, f"{kind}_Intensity_MeanIntensity_{channel}")

    np.testing.assert_allclose(mean("Nuclei", "DNA"), 0.6, atol=0.01)
    np.testing.assert_allclose(mean("Cytoplasm", "DNA"), 0.12, atol=0.01)
    np.testing.assert_allclose(mean("Nuclei", "ER"), 0.25, atol=0.01)
    np.testing.assert_allclose(mean("Cytoplasm", "ER"), 0.6, atol=0.01)
    area = {k: column(found, f"{k}_AreaShape_Area") for k in ("Nuclei", "Cells", "Cytoplasm")}
    assert np.array_equal(area["Nuclei"] + area["Cytoplasm"], area["Cells"])


def test_grey_levels_count_by_their_type(engine):
    """The same light in 8 and 16 bits gives the same intensities, to the rounding."""
    wide, narrow = scene(3), scene(3, dtype=np.uint8)
    for (one,), (other,) in [(engine.profile(*([x] for x in s)) for s in (wide, narrow))]:
        name = "Cells_Intensity_MeanIntensity_ER"
        np.testing.assert_allclose(column(one, name), column(other, name), atol=0.003)


def test_an_object_without_pixels_keeps_its_row_with_nan(engine):
    frame, objects = scene(4)
    labels = objects.kind("Cytoplasm").labels.copy()
    labels[labels == 2] = 0
    table = objects.kind("Cytoplasm").table.copy()
    table[1] = (2, np.nan, np.nan, 0, 0, 0, 0, 0, False)
    bare = dataclasses.replace(objects.kind("Cytoplasm"), labels=labels, table=table)
    changed = dataclasses.replace(objects, related=(objects.kind("Cells"), bare))
    (found,), (before,) = (engine.profile([frame], [of]) for of in (changed, objects))
    of_cytoplasm = np.array([name.startswith("Cytoplasm_") for name in found.columns])
    assert np.isnan(found.values[1, of_cytoplasm]).all()
    assert np.array_equal(found.values[:, ~of_cytoplasm], before.values[:, ~of_cytoplasm],
                          equal_nan=True)  # fmt: skip
    alone = [n for n, name in enumerate(found.columns) if "Granularity" not in name]
    others = [0, 2, 3, 4]
    np.testing.assert_array_equal(
        found.values[np.ix_(others, alone)], before.values[np.ix_(others, alone)]
    )


def test_numbers_of_neighbours_are_those_of_the_label_images(engine):
    frame, objects = scene(5)
    moved = np.zeros(10, np.int32)
    moved[1:6] = [1, 4, 5, 7, 9]
    kinds = []
    for kind in objects.kinds:
        table = kind.table.copy()
        table["label"] = moved[table["label"]]
        kinds.append(dataclasses.replace(kind, labels=moved[kind.labels], table=table, related=()))
    gaps = dataclasses.replace(kinds[0], related=tuple(kinds[1:]))
    (found,), (plain,) = (engine.profile([frame], [of]) for of in (gaps, objects))
    name = "Nuclei_Neighbors_FirstClosestObjectNumber_5"
    assert column(found, name).tolist() == moved[column(plain, name).astype(int)].tolist()


def test_tiny_flat_and_lonely_objects_have_numbers_or_nan(engine):
    """A pixel, a line, an object without contrast, and one alone in its frame."""
    labels = np.zeros((60, 60), np.int32)
    labels[5, 5], labels[10, 10:20], labels[20:30, 20:30] = 1, 2, 3
    objects = objects_of(expanded(labels, 0.5), drop_edge=False)
    flat = Frame(np.full((2, 60, 60), 7, np.uint16), 1, ImageTask("P", "A1", 1, (1,)),
                 channels=CHANNELS)  # fmt: skip
    (found,) = engine.profile([flat], [objects])
    assert column(found, "Nuclei_AreaShape_Area").tolist() == [1, 10, 100]
    assert np.isnan(column(found, "Cells_Correlation_Correlation_DNA_ER")).all()
    assert not np.isinf(found.values).any()
    alone = objects_of(expanded(np.where(labels == 3, 1, 0).astype(np.int32), 3), drop_edge=False)
    (found,) = engine.profile([flat], [alone])
    assert np.isnan(column(found, "Cells_Neighbors_FirstClosestDistance_Adjacent")).all()


def test_an_interrupted_call_ends_soon_and_the_next_one_works():
    engine = ClassicalEngine(ProfileSettings(classical_features=ALL, classical_processes=1))
    frames, objects = zip(*(scene(n) for n in range(40)), strict=True)
    raised = []

    def call():
        try:
            engine.profile(frames, objects)
        except ProfileError as error:
            raised.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(1)
    engine.interrupt()
    thread.join(20)
    assert not thread.is_alive()
    assert "stopped" in raised[0]
    (found,) = engine.profile(frames[:1], objects[:1])
    assert len(found) == 5
    engine.close()


def test_a_frame_that_takes_too_long_is_given_up():
    settings = ProfileSettings(profile_timeout_s=0.01, classical_processes=1)
    engine = ClassicalEngine(settings)
    with pytest.raises(ProfileError, match=r"frame 1 failed.*0\.01 s"):
        engine.profile(*([one] for one in scene()))
    engine.close()


def test_families_are_chosen_by_name(usual):
    with pytest.raises(ConfigError, match="classical_features"):
        checked(ProfileSettings, {"classical_features": ["no_such"]}, "test")
    (found,) = usual.profile(*([one] for one in scene()))
    families = {name.split("_")[1] for name in found.columns}
    assert families == {"AreaShape", "Intensity", "Location"}
    described = ClassicalEngine(ProfileSettings(classical_features=("intensity",))).describe()
    assert described == {"name": "classical", "features": ["intensity"]}


def test_of_a_frame_without_objects_no_pixels_are_sent(usual, monkeypatch):
    frame, objects = scene()
    (full,) = usual.profile([frame], [objects])
    sent = []
    ask = WorkerProcess.ask
    monkeypatch.setattr(
        WorkerProcess, "ask", lambda self, *of: sent.append(len(of[-1])) or ask(self, *of)
    )
    none = np.zeros_like(objects.labels)
    (found,) = usual.profile([frame], [objects_of(expanded(none, 6), drop_edge=False)])
    assert found.columns == full.columns
    assert found.values.shape == (0, len(full.columns))
    assert max(sent) < 100
