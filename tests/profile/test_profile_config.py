from __future__ import annotations

import json
import subprocess

import pytest
from own_python import PYTHON, needs_deepprofiler

from idrstream.errors import ConfigError
from idrstream.profile import Checkpoint, ProfileConfig
from idrstream.profile.checkpoint import POOLED_WIDTH, block_names

REQUIRED = [
    "dataset.metadata.label_field",
    "dataset.images.channels",
    "dataset.locations.mode",
    "dataset.locations.box_size",
    "dataset.locations.mask_objects",
    "prepare.compression.implement",
    "train.partition.targets",
    "train.model.crop_generator",
    "train.model.params.conv_blocks",
    "train.model.params.batch_size",
    "train.validation.batch_size",
    "profile.feature_layer",
    "profile.checkpoint",
    "profile.batch_size",
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiny.json"


def test_a_good_config(path, write_config):
    config = ProfileConfig.read(write_config(path))
    assert (config.size, config.box_size) == ((48, 64), 32)
    assert (config.conv_blocks, config.feature_layer, config.checkpoint) == (0, "pool5", "tiny.h5")
    assert (config.channels, config.batch_size) == (("DNA",), 8)
    assert config.index_columns == (
        "Metadata_Plate",
        "Metadata_Well",
        "Metadata_Site",
        "Plate_Map_Name",
        "DNA",
        "Gene",
        "Gene_Replicate",
    )


@pytest.mark.parametrize("key", REQUIRED)
def test_every_missing_key_is_named_with_the_file(path, key, write_config):
    write_config(path, **{key.replace(".", "__"): ...})
    with pytest.raises(ConfigError, match=f"{key} is missing in {path}"):
        ProfileConfig.read(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset.images.width", "1344"),
        ("dataset.images.width", 0),
        ("dataset.images.height", True),
        ("dataset.images.height", 10.5),
        ("dataset.images.channels", []),
        ("dataset.images.channels", "DNA"),
        ("dataset.images.channels", [1]),
        ("dataset.images.channels", ["Gene"]),
        ("dataset.images.file_format", "png"),
        ("dataset.locations.mode", "full_image"),
        ("dataset.locations.mask_objects", True),
        ("dataset.locations.mask_objects", 0),
        ("dataset.locations.box_size", 16),
        ("dataset.metadata.label_field", "Compound"),
        ("dataset.metadata.label_field", ["Gene"]),
        ("prepare.compression.implement", True),
        ("prepare.outlines", "outlines"),
        ("train.partition.targets", "Gene"),
        ("train.partition.targets", []),
        ("train.partition.targets", ["Compound"]),
        ("train.model.params.conv_blocks", 8),
        ("train.model.params.batch_size", 0),
        ("train.validation.batch_size", None),
        ("profile.feature_layer", ""),
        ("profile.checkpoint", "None"),
        ("profile.checkpoint", "../other.h5"),
        ("profile.batch_size", -1),
    ],
)
def test_every_wrong_value_is_named_with_key_and_file(path, key, value, write_config):
    write_config(path, **{key.replace(".", "__"): value})
    with pytest.raises(ConfigError) as caught:
        ProfileConfig.read(path)
    assert f"{key} in {path} must be" in str(caught.value)


def test_paths_in_the_config_would_lead_elsewhere(path, write_config):
    write_config(path, paths={"results": "/elsewhere"})
    with pytest.raises(ConfigError, match=r"paths in .* must be absent"):
        ProfileConfig.read(path)


def test_the_old_mitocheck_config_is_refused_with_what_to_change(path, write_config):
    write_config(
        path,
        train__model__crop_generator="repeat_channel_crop_generator",
        profile__use_pretrained_input_size=224,
        profile__feature_layer="avg_pool",
    )
    with pytest.raises(ConfigError) as caught:
        ProfileConfig.read(path)
    for part in (
        str(path),
        "DeepProfiler 0.5.1",
        'set train.model.crop_generator to "crop_generator"',
        "remove profile.use_pretrained_input_size",
        'set profile.feature_layer to "pool5"',
        "checkpoint",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), ("{", "is not JSON"), ("[1]", "JSON object")]
)
def test_files_that_are_no_config(path, content, message):
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        ProfileConfig.read(path)
    assert str(path) in str(caught.value)


def test_the_size_of_images_may_be_left_out(path, write_config):
    for key in ("width", "height"):
        write_config(path, **{f"dataset__images__{key}": ...})
        assert ProfileConfig.read(path).size is None


def test_channels_may_differ_and_repeat(path, write_config):
    write_config(
        path, dataset__images__channels=["DNA", "ER", "DNA"], train__partition__targets=["ER"]
    )
    config = ProfileConfig.read(path)
    assert config.channels == ("DNA", "ER", "DNA")
    assert config.image_columns == ("DNA", "ER")
    assert config.index_columns[3:6] == ("Plate_Map_Name", "DNA", "ER")


