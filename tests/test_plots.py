"""Figures of fields: what lies where on the axes."""

import numpy as np
import pandas as pd
import pytest

from idrstream.plots import draw_enlarged, draw_field, outlines_of
from idrstream.segment.locations import format_outline

plt = pytest.importorskip("matplotlib.pyplot")

SQUARE = np.array([[10, 20], [10, 30], [18, 30], [18, 20]])


@pytest.fixture
def cells():
    return pd.DataFrame({"Object_Outline": [format_outline(SQUARE)]})


@pytest.fixture
def axes():
    plt.switch_backend("agg")
    figure, made = plt.subplots(1, 2)
    yield tuple(made)
    plt.close(figure)


def bar_of(axis):
    (bar,) = [line for line in axis.lines if line.get_gid() == "scale bar"]
    return float(np.ptp(bar.get_xdata())), [text.get_text() for text in axis.texts]


def test_outlines_are_read_as_they_were_written(cells):
    np.testing.assert_array_equal(outlines_of(cells)[0], SQUARE)


def test_a_field_has_its_pixels_its_outlines_and_a_bar(axes, cells):
    pixels = np.arange(100 * 300, dtype=np.uint16).reshape(100, 300)
    draw_field(axes[0], pixels, cells, title="A4")
    image = axes[0].images[0]
    np.testing.assert_array_equal(image.get_array(), pixels)
    assert image.get_extent() == [-0.5, 299.5, 99.5, -0.5]
    outline = axes[0].lines[0].get_xydata()
    np.testing.assert_array_equal(outline, np.vstack([SQUARE, SQUARE[:1]])[:, ::-1])
    assert bar_of(axes[0]) == (50.0, ["50 px"])  # a fifth of 300 px is 60
    assert axes[0].get_title() == "A4"


@pytest.mark.parametrize(
    ("width", "pixel_um", "length_px", "text"),
    [(1344, 0.65, 100 / 0.65, "100 µm"), (64, 0.1, 10.0, "1 µm"), (9, 0, 1.0, "1 px")],
)
def test_the_bar_is_of_a_round_length(axes, width, pixel_um, length_px, text):
    draw_field(axes[0], np.zeros((20, width)), pixel_um=pixel_um)
    length, texts = bar_of(axes[0])
    assert length == pytest.approx(length_px)
    assert texts == [text]


def test_a_part_is_shown_at_its_place_and_framed_in_the_field(axes, cells):
    pixels = np.random.default_rng(0).integers(0, 255, (100, 300), np.uint8)
    draw_enlarged(axes, pixels, cells, part=(5, 15, 45, 75))
    whole, enlarged = axes
    np.testing.assert_array_equal(enlarged.images[0].get_array(), pixels[5:45, 15:75])
    assert (enlarged.get_xlim(), enlarged.get_ylim()) == ((14.5, 74.5), (44.5, 4.5))
    (frame,) = whole.patches
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((15, 5), 60, 40)
    assert bar_of(enlarged) == (10.0, ["10 px"])
