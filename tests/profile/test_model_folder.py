"""Any PyTorch network in a folder as an engine, from files that PyTorch wrote."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from idrstream import IdrStream, models
from idrstream.compile import read_batch_table
from idrstream.config import ProfileSettings
from idrstream.demo import config_for
from idrstream.errors import ConfigError, PlanChangedError
from idrstream.folder.identity import differences
from idrstream.profile import DeepModel, TorchEngine, make_engine
from idrstream.profile.torch.crops import cut_crops
from idrstream.testing.engines import FeatureEngineConformance

PROJECT = Path(__file__).resolve().parents[2]
TOML = """
name = "vit"
channels = ["DNA", "ER"]
box_px = 24
input_px = 32
normalisation = "standard"
mean = [0.1, 0.2]
std = [2.0]
output = "features"
crops_at_once = 40
"""


class SmallViT(nn.Module):
    """A transformer over patches, as self-supervised ones are; its answer has several parts."""

    def __init__(self, channels=2, width=12, patch=8):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.place = nn.Parameter(torch.randn(1, 16, width))
        layer = nn.TransformerEncoderLayer(width, 2, 24, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, crops):
        tokens = self.encoder(self.patches(crops).flatten(2).transpose(1, 2) + self.place)
        return {"tokens": tokens, "features": tokens.mean(1)}


class Statistics(nn.Module):
    """Mean grey level of a crop's channels, through a batch normalisation."""

    def __init__(self, channels=1):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, crops):
        return self.norm(crops).mean((2, 3))