class TestCheckpoint:
    @pytest.fixture
    def check(self, path, write_config):
        def check(checkpoint, **changes):
            return ProfileConfig.read(write_config(path, **changes)).check_checkpoint(checkpoint)

        return check

    @pytest.mark.parametrize("nested", [False, True])
    def test_a_fitting_one_tells_the_number_of_features(
        self, check, tmp_path, nested, write_checkpoint
    ):
        checkpoint = write_checkpoint(tmp_path / "tiny.h5", nested=nested)
        assert check(checkpoint) == 1280

    @pytest.mark.parametrize(
        ("layer", "width"),
        [
            ("block6a_activation", 24),
            ("block6a_dwconv", 24),
            ("block2b_add", 40),
            ("block7a_project_conv", 40),
            ("stem_activation", 32),
            ("top_activation", 1280),
        ],
    )
    def test_other_layers_have_their_own_width(
        self, check, tmp_path, layer, width, write_checkpoint
    ):
        checkpoint = write_checkpoint(tmp_path / "tiny.h5")
        assert check(checkpoint, profile__feature_layer=layer) == width

    @pytest.mark.parametrize("layer", ["pool6", "ClassProb", "block9a_activation", "input_1"])
    def test_layers_that_are_not_there(self, check, tmp_path, layer, write_checkpoint):
        checkpoint = write_checkpoint(tmp_path / "tiny.h5")
        with pytest.raises(ConfigError, match=f"profile.feature_layer '{layer}' is not a layer"):
            check(checkpoint, profile__feature_layer=layer)

    def test_layers_after_the_feature_layer_may_lack(self, check, tmp_path, write_checkpoint):
        checkpoint = write_checkpoint(tmp_path / "tiny.h5", without=["top_conv", "block7a_dwconv"])
        assert check(checkpoint, profile__feature_layer="block6a_activation") == 24
        with pytest.raises(ConfigError, match=r"lacks 1 layers.*top_conv"):
            check(checkpoint)

    def test_another_variant_is_told_apart(self, check, tmp_path, write_checkpoint):
        checkpoint = write_checkpoint(tmp_path / "tiny.h5")
        with pytest.raises(
            ConfigError, match=r"lacks 7 layers of EfficientNet-B1.*block1b_project_conv"
        ):
            check(checkpoint, train__model__params__conv_blocks=1)
        checkpoint = write_checkpoint(tmp_path / "tiny.h5", conv_blocks=7)
        with pytest.raises(ConfigError, match="has 2560 channels, EfficientNet-B0"):
            check(checkpoint)

    def test_channels_must_agree(self, check, tmp_path, write_checkpoint):
        checkpoint = write_checkpoint(tmp_path / "tiny.h5", channels=3)
        assert check(checkpoint, dataset__images__channels=["DNA"] * 3) == 1280
        with pytest.raises(ConfigError, match=r"trained on 3 channels.*lists 1.*three times"):
            check(checkpoint)

    def test_its_name_must_be_the_configured_one(self, check, tmp_path, write_checkpoint):
        checkpoint = write_checkpoint(tmp_path / "other.h5")
        with pytest.raises(
            ConfigError, match=r"profile.checkpoint in .* is 'tiny.h5', but .*other.h5"
        ):
            check(checkpoint)

    def test_files_that_are_no_checkpoint(self, tmp_path):
        with pytest.raises(ConfigError, match="does not exist"):
            Checkpoint.read(tmp_path / "tiny.h5")
        (tmp_path / "tiny.h5").write_bytes(b"<html>")
        with pytest.raises(ConfigError, match="not a Keras weights file"):
            Checkpoint.read(tmp_path / "tiny.h5")


THEIR_NUMBERS = """
import inspect, json
from efficientnet import model
from efficientnet.model import DEFAULT_BLOCKS_ARGS, round_filters, round_repeats
found = []
for variant in range(8):
    source = inspect.getsource(getattr(model, f"EfficientNetB{variant}"))
    width, depth = (float(text) for text in source.split("EfficientNet(")[-1].split(",")[:2])
    repeats = [round_repeats(args.num_repeat, depth) for args in DEFAULT_BLOCKS_ARGS]
    found.append([repeats, round_filters(1280, width, 8)])
print(json.dumps(found))
"""


@pytest.mark.models
@needs_deepprofiler
def test_block_names_are_those_of_the_efficientnet_package():
    """Compare with the package's own numbers, without building the networks."""
    command = [PYTHON, "-I", "-c", THEIR_NUMBERS]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    for variant, (repeats, width) in enumerate(found):
        expected = [
            f"block{number}{'abcdefghijklmnopqrstuvwxyz'[repeat]}"
            for number, count in enumerate(repeats, start=1)
            for repeat in range(count)
        ]
        assert list(block_names(variant)) == expected
        assert POOLED_WIDTH[variant] == width
