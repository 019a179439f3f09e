"""Crops, classical features, the probe, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from skimage.io import imsave

from idrstream.cli import evaluate as cli
from idrstream.cli.parser import Parser
from idrstream.errors import ConfigError, MissingToolError
from idrstream.evaluate import deepfeatures
from idrstream.evaluate.classical import classical_features
from idrstream.evaluate.crops import read_crops
from idrstream.evaluate.picture import draw_confusion
from idrstream.evaluate.probe import grouped_probe, pooled, split_probe
from idrstream.profile import FeatureEngine
from idrstream.records import Features


def nucleus(rng, long, short, side=64):
    y, x = np.mgrid[:side, :side] - side / 2
    inside = (x / long) ** 2 + (y / short) ** 2 < 1
    image = rng.normal(20, 2, (side, side)) + 90 * inside + inside * rng.normal(0, 5, (side, side))
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("crops")
    rng = np.random.default_rng(0)
    for name, long, short in (("Round", 10, 10), ("Long", 16, 6)):
        (root / name).mkdir()
        for movie in range(4):
            for cell in range(3):
                crop = nucleus(rng, long + rng.normal(), short + rng.normal())
                imsave(
                    root / name / f"PLscreen___P{movie:05d}_01___T{cell}___img.png",
                    crop,
                    check_contrast=False,
                )
    return root


def test_crops_come_with_class_movie_and_name(folder):
    crops = read_crops(folder)
    assert crops.pixels.shape == (24, 64, 64)
    assert set(crops.classes) == {"Round", "Long"}
    assert set(crops.groups) == {f"PLscreen___P{m:05d}_01" for m in range(4)}
    assert crops.names[0] == "Long/PLscreen___P00000_01___T0___img.png"


@pytest.mark.parametrize(("group_by", "groups"), [("screen", 1), ("none", 24)])
def test_other_groups(folder, group_by, groups):
    assert len(set(read_crops(folder, group_by).groups)) == groups


def test_part_of_the_crops(folder):
    crops = read_crops(folder)
    chosen = crops.listed_in(crops.names[3:5])
    assert crops.take(chosen).names == crops.names[3:5]
    with pytest.raises(ConfigError, match="absent"):
        crops.listed_in(["absent.png"])


def test_what_is_wrong_with_crops_is_said(folder, tmp_path):
    with pytest.raises(ConfigError, match="below"):
        read_crops(tmp_path)
    with pytest.raises(ConfigError, match="group-by"):
        read_crops(folder, "plate")
    (tmp_path / "A").mkdir()
    imsave(tmp_path / "A" / "one.png", np.zeros((8, 8), np.uint8), check_contrast=False)
    with pytest.raises(ConfigError, match="does not begin"):
        read_crops(tmp_path)
    imsave(tmp_path / "A" / "two.png", np.zeros((9, 8), np.uint8), check_contrast=False)
    with pytest.raises(ConfigError, match="sizes"):
        read_crops(tmp_path, "none")
    imsave(tmp_path / "A" / "three.png", np.zeros((8, 8, 3), np.uint8), check_contrast=False)
    with pytest.raises(ConfigError, match="grey"):
        read_crops(tmp_path, "none")
    (tmp_path / "A" / "three.png").write_bytes(b"broken")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_crops(tmp_path, "none")


def test_classical_features_are_finite_and_tell_shapes_apart(folder):
    crops = read_crops(folder)
    features = classical_features(crops.pixels)
    assert features.shape[0] == 24
    assert features.shape[1] > 150
    assert np.isfinite(features).all()
    assert grouped_probe(features, crops.classes, crops.groups).macro_f1 == 1.0


def test_classical_features_of_a_flat_crop_are_finite():
    assert np.isfinite(classical_features(np.full((1, 64, 64), 9, np.uint8))).all()


def test_probe_on_features_that_say_nothing_is_near_chance():
    rng = np.random.default_rng(1)
    classes = ["a", "b"] * 100
    groups = [str(i // 10) for i in range(200)]
    assert grouped_probe(rng.normal(size=(200, 5)), classes, groups).macro_f1 < 0.65


def test_probe_counts_classes_of_the_held_out_cells_only():
    centres = {"a": 0.0, "b": 5.0, "c": 10.0}
    classes = np.repeat(list("abc"), 40)
    features = np.array([[centres[c], -(centres[c] ** 2) / 10] for c in classes])
    features += np.random.default_rng(0).normal(0, 0.1, features.shape)
    held_out = np.zeros(120, bool)
    held_out[[0, 1, 50]] = True
    result = split_probe(features, classes, held_out)
    assert result.classes == ("a", "b")
    assert result.confusion.tolist() == [[2, 0], [0, 1]]
    assert result.macro_f1 == result.weighted_f1 == 1.0


def test_a_class_that_is_only_guessed_counts_in_no_mean():
    features = np.array([[0.0], [0.1], [5.0], [5.1], [5.05], [0.05]])
    result = split_probe(features, list("aabbaa"), np.arange(6) >= 4)
    assert result.classes == ("a", "b")
    assert np.isnan(result.class_f1()["b"])
    assert result.macro_f1 == pytest.approx(2 / 3)
    assert result.to_json()["class_f1"]["b"] is None


def test_f1_agrees_with_scikit_learn():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(2)
    classes = np.array(list("abc"))[rng.integers(0, 3, 300)]
    features = rng.normal(size=(300, 4)) + (classes == "a")[:, None]
    result = split_probe(features, classes, np.arange(300) >= 200)
    true = np.repeat(result.classes, result.confusion.sum(axis=1))
    guessed = np.concatenate([np.repeat(result.classes, row) for row in result.confusion])
    assert result.macro_f1 == pytest.approx(f1_score(true, guessed, average="macro"))
    assert result.weighted_f1 == pytest.approx(f1_score(true, guessed, average="weighted"))


def test_probes_on_different_cells_are_scored_together():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(3)
    classes = np.array(list("abc"))[rng.integers(0, 3, 300)]
    classes[:100][classes[:100] == "c"] = "b"  # not among the first cells that are guessed
    features = rng.normal(size=(300, 4)) + (classes == "a")[:, None]
    sides = [np.arange(300) // 100 == part for part in range(3)]
    results = [split_probe(features, classes, side) for side in sides]
    together = pooled(results)
    assert together.confusion.sum() == 300
    true = np.repeat(together.classes, together.confusion.sum(axis=1))
    guessed = np.concatenate([np.repeat(together.classes, row) for row in together.confusion])
    assert together.macro_f1 == pytest.approx(f1_score(true, guessed, average="macro"))
    assert pooled(results[:1]).to_json() == results[0].to_json()


def test_probe_refuses_what_it_cannot_learn():
    with pytest.raises(ConfigError, match="one group"):
        grouped_probe(np.zeros((2, 1)), ["a", "b"], ["x", "x"])
    with pytest.raises(ConfigError, match="two classes"):
        split_probe(np.zeros((3, 1)), ["a", "a", "b"], np.array([False, False, True]))


def test_confusion_picture_is_drawn(tmp_path):
    result = split_probe(
        np.arange(6.0)[:, None], list("aabbab"), np.array([0, 0, 0, 0, 1, 1], bool)
    )
    draw_confusion(result, tmp_path / "confusion.png", "test")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="written"):
        draw_confusion(result, tmp_path / "no" / "confusion.png", "test")


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    result = split_probe(np.arange(4.0)[:, None], list("abab"), np.array([0, 0, 1, 1], bool))
    with pytest.raises(MissingToolError, match="pip install matplotlib"):
        draw_confusion(result, tmp_path / "a.png", "test")


class MeanEngine(FeatureEngine):
    """A crop's features are mean and deviation of the box around each location."""

    def __init__(self):
        self.closed = False

    def profile(self, frames, objects):
        return [self._of(frame, one) for frame, one in zip(frames, objects, strict=True)]

    def _of(self, frame, objects):
        pixels, half = frame.plane(), 32
        boxes = [
            pixels[y - half : y + half, x - half : x + half]
            for y, x in objects.locations.astype(int)
        ]
        values = np.array([[box.mean(), box.std()] for box in boxes], np.float32)
        return Features(objects.name, ("mean", "deviation"), values)

    def close(self):
        self.closed = True


