"""Planes, frames and channels in files of their own: one image for each row."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import tifffile

from idrstream import make_downloader
from idrstream.config.sections import PreprocessSettings
from idrstream.download import limit_to_needed
from idrstream.errors import DownloadError, TableError
from idrstream.preprocess import check_selectors, make_preprocessor
from idrstream.records import ImageTask


@pytest.fixture
def archive(tmp_path, noise):
    """Files for each channel, frame and plane; the pixels, shape (c, t, z, y, x)."""
    pixels = noise(2, 3, 4, 12, 16, dtype="uint16")
    (tmp_path / "mirror").mkdir()
    for c, t, z in product(range(2), range(3), range(4)):
        path = tmp_path / "mirror" / f"c{c}_t{t}_z{z}.tif"
        tifffile.imwrite(path, pixels[c, t, z])
    return pixels


ONE = {"Path": "c0_t<0-2>_z<0-3>.tif", "Planes": "4"}
CHANNELS = {
    "Path Hoechst": "c0_t<0-2>_z<0-3>.tif",
    "Path Mito": "c1_t<0-2>_z<0-3>.tif",
    "Planes": "4",
}


def streamed(tmp_path, metadata, frames=(3, 1), **settings):
    """Return the frames of an image, and which files were downloaded for it."""
    task = ImageTask("P", "A1", 1, frames, 1, metadata)
    options = PreprocessSettings(perform_illumination_correction=False, **settings)
    parts = make_preprocessor(options, tmp_path / "models")
    check_selectors(parts, [task])
    source = make_downloader(method="local", root=tmp_path / "mirror")
    limit_to_needed(source, parts)
    movie = source.download(task, tmp_path / "new")
    files = {path.name.removeprefix("00001_01_") for path in (tmp_path / "new").rglob("*.tif")}
    return parts.process(movie), files


@pytest.mark.parametrize("how", ["max", "mean"])
def test_the_planes_of_each_frame_become_one_image(tmp_path, archive, how):
    frames, files = streamed(tmp_path, ONE, projection=how)
    assert files == {f"c0_t{t}_z{z}.tif" for t in (0, 2) for z in range(4)}
    assert [frame.number for frame in frames] == [3, 1]
    for frame in frames:
        stack = archive[0, frame.number - 1]
        expected = stack.max(axis=0) if how == "max" else np.floor(stack.mean(axis=0) + 0.5)
        np.testing.assert_array_equal(frame.plane(), expected)


def test_only_the_chosen_plane_is_downloaded(tmp_path, archive):
    frames, files = streamed(tmp_path, ONE, z=2)
    assert files == {"c0_t0_z2.tif", "c0_t2_z2.tif"}
    np.testing.assert_array_equal(frames[0].plane(), archive[0, 2, 2])


def test_channels_in_files_of_their_own_too(tmp_path, archive):
    channels = ("ER=Mito", "DNA=Hoechst")
    frames, _ = streamed(tmp_path, CHANNELS, projection="max", image_channels=channels)
    expected = archive[::-1, 2].max(axis=1)
    np.testing.assert_array_equal(frames[0].pixels, expected)
    assert frames[0].channels == ("ER", "DNA")


def test_frames_in_files_of_their_own(tmp_path, archive):
    metadata = {"Path": "c1_t<0-2>_z3.tif", "Planes": "1"}
    frames, files = streamed(tmp_path, metadata, frames=(2, 4))
    assert files == {"c1_t1_z3.tif"}
    np.testing.assert_array_equal(frames[0].plane(), archive[1, 1, 3])
    assert "frame 4 of a movie of 3" in frames[1].reason


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"A1 \(row 1\): it has 4 z-planes: set preprocess\.projection"),
        ({"z": 4}, r"preprocess\.z is 4, counted from 0, but it has 4 z-planes"),
    ],
)
def test_the_choice_of_a_plane_is_asked_for_before_the_start(tmp_path, archive, settings, message):
    with pytest.raises(TableError, match=message):
        streamed(tmp_path, ONE, **settings)


def test_a_file_that_is_missing_fails_the_image(tmp_path, archive):
    (tmp_path / "mirror" / "c0_t2_z1.tif").unlink()
    with pytest.raises(DownloadError, match="c0_t2_z1"):
        streamed(tmp_path, ONE, projection="max")
    frames, _ = streamed(tmp_path, ONE, frames=(1,), projection="max")
    np.testing.assert_array_equal(frames[0].plane(), archive[0, 0].max(axis=0))


def test_files_of_other_sizes_are_told(tmp_path, archive):
    tifffile.imwrite(tmp_path / "mirror" / "c0_t0_z1.tif", np.ones((5, 5), np.uint16))
    (frame, good) = streamed(tmp_path, ONE, frames=(1, 2), projection="max")[0]
    assert "its page has (5, 5) pixels" in frame.reason
    np.testing.assert_array_equal(good.plane(), archive[0, 1].max(axis=0))
