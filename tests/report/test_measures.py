"""What is measured of a frame, and which pictures are kept."""

import dataclasses
import io
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objects_at import objects_at
from PIL import Image
from scipy import ndimage

from idrstream.quality.measures import focus_of, measure
from idrstream.quality.notes import BatchNotes, forget, qc_path
from idrstream.quality.pictures import (
    FRAME_PX,
    PICTURE_BYTES,
    Picture,
    PictureStore,
    draw,
    picture_key,
)
from idrstream.quality.raw_frame import measure_raw_frame
from idrstream.records import Frame, ImageTask
from idrstream.report.findings import plate_shading
from idrstream.simulate import ScreenSpec
from idrstream.simulate.movie import simulate_movie

TASK = ImageTask("P1", "A4", 4, (1, 2))


def nuclei_of(points, areas=None, outlines=None):
    return objects_at(points, areas=areas, outlines=outlines)


def frame_of(pixels, *arguments):
    return Frame(pixels[np.newaxis], *arguments)


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.random((160, 200)), 2)
    image = (image - image.min()) / np.ptp(image)
    return (20 + 150 * image + rng.normal(0, 1, image.shape)).clip(0, 255).astype(np.uint8)


class TestMeasures:
    def test_area_intensity_and_background(self):
        pixels = np.full((64, 64), 30, np.uint16)
        pixels[10:21, 10:21] = 130
        pixels[40:51, 40:51] = 230
        found = measure(
            frame_of(pixels, 1, TASK), nuclei_of([(15, 15), (45, 45)], np.array([100.0, 140.0]))
        )
        assert (found.nuclei, found.area, found.background) == (2, 120.0, 30.0)
        assert found.intensity == pytest.approx(150.0)

    def test_of_several_channels_each_is_measured_in_the_cells(self):
        pixels = np.full((3, 64, 64), 30, np.uint16)
        cells = np.zeros((64, 64), np.int32)
        cells[5:25, 5:25], cells[36:56, 36:56] = 1, 2
        pixels[0, 10:20, 10:20] = pixels[0, 40:50, 40:50] = 200
        pixels[2][cells == 1], pixels[2][cells == 2] = 130, 230
        pixels[1, 30] = 4095
        nuclei = objects_at([(15, 15), (45, 45), (60, 60)])  # the last one has no cell
        nuclei = dataclasses.replace(nuclei, related=(dataclasses.replace(
            nuclei, name="Cells", labels=cells,
        ),), channel="Mito")  # fmt: skip
        raw = tuple(measure_raw_frame(plane) for plane in pixels)
        frame = Frame(pixels, 1, TASK, raw, ("DNA", "ER", "Mito"))
        found = measure(frame, nuclei)
        assert list(found.channels) == ["DNA", "ER", "Mito"]
        assert found.channels["Mito"].intensity == pytest.approx(150)
        assert found.channels["DNA"].intensity == pytest.approx(170 * 100 / 400)
        assert found.channels["ER"].saturated == pytest.approx(1 / 64)
        assert found.saturated == 0  # of the channel with the nuclei
        assert found.channels["ER"].background == 30

    def test_of_one_channel_there_are_no_others(self, pixels):
        assert measure(frame_of(pixels, 1, TASK), nuclei_of([(9, 9)])).channels == {}

    def test_a_frame_without_nuclei(self):
        found = measure(frame_of(np.full((64, 64), 7, np.uint8), 1, TASK), nuclei_of([]))
        assert found.nuclei == 0
        assert np.isnan([found.area, found.intensity, found.focus, found.saturated]).all()

    def test_the_more_blurred_the_steeper_is_the_slope(self, pixels):
        points = np.mgrid[20:150:20, 20:190:20].reshape(2, -1).T
        images = [ndimage.gaussian_filter(pixels.astype(float), sigma) for sigma in (0, 1, 2, 4)]
        slopes = [focus_of(image, points) for image in images]
        assert slopes == sorted(slopes, reverse=True)

    def test_the_slope_of_known_spectra(self):
        rng = np.random.default_rng(1)
        y, x = np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)[None]
        radius = np.hypot(y, x)
        radius[0, 0] = 1
        noise = np.fft.fft2(rng.normal(size=(512, 512)))
        points = np.mgrid[0:512:60, 0:512:60].reshape(2, -1).T
        for power in (0, 2, 3):  # a ring of radius r has r times as many frequencies
            image = np.fft.ifft2(noise / radius ** (power / 2)).real
            assert focus_of(image, points) == pytest.approx(1 - power, abs=0.2)

    def test_focus_does_not_tell_how_many_nuclei_there_are(self):
        def focus(blur_px, count):
            spec = ScreenSpec(height=512, width=640, nuclei_per_frame=count, frames=1,
                              blur_px=blur_px)  # fmt: skip
            movie = simulate_movie(spec, plate="SIM0001_01", well="A4")
            masks = movie.masks[0]
            labels = np.unique(masks)[1:]
            points = np.array(ndimage.center_of_mass(masks > 0, masks, labels))
            return focus_of(movie.frames[0], points)

        few, some, many = (focus(0.9, count) for count in (4, 20, 90))
        assert max(few, some, many) - min(few, some, many) < 0.4
        assert min(few, some, many) - max(focus(2.0, count) for count in (4, 90)) > 0.75

    def test_focus_is_of_the_nuclei(self, pixels):
        assert np.isnan(focus_of(pixels, np.empty((0, 2))))
        assert np.isnan(focus_of(pixels[:40], np.array([[20.0, 20.0]])))
        flat = np.full((64, 64), 7.0)
        flat[0, 0] = 9
        assert np.isnan(focus_of(flat, np.array([[60.0, 60.0]])))
        assert np.isfinite(focus_of(pixels, np.array([[0.0, 0.0], [159.4, 199.4]])))

    @pytest.mark.parametrize(("dtype", "level"), [(np.uint8, 255), (np.uint16, 4095)])
    def test_saturation_of_cameras(self, dtype, level):
        pixels = np.full((40, 40), 20, dtype)
        pixels[:4, :10] = level
        assert measure_raw_frame(pixels).saturated == pytest.approx(40 / 1600)
        pixels[:4, :10] = level - 1
        assert measure_raw_frame(pixels).saturated == 0

    def test_shading_is_of_the_background(self):
        y, x = np.mgrid[-1:1:160j, -1:1:160j]
        field = 1 - 0.3 * (y**2 + x**2) / 2
        pixels = np.rint(100 * field).astype(np.uint8)
        pixels[50:60, 50:60] = 250  # a nucleus
        found = measure_raw_frame(pixels).shading
        want = 100 * field.reshape(8, 20, 8, 20).mean(axis=(1, 3))
        assert np.abs(found - want).max() < 3