def save(folder, network, toml=TOML, *, name="model.pt2", crops=(2, 2, 32, 32), dynamic=True):
    folder.mkdir(exist_ok=True)
    example = torch.rand(crops)
    if name.endswith(".pt"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated; files of it stay around
            script = torch.jit.trace(network, example, strict=False, check_trace=False)
            script.save(folder / name)
    else:
        shapes = ({0: torch.export.Dim("n")},) if dynamic else None
        torch.export.save(
            torch.export.export(network, (example,), dynamic_shapes=shapes), folder / name
        )
    (folder / "model.toml").write_text(toml)
    return folder


@pytest.fixture(scope="module", params=["model.pt2", "model.pt"])
def vit(request, tmp_path_factory):
    return save(tmp_path_factory.mktemp("vit"), SmallViT().eval(), name=request.param)


@pytest.fixture(scope="module")
def shipped():
    return DeepModel.read(models.profiler_config_path(), models.profiler_checkpoint_path())


@pytest.fixture
def engine_of(shipped, tmp_path):
    def make(folder, **options):
        settings = ProfileSettings(
            engine="model", model_folder=folder, profile_device="cpu", **options
        )
        return make_engine(settings, shipped, tmp_path)

    return make


class TestConformanceOfAViT(FeatureEngineConformance):
    channels = ("DNA", "ER", "AGP")  # one more than it takes

    @pytest.fixture
    def engine(self, vit, engine_of):
        return engine_of(vit)


def scene(count=12, channels=("DNA",), seed=3):
    suite = FeatureEngineConformance()
    suite.channels = channels
    return suite.scene(count, seed=seed)


def test_our_own_network_gives_the_same_features(tmp_path, engine_of, shipped):
    spec = importlib.util.spec_from_file_location(
        "export_model", PROJECT / "example_files" / "export_model.py"
    )
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.export(tmp_path / "ours")
    frame, objects = scene(40)
    (found,) = engine_of(tmp_path / "ours").profile([frame], [objects])
    settings = ProfileSettings(profile_device="cpu")
    (wanted,) = TorchEngine(shipped, settings).profile([frame], [objects])
    assert found.columns == tuple(f"mitocheck-b0_{n}" for n in range(1280))
    assert wanted.values.std(axis=0).max() > 0.1
    assert np.abs(found.values - wanted.values).max() <= 1e-5 * np.abs(wanted.values).max()


@pytest.mark.parametrize(
    ("normalisation", "rest", "wanted"),
    [
        ("none", "", lambda crops: crops.mean((1, 2))),
        ("none", "mean = [5.0]\nstd = [50.0]", lambda crops: (crops.mean((1, 2)) - 5) / 50),
        (
            "crop",
            "",
            lambda crops: ((crops - low(crops)) / (high(crops) - low(crops))).mean((1, 2)),
        ),
        ("standard", "mean = [-1.0]", lambda crops: np.ones(len(crops))),
    ],
)
def test_grey_levels_reach_the_network_as_the_toml_says(
    tmp_path, engine_of, normalisation, rest, wanted
):
    toml = (
        f'name = "grey"\nchannels = ["DNA"]\nbox_px = 9\nnormalisation = "{normalisation}"\n{rest}'
    )
    folder = save(tmp_path / "m", Statistics().eval(), toml, crops=(2, 1, 9, 9))
    frame, objects = scene()
    (found,) = engine_of(folder).profile([frame], [objects])
    pixels = torch.from_numpy(frame.pixels[0]).float()
    crops = cut_crops(pixels, objects.locations, 9).numpy()
    np.testing.assert_allclose(found.values[:, 0], wanted(crops), rtol=1e-4)


def low(crops):
    return crops.min((1, 2), keepdims=True)


def high(crops):
    return crops.max((1, 2), keepdims=True)


def test_channels_are_taken_by_name(tmp_path, engine_of):
    toml = 'name = "grey"\nchannels = ["ER", "DNA", "ER"]\nbox_px = 8\nnormalisation = "none"\n'
    folder = save(tmp_path / "m", Statistics(3).eval(), toml, crops=(2, 3, 8, 8))
    engine = engine_of(folder)
    frame, objects = scene(channels=("DNA", "AGP", "ER"))
    frame.pixels[2] = frame.pixels[0] // 2
    (found,) = engine.profile([frame], [objects])
    er, dna, again = found.values.T
    assert np.array_equal(er, again)
    assert (dna > 1.5 * er).all()
    engine.check_channels(("DNA", "ER"))
    with pytest.raises(ConfigError, match=r"channels in .*model\.toml lists ER, but the frames"):
        engine.check_channels(("DNA", "Mito"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.toml", None, r"model_folder: .*model\.toml cannot be read"),
        ("model.toml", "name =", r"model\.toml cannot be read: "),
        ("model.toml", "#" * 70_000, "more than 65536 bytes"),
        ("model.toml", 'name = "a"', r"model\.toml lacks channels, box_px"),
        ("model.pt2", None, "has neither model.pt2 and model.pt"),
        ("model.pt", "", "has both model.pt2 and model.pt"),
    ],
)
def test_a_file_that_is_missing_or_wrong_is_named(tmp_path, engine_of, name, content, message):
    folder = unfinished(tmp_path / "m")
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    with pytest.raises(ConfigError, match=message):
        engine_of(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "box_px = 24",
            "box_px = 1",
            r"model\.toml has wrong settings:\n  box_px: Input should be",
        ),
        ('"vit"', '"no words"', "name: String should match pattern"),
        ("std = [2.0]", "std = [0.0]", "std.0: Input should be greater"),
        ("input_px", "inputpx", "did you mean input_px"),
        ("[2.0]", "[1.0, 2.0, 3.0]", "std in .* has 3 values for 2 channels"),
    ],
)
def test_a_key_that_is_wrong_is_named(tmp_path, engine_of, old, new, message):
    folder = unfinished(tmp_path / "m")
    write(folder, old, new)
    with pytest.raises(ConfigError, match=message):
        engine_of(folder)


def unfinished(folder):
    folder.mkdir()
    (folder / "model.toml").write_text(TOML)
    (folder / "model.pt2").touch()
    return folder