def shipped():
    from idrstream import models

    return models.profiler_checkpoint_path(), models.profiler_config_path()


def test_crops_are_laid_out_so_that_each_box_is_its_crop():
    crops = np.random.default_rng(0).integers(0, 255, (300, 64, 64), np.uint8)
    engine = MeanEngine()
    features = deepfeatures.deep_features(crops, *shipped(), engine=engine)
    assert features.shape == (300, 2)
    np.testing.assert_allclose(features[:, 0], crops.mean(axis=(1, 2)), rtol=1e-5)
    assert engine.closed


def test_no_crops_have_no_features():
    none = np.empty((0, 64, 64), np.uint8)
    assert deepfeatures.deep_features(none, *shipped(), engine=MeanEngine()).shape == (0, 1280)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 64, 60), "square"), ((2, 32, 32), "box_size"), ((1, 1100, 1100), "fit")],
)
def test_crops_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(ConfigError, match=message):
        deepfeatures.deep_features(np.zeros(shape, np.uint8), *shipped(), engine=MeanEngine())


def parse(*words):
    parser = Parser()
    cli.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(
        deepfeatures, "deep_features", lambda crops, *_: crops[:, 20:44, 28:36].mean(axis=2)
    )


def test_command_with_folds_picture_and_json(folder, tmp_path, quick, capsys):
    picture, out = tmp_path / "c.png", tmp_path / "r.json"
    assert cli.handle(parse("features", folder, "--picture", picture, "--json", out)) == 0
    shown = capsys.readouterr().out
    assert "mitocheck_dna_b0.h5" in shown
    assert "classical features" in shown
    assert "Round" in shown
    assert picture.is_file()
    assert json.loads(out.read_text())["classical features"]["macro_f1"] == 1.0