class TestPictures:
    def test_what_is_drawn(self, pixels):
        outline = np.array([(40, c) for c in range(30, 60)])
        nuclei = nuclei_of([(45, 45), (1, 198)], outlines=(outline, outline[:1]))
        made = draw(frame_of(pixels, 1, TASK), nuclei, "k")
        frame = np.asarray(Image.open(io.BytesIO(made.frame)))
        assert frame.shape == (160, 200, 3)
        line = frame[40, 30:60].astype(int)
        assert (line[2:-2, 0] - line[2:-2, 2] > 30).all()  # yellow
        assert Image.open(io.BytesIO(made.crops)).size == (2 * 64 + 2, 64)
        assert draw(frame_of(pixels, 1, TASK), nuclei, "k") == made

    def test_every_channel_has_a_row_that_holds_whole_cells(self):
        pixels = np.zeros((2, 300, 300), np.uint8)
        pixels[0, 140:160, 140:160] = 200  # a nucleus
        pixels[1, 80:220, 80:220] = 200  # its cell
        nuclei = objects_at([(150, 150)])
        box = nuclei.table.copy()
        box[["top", "left", "bottom", "right"]] = 80, 80, 220, 220
        cell = dataclasses.replace(nuclei, name="Cells", table=box)
        made = draw(
            Frame(pixels, 1, TASK, (), ("DNA", "ER")),
            dataclasses.replace(nuclei, related=(cell,)),
            "k",
        )
        with Image.open(io.BytesIO(made.crops)) as picture:
            assert picture.size == (64, 2 * 64 + 2)
            bright = np.asarray(picture.convert("L")) > 100
        assert 50 < bright[:64].sum() < 150
        assert 0.5 < bright[66:].mean() < 0.9  # all of the cell, and some space around it

    def test_large_frames_become_small(self):
        made = draw(frame_of(np.zeros((600, 2000), np.uint16), 1, TASK), nuclei_of([]), "k")
        assert Image.open(io.BytesIO(made.frame)).size == (FRAME_PX, round(FRAME_PX * 0.3))
        assert made.crops == b""

    @settings(deadline=None, max_examples=30)
    @given(st.data())
    def test_what_is_kept_depends_on_no_order(self, tmp_path_factory, data):
        sizes = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=15))
        budget = data.draw(st.integers(0, 8)) * PICTURE_BYTES
        made = [
            Picture(picture_key("P", number, 1, 1), bytes(size), b"")
            for number, size in enumerate(sizes)
        ]
        seen = []
        for seed in (1, 2):
            folder = tmp_path_factory.mktemp("store")
            left = list(made)
            random.Random(seed).shuffle(left)
            while left:
                count = random.Random(seed + len(left)).randint(1, len(left))
                store = PictureStore(folder, budget)  # begun anew, as after a death
                wanted = [picture for picture in left[:count] if store.wants(picture.key)]
                store.keep(wanted)
                left = left[count:]
            seen.append({p.name: p.stat().st_size for p in folder.glob("pictures/*")})
            assert len(seen[-1]) == min(budget // PICTURE_BYTES, len(made))
        assert seen[0] == seen[1]

    def test_the_worst_picture_is_within_its_size(self):
        noise = np.random.default_rng(0).integers(0, 255, (700, 700)).astype(np.uint8)
        nuclei = nuclei_of([(50 * n, 50 * n) for n in range(9)])
        made = draw(frame_of(noise, 1, TASK), nuclei, "k")
        assert len(made.frame) + len(made.crops) <= PICTURE_BYTES
        several = Frame(np.stack([noise] * 5), 1, TASK, (), tuple("abcde"))
        made = draw(several, nuclei, "k")
        assert len(made.frame) + len(made.crops) <= PICTURE_BYTES

    def test_no_budget_no_pictures(self, tmp_path):
        store = PictureStore(tmp_path, 0)
        assert not store.wants("0")


class TestNotes:
    def test_rows_are_in_the_order_of_the_plan_and_can_be_forgotten(self, tmp_path, pixels):
        notes = BatchNotes(tmp_path, PictureStore(tmp_path, 10**6))
        for number in (2, 1):
            frame = frame_of(
                pixels, number, TASK, (measure_raw_frame(pixels, "https://u:secret@host/a.ch5"),)
            )
            nuclei = nuclei_of([(9, 9)])
            notes.add(frame, nuclei)
        notes.publish(7, [TASK])
        lines = qc_path(tmp_path, 7).read_text().splitlines()
        assert [line.split(",")[4] for line in lines] == ["Frame", "1", "2"]
        assert "secret" not in lines[1]
        assert len(list(tmp_path.glob("pictures/*"))) == 4
        forget(tmp_path, {7, 8})
        assert list(tmp_path.glob("*/*")) == []

    def test_what_is_cleared_is_not_published(self, tmp_path, pixels):
        notes = BatchNotes(tmp_path, PictureStore(tmp_path, 10**6))
        notes.add(frame_of(pixels, 1, TASK), nuclei_of([(9, 9)]))
        notes.clear()
        notes.publish(0, [TASK])
        assert len(qc_path(tmp_path, 0).read_text().splitlines()) == 1
        assert list(tmp_path.glob("pictures/*")) == []


def test_shading_of_a_plate_is_the_median_of_its_frames():
    import pandas as pd

    grid = " ".join(["1000"] * 63)
    frames = pd.DataFrame(
        {"Plate": ["P"] * 3, "Shading": [f"{grid} {n}" for n in (500, 900, 4000)]}
    )
    field = plate_shading(frames)["P"]
    assert field.shape == (8, 8)
    assert field[7, 7] / field[0, 0] == pytest.approx(0.9)
