"""Label images that are kept: OME-NGFF labels that others can read."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr

from idrstream.compile.masks import MaskFolder, kept_folder, masks_path, read_masks, site_path
from idrstream.errors import JournalError
from idrstream.records import Frame, ImageTask
from idrstream.segment import objects_in

SHAPE = (40, 50)


def scene(number, *, plate="LT0001_02", well="A04", site=1, seed=0):
    labels = np.random.default_rng([seed, number]).integers(0, 4, SHAPE).astype(np.int32)
    task = ImageTask(plate, well, 4, (number,), site)
    return Frame(np.zeros((1, *SHAPE), np.uint8), number, task), objects_in(labels)


@pytest.fixture
def masks(tmp_path):
    return MaskFolder(tmp_path / "work" / "masks")


def test_masks_are_read_back_by_plate_well_site_and_frame(masks, tmp_path):
    scenes = [scene(50), scene(3), scene(3, site=2), scene(3, plate="0007", well="b12")]
    for frame, objects in scenes:
        masks.add(frame, objects)
    target = masks_path(tmp_path / "out", 7)
    size = sum(path.stat().st_size for path in masks.root.rglob("*") if path.is_file())
    kept = masks.publish(target)
    assert kept.size_bytes == size
    assert kept == kept_folder(target)
    assert not masks.root.exists()
    for frame, objects in scenes:
        task = frame.task
        found = read_masks(tmp_path / "out", task.plate, task.well, frame.number, site=task.site)
        assert found.dtype == np.int32
        assert np.array_equal(found, objects.labels)
    with pytest.raises(JournalError, match="no masks of plate LT0001_02 well A4 site 1 frame 4"):
        read_masks(tmp_path / "out", "LT0001_02", "A4", 4)  # between two that are there
    with pytest.raises(JournalError, match="no masks"):
        read_masks(tmp_path / "out", "LT0001_02", "A5", 3)


def test_they_are_ome_ngff_labels(masks):
    for number in (2, 1):
        masks.add(*scene(number))
    labels = zarr.open_group(masks.root / "LT0001_02" / "A" / "4" / "1" / "labels", mode="r")
    assert labels.attrs["ome"] == {"version": "0.5", "labels": ["nuclei"]}
    about = labels["nuclei"].attrs["ome"]
    (scales,) = about["multiscales"]
    assert [axis["name"] for axis in scales["axes"]] == ["t", "y", "x"]
    (level,) = scales["datasets"]
    assert level["coordinateTransformations"] == [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
    assert "image-label" in about
    array = labels["nuclei"][level["path"]]
    assert array.shape == (2, *SHAPE)
    assert array.chunks == (1, *SHAPE)
    assert array.dtype == np.int32
    metadata = json.loads((masks.root / "LT0001_02/A/4/1/labels/nuclei/0/zarr.json").read_text())
    assert metadata["zarr_format"] == 3
    assert metadata["dimension_names"] == ["t", "y", "x"]
    assert metadata["codecs"][-1]["name"] == "zstd"


def test_the_digest_tells_every_change(masks, tmp_path):
    masks.add(*scene(1))
    first = kept_folder(masks.root)
    other = MaskFolder(tmp_path / "other")
    other.add(*scene(1))
    assert kept_folder(other.root) == first
    chunk = next(path for path in other.root.rglob("c/0/0/0"))
    chunk.write_bytes(chunk.read_bytes()[::-1])
    assert kept_folder(other.root).sha256 != first.sha256
    chunk.unlink()
    assert kept_folder(other.root).sha256 != first.sha256


def test_nothing_to_keep(masks, tmp_path):
    assert masks.publish(tmp_path / "out") is None
    masks.clear()


def test_wells_without_a_usual_name_have_a_place():
    assert site_path(ImageTask("P", "well 3", 3, (1,))) == "P/well/3/1"
    assert site_path(ImageTask("1e5", "AB012", 3, (1,), 2)) == "plate=1e5/AB/12/2"