def test_command_with_a_list_of_held_out_crops(folder, tmp_path, quick, capsys):
    names = read_crops(folder).names
    listed = [name for name in names if "P00003" in name]
    only = tmp_path / "validation.txt"
    only.write_text("\n".join(listed))
    assert cli.handle(parse("features", folder, "--only", only, "--no-baseline")) == 0
    assert f" {len(listed)} " in capsys.readouterr().out


def test_a_list_that_splits_a_movie_is_refused(folder, tmp_path, quick):
    only = tmp_path / "validation.txt"
    only.write_text(read_crops(folder).names[0])
    with pytest.raises(ConfigError, match="only some of the crops"):
        cli.handle(parse("features", folder, "--only", only))


def test_command_that_learns_from_another_folder(folder, quick, capsys, tmp_path):
    assert cli.handle(parse("features", folder, "--fit-on", folder, "--no-baseline")) == 0
    assert " 24 " in capsys.readouterr().out
    (tmp_path / "A").mkdir()
    imsave(tmp_path / "A" / "s___p___1.png", np.zeros((8, 8), np.uint8), check_contrast=False)
    with pytest.raises(ConfigError, match="differ in size"):
        cli.handle(parse("features", folder, "--fit-on", tmp_path))


@pytest.mark.models
def test_features_of_the_shipped_checkpoint(folder):
    """Features differ between crops, and turning a crop by a half changes them little."""
    crops = read_crops(folder).pixels[::6]
    both = np.concatenate([crops, crops[:, ::-1, ::-1]])
    features = deepfeatures.deep_features(both, *shipped())
    assert features.shape == (2 * len(crops), 1280)
    straight, turned = np.split(features, 2)
    spread = np.linalg.norm(features - features.mean(axis=0), axis=1).mean()
    assert spread > 0.1
    assert np.linalg.norm(straight - turned, axis=1).mean() < spread
