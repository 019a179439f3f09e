"""DeepProfiler's configuration file, checked before anything is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idrstream.errors import ConfigError
from idrstream.profile.checkpoint import Checkpoint
from idrstream.text import parse_json

INDEX_COLUMNS = (
    "Metadata_Plate",
    "Metadata_Well",
    "Metadata_Site",
    "Plate_Map_Name",
    "Gene",
    "Gene_Replicate",
)
"""Columns of ``index.csv`` besides the one of the image."""

_CROP_GENERATORS = ("crop_generator", "sampled_crop_generator")
_LEGACY_LAYERS = frozenset({"avg_pool", "global_average_pooling2d"})


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """What idrstream needs to know of a DeepProfiler configuration.

    Attributes
    ----------
    path : Path
        The JSON file.
    channels : tuple of str
        ``dataset.images.channels``; a name may be listed several times.
    size : tuple of int or None
        ``(height, width)`` of images in pixels, if both are given. Images may have others.
    box_size : int
        Side of the square cut out around each nucleus, in pixels.
    conv_blocks : int
        Variant of EfficientNet, 0 to 7.
    feature_layer : str
        Layer whose output becomes the features.
    checkpoint : str
        Name of the checkpoint file.
    batch_size : int
        Nuclei that go through the network together.
    """

    path: Path
    channels: tuple[str, ...]
    size: tuple[int, int] | None
    box_size: int
    conv_blocks: int
    feature_layer: str
    checkpoint: str
    batch_size: int

    @classmethod
    def read(cls, path: Path) -> ProfileConfig:
        """Read and check a configuration for DeepProfiler 0.5.1.

        Raises
        ------
        idrstream.errors.ConfigError
            When the file cannot be read, a key is missing, or a value cannot work; the message
            names the key and the file.
        """
        keys = _Keys(path, _read_json(path))
        _refuse_legacy(keys)
        _check_fixed(keys)
        channels = _channels(keys)
        for key in ("dataset.metadata.label_field", "train.partition.targets"):
            _check_label(keys, key, channels)
        keys.positive("train.model.params.batch_size")
        keys.positive("train.validation.batch_size")
        conv_blocks = keys.integer("train.model.params.conv_blocks")
        if conv_blocks not in range(8):
            raise keys.wrong("train.model.params.conv_blocks", "0 to 7 (EfficientNet B0 to B7)")
        return cls(
            path=path,
            channels=channels,
            size=_size(keys),
            box_size=_box_size(keys),
            conv_blocks=conv_blocks,
            feature_layer=keys.text("profile.feature_layer"),
            checkpoint=_checkpoint_name(keys),
            batch_size=keys.positive("profile.batch_size"),
        )

    @property
    def image_columns(self) -> tuple[str, ...]:
        """The columns of ``index.csv`` that name the images, one per channel."""
        return tuple(dict.fromkeys(self.channels))

    @property
    def index_columns(self) -> tuple[str, ...]:
        """The columns of ``index.csv`` in order."""
        return (*INDEX_COLUMNS[:4], *self.image_columns, *INDEX_COLUMNS[4:])

    def check_checkpoint(self, path: Path) -> int:
        """Check a checkpoint against this configuration.

        Returns
        -------
        int
            Number of features of each nucleus.

        Raises
        ------
        idrstream.errors.ConfigError
            When the file is missing, has another name than ``profile.checkpoint``, or does not
            hold the weights of this model.
        """
        checkpoint = Checkpoint.read(path)
        if path.name != self.checkpoint:
            raise ConfigError(
                f"profile.checkpoint in {self.path} is {self.checkpoint!r}, but the checkpoint "
                f"given is {path}"
            )
        checkpoint.check(
            conv_blocks=self.conv_blocks,
            channels=len(self.channels),
            feature_layer=self.feature_layer,
        )
        return checkpoint.width(self.feature_layer)


@dataclass(frozen=True, slots=True)
class _Keys:
    """Access by dotted key, with errors that name the key and the file."""

    path: Path
    raw: Mapping[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        value: Any = self.raw
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                return default
            value = value[part]
        return value

    def need(self, key: str) -> Any:
        missing = object()
        value = self.get(key, missing)
        if value is missing:
            raise ConfigError(f"{key} is missing in {self.path}")
        return value

    def text(self, key: str) -> str:
        value = self.need(key)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "a text")
        return value

    def integer(self, key: str) -> int:
        value = self.need(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(key, "an integer")
        return value

    def positive(self, key: str) -> int:
        value = self.integer(key)
        if value < 1:
            raise self.wrong(key, "1 or more")
        return value

    def wrong(self, key: str, wanted: str) -> ConfigError:
        return ConfigError(f"{key} in {self.path} must be {wanted}, not {self.get(key)!r}")


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        raw = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the DeepProfiler config {path} cannot be read: {error}") from error
    except ValueError as error:
        raise ConfigError(f"the DeepProfiler config {path} is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"the DeepProfiler config {path} is not a JSON object")
    return raw


def _refuse_legacy(keys: _Keys) -> None:
    """Say at once all that is to change in a config written for DeepProfiler with plugins."""
    changes = []
    generator = keys.get("train.model.crop_generator")
    if generator is not None and generator not in _CROP_GENERATORS:
        changes.append(
            f'set train.model.crop_generator to "crop_generator" ({generator!r} is not in '
            "DeepProfiler 0.5.1)"
        )
    if keys.get("profile.use_pretrained_input_size"):
        changes.append(
            "remove profile.use_pretrained_input_size (it downloads weights and then meets "
            "crops with too few channels)"
        )
    layer = keys.get("profile.feature_layer")
    if isinstance(layer, str) and layer in _LEGACY_LAYERS:
        changes.append('set profile.feature_layer to "pool5"')
    if changes:
        raise ConfigError(
            f"{keys.path} does not work with DeepProfiler 0.5.1: {'; '.join(changes)}; and name a "
            "checkpoint that was trained with as many channels as dataset.images.channels lists"
        )


def _check_fixed(keys: _Keys) -> None:
    """Check the keys that have one value that works here."""
    if keys.need("dataset.locations.mode") != "single_cells":
        raise keys.wrong("dataset.locations.mode", '"single_cells"')
    if keys.need("dataset.locations.mask_objects") is not False:
        raise keys.wrong("dataset.locations.mask_objects", "false (there are no mask images)")
    if keys.need("prepare.compression.implement") is not False:
        raise keys.wrong("prepare.compression.implement", "false (images are read as written)")
    if keys.get("prepare.outlines", ""):
        raise keys.wrong("prepare.outlines", "absent (there are no mask images)")
    if "paths" in keys.raw:
        raise ConfigError(f"paths in {keys.path} must be absent: idrstream sets the folders")
    if keys.get("dataset.images.file_format", "tif") != "tif":
        raise keys.wrong("dataset.images.file_format", '"tif"')
    keys.need("train.model.crop_generator")


def _channels(keys: _Keys) -> tuple[str, ...]:
    key = "dataset.images.channels"
    channels = keys.need(key)
    if (
        not isinstance(channels, list)
        or not channels
        or not all(isinstance(name, str) and name for name in channels)
    ):
        raise keys.wrong(key, 'a list of names, for example ["DNA"]')
    if set(channels) & set(INDEX_COLUMNS):
        raise keys.wrong(key, f"other than {', '.join(INDEX_COLUMNS)}")
    return tuple(channels)


def _size(keys: _Keys) -> tuple[int, int] | None:
    sides = [f"dataset.images.{side}" for side in ("height", "width")]
    if any(keys.get(side) is None for side in sides):
        return None
    height, width = map(keys.positive, sides)
    return height, width


def _check_label(keys: _Keys, key: str, channels: tuple[str, ...]) -> None:
    value = keys.need(key)
    names = value if isinstance(value, list) else [value]
    known = (*INDEX_COLUMNS, *dict.fromkeys(channels))
    if not names or not all(name in known for name in names):
        raise keys.wrong(key, f"one of the columns of index.csv ({', '.join(known)})")
    if isinstance(value, list) != key.endswith("targets"):
        raise keys.wrong(key, 'a list, such as ["Gene"]' if key.endswith("targets") else "a text")


def _box_size(keys: _Keys) -> int:
    # The network halves the crop five times.
    box_size = keys.positive("dataset.locations.box_size")
    if box_size < 32:
        raise keys.wrong("dataset.locations.box_size", "32 or more")
    return box_size


def _checkpoint_name(keys: _Keys) -> str:
    name = keys.text("profile.checkpoint")
    if name == "None":
        raise keys.wrong("profile.checkpoint", "a file (random weights give no features)")
    if Path(name).name != name or name in {".", ".."}:
        raise keys.wrong("profile.checkpoint", "a file name without folders")
    return name
