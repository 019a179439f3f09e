"""The segmentor's own logic, with a stand-in for the network; see test_cellpose_real.py."""

from __future__ import annotations

import logging
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from idrstream.errors import ConfigError, MissingToolError, SegmentationError
from idrstream.records import Frame, ImageTask
from idrstream.segment import CellPoseSegmentor, Segmentor
from idrstream.segment.cellpose import lazy_model
from idrstream.segment.cellpose.models import LoadedModel

TASK = ImageTask("LT0001_02", "A4", 4, (50,))


def two_nuclei_and_one_at_the_edge():
    masks = np.zeros((40, 50), np.uint16)
    masks[0:6, 10:16] = 1
    masks[10:15, 20:27] = 2
    masks[30:33, 5:8] = 3
    return masks


class StandIn:
    device = "cpu"
    pools = False
    diam_mean = 30.0

    def __init__(self, masks):
        self.masks = masks
        self.calls: list[dict] = []
        self.images: list[np.ndarray] = []

    def eval(self, image, **options):
        self.images.append(image)
        self.calls.append(options)
        if isinstance(self.masks, Exception):
            raise self.masks
        return self.masks, None, None


class Estimator:
    def __init__(self, diameter):
        self.diameter = diameter

    def estimate(self, image, model):
        assert isinstance(model, StandIn)
        return self.diameter


class MeanEstimator(Estimator):
    def estimate(self, image, model):
        return float(image.mean())


@pytest.fixture
def make(monkeypatch):
    """Return a segmentor with a stand-in for its model, and the stand-in."""

    def make(masks, estimator=None, **specs):
        model = StandIn(masks)
        loads = []

        def load(specs):
            loads.append(specs)
            time.sleep(0.05)
            return LoadedModel(model, estimator, 21.5)

        monkeypatch.setattr(lazy_model, "load_model", load)
        settings = {"model_type": "nuclei", "remove_edge_masks": False, **specs}
        segmentor = CellPoseSegmentor(settings)
        return SimpleNamespace(segmentor=segmentor, model=model, loads=loads)

    return make


def frame(pixels=None):
    pixels = np.zeros((40, 50), np.uint8) if pixels is None else pixels
    return Frame(pixels[np.newaxis], 50, TASK)


def test_nuclei_have_labels_locations_and_diameter(make):
    made = make(two_nuclei_and_one_at_the_edge(), diameter=17)
    assert isinstance(made.segmentor, Segmentor)
    nuclei = made.segmentor.segment(frame())
    assert nuclei.locations.tolist() == [[2.5, 12.5], [12.0, 23.0], [31.0, 6.0]]
    assert nuclei.outlines is None
    assert (nuclei.name, nuclei.diameter_px) == ("Nuclei", 17.0)
    for y, x in nuclei.locations.astype(int):
        assert nuclei.labels[y, x]


def test_the_named_channel_is_segmented(make):
    made = make(np.zeros((8, 9), np.int32), MeanEstimator(0), segment_channel="ER")
    pixels = np.stack([np.full((8, 9), value, np.uint8) for value in (3, 14)])
    two = Frame(pixels, 50, TASK, channels=("DNA", "ER"))
    nuclei = made.segmentor.segment(two)
    assert (nuclei.diameter_px, nuclei.channel) == (14.0, "ER")
    with pytest.raises(ConfigError, match=r"segment_channel is 'ER', but the frames have .* DNA"):
        made.segmentor.segment(frame())


def test_the_second_channel_is_the_models_second(make):
    made = make(np.zeros((8, 9), np.int32), segment_channel="ER", second_channel="DNA")
    pixels = np.stack([np.full((8, 9), value, np.uint8) for value in (3, 14, 25)])
    three = Frame(pixels, 50, TASK, channels=("DNA", "ER", "Mito"))
    for found in (made.segmentor.segment(three), *made.segmentor.segment_many([three])):
        assert found.channel == "ER"
    for image, options in zip(made.model.images, made.model.calls, strict=True):
        assert (image.shape, options["channels"]) == ((8, 9, 2), [1, 2])
        assert image[0, 0].tolist() == [14, 3]
    assert len(made.model.calls) == 2
    with pytest.raises(ConfigError, match=r"second_channel is 'DNA', but the frames have .* ER"):
        made.segmentor.check_channels(("ER", "Mito"))
    with pytest.raises(ConfigError, match=r"second_channel is 'DNA', which is the channel that"):
        make(None, second_channel="DNA").segmentor.check_channels(("DNA", "ER"))
    assert made.segmentor.other_channels == ("DNA",)
    with pytest.raises(ConfigError, match="idrstream-nuclei takes one channel"):
        CellPoseSegmentor({"model_type": "idrstream-nuclei", "second_channel": "DNA"})


def test_edge_masks_go_and_outlines_stay_aligned(make):
    made = make(two_nuclei_and_one_at_the_edge(), diameter=17, remove_edge_masks=True)
    nuclei = made.segmentor.segment(frame(), outlines=True)
    assert nuclei.locations.tolist() == [[12.0, 23.0], [31.0, 6.0]]
    for (y, x), outline in zip(nuclei.locations, nuclei.outlines, strict=True):
        assert outline.mean(axis=0) == pytest.approx([y, x])