def write(folder, old, new):
    path = folder / "model.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_no_folder_named(engine_of):
    with pytest.raises(ConfigError, match="set model_folder to a folder with"):
        engine_of(None)


@pytest.mark.parametrize("name", ["model.pt2", "model.pt"])
def test_a_file_that_is_no_network(tmp_path, engine_of, name):
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "model.toml").write_text(TOML)
    (folder / name).write_bytes(b"\x80\x04 nothing of the kind")
    with pytest.raises(ConfigError, match=rf"the network .*{name} cannot be loaded: it must be"):
        engine_of(folder).load()


@pytest.mark.parametrize(
    ("network", "options", "change", "message"),
    [
        (SmallViT().eval(), {"dynamic": False}, None, "export it with a dynamic first dimension"),
        (SmallViT().eval(), {}, ('"ER"', '"ER", "Mito"'), "does not take crops of 3 channels"),
        (SmallViT().eval(), {}, ('"features"', '"pooled"'), "'pooled', which is no tensor among .*"
                                                           r"\(tokens, features\)"),
        (SmallViT().eval(), {}, ('"features"', '"tokens"'), "not \\(crops, features\\)"),
        (SmallViT().train(), {}, None, "others are beside it; call eval"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_network_shows_before_the_first_download(
    tmp_path, engine_of, network, options, change, message
):
    folder = save(tmp_path / "m", network, **options)
    if change:
        write(folder, *change)
        if "Mito" in change[1]:
            write(folder, "mean = [0.1, 0.2]", "mean = [0.1]")
    with pytest.raises(ConfigError, match=message):
        engine_of(folder).load()


def test_a_changed_network_is_another_engine(tmp_path, engine_of):
    folder = save(tmp_path / "m", SmallViT().eval())
    before = engine_of(folder).describe()
    assert engine_of(folder).describe() == before
    assert engine_of(folder, crops_at_once=3).describe() == before
    write(folder, "crops_at_once = 40", "crops_at_once = 41")
    assert engine_of(folder).describe() == before
    write(folder, "[2.0]", "[3.0]")
    (changed,) = differences({"engine": before}, {"engine": engine_of(folder).describe()})
    assert changed.startswith("engine.model.std was [2.0], is [3.0]")
    write(folder, "[3.0]", "[2.0]")
    other = SmallViT().eval()
    nn.init.ones_(other.place)
    save(folder, other)
    (changed,) = differences({"engine": before}, {"engine": engine_of(folder).describe()})
    assert changed.startswith("engine.model_sha256 was")


def test_a_stream_is_resumed_with_the_same_network_only(tmp_path, quick):
    screen = quick.make_screen(tmp_path / "screen", plates=1, wells=3)
    toml = 'name = "grey"\nchannels = ["DNA"]\nbox_px = 8\n'
    folder = save(tmp_path / "m", Statistics().eval(), toml, crops=(2, 1, 8, 8))

    def stream():
        made: IdrStream = quick.make_stream(screen, tmp_path / "s")
        config = config_for(quick.HEIGHT, quick.WIDTH, tmp_path)
        made.copy_DP_files(config, engine="model", model_folder=folder)
        return made

    first = stream()
    table = quick.table_of(screen)
    result = first.run_stream(table, 3, progress=False)
    cells = read_batch_table(result.batches[0].published.path)
    assert cells["grey_0"].between(0, 1).all()
    assert not pd.Index(cells.columns).str.startswith("efficientnet").any()
    first.close()
    again = stream()
    assert again.run_stream(table, 3, progress=False).batches == ()
    again.close()
    network = Statistics().eval()
    nn.init.constant_(network.norm.weight, 2.0)
    save(folder, network, toml, crops=(2, 1, 8, 8))
    changed = stream()
    with pytest.raises(PlanChangedError, match=r"engine\.model_sha256"):
        changed.run_stream(table, 3, progress=False)
    changed.close()
