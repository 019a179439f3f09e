"""Masks against true masks: the numbers, the folders, and the command."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import tifffile

from idrstream.cli import evaluate as cli
from idrstream.cli.parser import Parser
from idrstream.config import SegmentSettings
from idrstream.errors import ConfigError, StorageError
from idrstream.evaluate.segmentation import compare, evaluate_segmentation, find_pairs


def squares(*corners, shape=(40, 60), side=10):
    labels = np.zeros(shape, np.int32)
    for number, (y, x) in enumerate(corners, start=1):
        labels[y : y + side, x : x + side] = number
    return labels


TRUTH = squares((2, 2), (2, 30), (20, 10))


class Fixed:
    """Gives the masks it was made with, one after the other."""

    def __init__(self, *masks):
        self._masks = list(masks)

    def masks(self, pixels):
        return self._masks.pop(0), 11.0


def test_the_truth_itself_scores_one():
    result = compare("a", TRUTH, TRUTH)
    assert result.average_precision == (1.0, 1.0, 1.0)
    assert result.n_matched == (3, 3, 3)
    np.testing.assert_allclose(result.distance_px, 0)
    assert result.true_diameter_px == pytest.approx(2 * np.sqrt(100 / np.pi))


def test_one_missed_one_false_one_shifted():
    found = squares((2, 2), (3, 30), (25, 45))
    result = compare("a", found, TRUTH)
    # Shifted by one of ten pixels: IoU 90/110 = 0.82.
    assert result.n_matched == (2, 2, 1)
    assert result.average_precision == pytest.approx((2 / 4, 2 / 4, 1 / 5))
    np.testing.assert_allclose(sorted(result.distance_px), [0, 1])


@pytest.mark.parametrize(
    ("found", "truth", "wanted"),
    [((), (), 1.0), (((2, 2),), (), 0.0), ((), ((2, 2),), 0.0)],
)
def test_empty_images(found, truth, wanted):
    result = compare("a", squares(*found), squares(*truth))
    assert result.average_precision == (wanted,) * 3
    assert len(result.distance_px) == 0


def test_labels_with_gaps_count_as_many_as_there_are():
    truth = TRUTH * 7
    assert compare("a", TRUTH, truth).n_true == 3


def test_nuclei_at_the_border_can_be_left_out_on_both_sides():
    truth = squares((0, 0), (2, 30), (30, 10))
    found = squares((2, 30))
    assert compare("a", found, truth).average_precision[0] == pytest.approx(1 / 3)
    result = compare("a", found, truth, drop_edge=True)
    assert (result.n_true, result.n_found, result.average_precision[0]) == (1, 1, 1.0)


@pytest.mark.models
def test_average_precision_is_cellposes():
    from cellpose.metrics import average_precision

    rng = np.random.default_rng(0)
    truth = squares(*((y, x) for y in (0, 12, 24) for x in (0, 12, 24, 36)))
    corners = [(y, x) for y in (0, 12, 24) for x in (0, 12, 24, 36)]
    found = squares(*(np.clip(np.add(c, rng.integers(0, 4, 2)), 0, 50) for c in corners[:-2]))
    result = compare("a", found, truth)
    theirs = average_precision(truth, found, threshold=[0.5, 0.75, 0.9])[0]
    assert 0 < result.average_precision[0] < 1
    np.testing.assert_allclose(result.average_precision, theirs, rtol=1e-5)


@pytest.fixture
def folders(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    for name, truth in (
        ("one", TRUTH),
        ("two", squares((1, 1))),
        ("wide", squares((1, 1), shape=(40, 80))),
    ):
        tifffile.imwrite(images / f"{name}.tif", (truth > 0).astype(np.uint8) * 200)
        tifffile.imwrite(masks / f"{name}.tif", truth.astype(np.uint16))
    tifffile.imwrite(images / "without_mask.tif", np.zeros((4, 4), np.uint8))
    return images, masks


def test_pairs_are_those_of_the_same_name(folders):
    assert [image.stem for image, _ in find_pairs(*folders)] == ["one", "two", "wide"]
    assert [mask.name for _, mask in find_pairs(*folders, only=["two"])] == ["two.tif"]


def test_a_wanted_image_that_is_not_there_is_named(folders):
    with pytest.raises(ConfigError, match="absent"):
        find_pairs(*folders, only=["one", "absent"])


def test_folders_without_pairs_or_missing_are_refused(folders, tmp_path):
    with pytest.raises(ConfigError, match="no image"):
        find_pairs(folders[0], tmp_path)
    with pytest.raises(ConfigError, match="not a folder"):
        find_pairs(folders[0], tmp_path / "nowhere")


def test_results_by_size_and_all_together(folders):
    segmentor = Fixed(TRUTH, squares(), squares((1, 1), (20, 20), shape=(40, 80)))
    result = evaluate_segmentation(segmentor, find_pairs(*folders))
    assert list(result.by_size()) == [(40, 60), (40, 80)]
    assert result.mean_average_precision()[0] == pytest.approx((1 + 0 + 0.5) / 3)
    assert result.pooled_average_precision()[0] == pytest.approx(4 / 6)
    content = json.loads(json.dumps(result.to_json()))
    assert content["n_true"] == 5
    assert content["by_size"]["40x80"]["n_found"] == 2
    assert content["images"][0]["diameter_px"] == 11.0


@pytest.mark.models
def test_several_images_at_once_come_in_their_order(folders):
    class ByShape:
        def masks(self, pixels):
            time.sleep(0.02 if pixels.shape == (40, 60) else 0)
            return (pixels > 0).astype(np.int32), float(pixels.shape[1])

    pairs = find_pairs(*folders) * 20
    alone = evaluate_segmentation(ByShape(), pairs)
    together = evaluate_segmentation(ByShape(), pairs, threads=4)
    assert [one.name for one in together.images] == ["one", "two", "wide"] * 20
    assert together.to_json() == alone.to_json()


def test_image_and_mask_of_different_size_are_refused(folders):
    tifffile.imwrite(folders[1] / "one.tif", np.zeros((3, 3), np.uint16))
    with pytest.raises(ConfigError, match=r"one\.tif"):
        evaluate_segmentation(Fixed(TRUTH), find_pairs(*folders, only=["one"]))


def test_colour_and_broken_images_are_refused(folders):
    tifffile.imwrite(folders[0] / "one.tif", np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(ConfigError, match="grey"):
        evaluate_segmentation(Fixed(TRUTH), find_pairs(*folders, only=["one"]))
    (folders[0] / "two.tif").unlink()
    (folders[0] / "two.png").write_bytes(b"broken")
    with pytest.raises(ConfigError, match=r"two\.png cannot be read"):
        evaluate_segmentation(Fixed(TRUTH), find_pairs(*folders, only=["two"]))


def parse(*words):
    parser = Parser()
    cli.add_arguments(parser)
    return parser.parse_args(list(map(str, words)))


def test_command_prints_a_table_and_writes_json(folders, tmp_path, monkeypatch, capsys):
    import idrstream.segment

    seen = []

    def segmentor(settings):
        seen.append(settings)
        return Fixed(TRUTH, squares((1, 1)))

    monkeypatch.setattr(idrstream.segment, "CellPoseSegmentor", segmentor)
    names = tmp_path / "only.txt"
    names.write_text("one\ntwo\n\n")
    namespace = parse(
        "segmentation",
        *folders,
        "--threads",
        1,
        "--only",
        names,
        "--diameter",
        17,
        "--json",
        tmp_path / "a.json",
    )
    assert cli.handle(namespace) == 0
    shown = capsys.readouterr().out
    assert "40 x 60" in shown
    assert "1.000" in shown
    assert seen == [SegmentSettings(diameter=17.0, threads=1)]
    assert json.loads((tmp_path / "a.json").read_text())["n_images"] == 2


def test_a_list_that_is_not_there_and_a_file_that_cannot_be_written(folders, tmp_path, monkeypatch):
    import idrstream.segment

    monkeypatch.setattr(idrstream.segment, "CellPoseSegmentor", lambda specs: Fixed(TRUTH))
    with pytest.raises(ConfigError, match="list"):
        cli.handle(parse("segmentation", *folders, "--only", tmp_path / "nowhere"))
    names = tmp_path / "only.txt"
    names.write_text("one")
    with pytest.raises(StorageError, match="written"):
        cli.handle(parse("segmentation", *folders, "--only", names, "--json", names / "a.json"))


@pytest.mark.models
def test_shipped_model_on_a_few_real_images(shared_data, tmp_path):
    """A floor far below the model card's figure: is the right file there and working?"""
    folder = shared_data / "nuclei_dsb2018"
    names = tmp_path / "only.txt"
    ids = sorted(path.stem for path in (folder / "images").glob("0*.tif"))[:4]
    names.write_text("\n".join(ids))
    out = tmp_path / "result.json"
    namespace = parse(
        "segmentation", folder / "images", folder / "masks", "--only", names, "--json", out
    )
    assert cli.handle(namespace) == 0
    assert json.loads(out.read_text())["average_precision"][0] > 0.6


def test_the_command_segments_as_a_stream_does(folders, monkeypatch):
    import idrstream.segment

    seen = []

    def segmentor(settings):
        seen.append(settings)
        return Fixed(*[squares(shape=shape) for shape in ((40, 60), (40, 60), (40, 80))])

    monkeypatch.setattr(idrstream.segment, "CellPoseSegmentor", segmentor)
    alone = "--threads", "1"  # as the masks come one after the other
    changed = "--model", "cyto3", "--flow-threshold", "0.4"
    assert cli.handle(parse("segmentation", *folders, *alone)) == 0
    assert cli.handle(parse("segmentation", *folders, *alone, *changed)) == 0
    given = SegmentSettings(model_type="cyto3", flow_threshold=0.4, threads=1)
    assert seen == [SegmentSettings(threads=1), given]
    with pytest.raises(ConfigError, match="flow_threshold"):
        cli.handle(parse("segmentation", *folders, "--flow-threshold", "-1"))