@pytest.mark.parametrize(
    ("diameter", "shape", "said"),
    [
        (51, (40, 50), r"of 51 pixels .* frame of 40 x 50 \(Y x X\); set diameter to 3 to 50"),
        (1e9, (40, 50), "set diameter to 3 to 50, or to 0: estimated"),
        (4, (8000, 8000), "set diameter to 21 to 8000"),
    ],
)
def test_a_diameter_that_no_frame_can_have_is_refused(make, diameter, shape, said):
    made = make(np.zeros(shape, np.uint16), diameter=diameter)
    with pytest.raises(SegmentationError, match=said):
        made.segmentor.segment(frame(np.zeros(shape, np.uint8)))
    assert made.model.calls == []


def test_a_diameter_that_is_too_small_for_the_network_is_refused_before_the_start(make):
    segmentor = make(two_nuclei_and_one_at_the_edge(), diameter=0.5).segmentor
    said = "diameter is 0.5 pixels, but the model works on nuclei of 30 .* ones of 3 or more"
    for _ in range(2):
        with pytest.raises(ConfigError, match=said):
            segmentor.load()


@pytest.mark.parametrize(("estimate", "taken"), [(0.01, 3.0), (17, 17.0), (1e9, 50.0)])
def test_an_estimated_diameter_is_one_that_the_frame_can_have(make, estimate, taken):
    made = make(two_nuclei_and_one_at_the_edge(), Estimator(estimate), diameter=0)
    assert made.segmentor.segment(frame()).diameter_px == taken
    assert made.model.calls[0]["diameter"] == taken


def test_no_nuclei_is_a_result(make):
    nuclei = make(np.zeros((40, 50), np.uint16), diameter=17).segmentor.segment(
        frame(), outlines=True
    )
    assert len(nuclei) == 0
    assert nuclei.locations.shape == (0, 2)
    assert nuclei.outlines == ()


def test_settings_reach_cellpose(make):
    made = make(
        two_nuclei_and_one_at_the_edge(),
        diameter=17,
        channels=[0, 0],
        flow_threshold=0.8,
        cellprob_threshold=-1,
        batch_size=3,
        min_size=5,
    )
    masks, diameter = made.segmentor.masks(np.zeros((40, 50), np.uint8))
    assert masks.dtype == np.int32
    assert diameter == 17
    assert made.model.calls == [
        {
            "diameter": 17.0,
            "channels": [0, 0],
            "flow_threshold": 0.8,
            "cellprob_threshold": -1.0,
            "batch_size": 3,
            "min_size": 5,
        }
    ]


def test_the_diameter_is_estimated_when_not_given(make):
    made = make(two_nuclei_and_one_at_the_edge(), Estimator(14.25), diameter=0)
    assert made.segmentor.segment(frame()).diameter_px == 14.25
    assert made.model.calls[0]["diameter"] == 14.25


def test_without_a_size_model_the_trained_diameter_is_taken_and_said_once(make, caplog):
    made = make(two_nuclei_and_one_at_the_edge(), diameter=None)
    with caplog.at_level(logging.WARNING, "idrstream"):
        assert made.segmentor.segment(frame()).diameter_px == 21.5
        made.segmentor.segment(frame())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No size model for nuclei" in caplog.text


@pytest.mark.parametrize("diameter", [0.0, float("nan"), -3.0])
def test_a_nonsensical_estimate_concerns_the_frame(make, diameter):
    made = make(two_nuclei_and_one_at_the_edge(), Estimator(diameter))
    with pytest.raises(SegmentationError, match="frame 50: the estimated diameter is"):
        made.segmentor.segment(frame())


def test_a_failure_names_plate_well_and_frame(make):
    made = make(RuntimeError("out of tiles"), diameter=17)
    with pytest.raises(
        SegmentationError,
        match="plate LT0001_02 well A4 frame 50: Cellpose failed: RuntimeError: out of tiles",
    ):
        made.segmentor.segment(frame())


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((0, 4), np.uint8), "shape"),
        (np.array([[0.0, np.nan]]), "not finite"),
    ],
)
def test_frames_that_are_no_images_are_refused(make, pixels, message):
    with pytest.raises(SegmentationError, match=message):
        make(None, diameter=17).segmentor.segment(frame(pixels))


def test_the_model_is_loaded_once_for_many_threads(make):
    made = make(two_nuclei_and_one_at_the_edge(), diameter=17)
    assert made.loads == []
    threads = [threading.Thread(target=made.segmentor.segment, args=(frame(),)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made.loads) == 1
    assert len(made.model.calls) == 5


def test_a_missing_model_is_the_users_matter_not_the_frames(monkeypatch):
    def load(specs):
        raise MissingToolError("no model")

    monkeypatch.setattr(lazy_model, "load_model", load)
    segmentor = CellPoseSegmentor({"model_type": "nuclei"})
    with pytest.raises(MissingToolError):
        segmentor.load()
    with pytest.raises(MissingToolError):
        segmentor.segment(frame())


def test_the_first_idr_streams_table_of_locations(make):
    made = make(two_nuclei_and_one_at_the_edge(), diameter=17)
    table = made.segmentor.get_object_locations(np.zeros((40, 50)))
    assert table.to_dict("list") == {
        "Location_Center_X": [12.5, 23.0, 6.0],
        "Location_Center_Y": [2.5, 12.0, 31.0],
    }
    made = make(two_nuclei_and_one_at_the_edge(), diameter=17)
    table = made.segmentor.get_object_locations(np.zeros((40, 50)), outlines=True)
    assert table["object_outline"][1].min(axis=0).tolist() == [20, 10]
