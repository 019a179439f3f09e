"""A DeepProfiler model: a configuration and the checkpoint that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idrstream.errors import ConfigError
from idrstream.models import model_digest
from idrstream.profile.config import ProfileConfig

MODEL = "efficientnet"
"""``Metadata_Model``, the beginning of the names of features."""


@dataclass(frozen=True, slots=True)
class DeepModel:
    """Configuration and checkpoint, checked against each other.

    Attributes
    ----------
    config : ProfileConfig
        DeepProfiler's configuration.
    checkpoint_path : Path
        The weights.
    columns : tuple of str
        Names of the features, ``efficientnet_0`` and so on.
    """

    config: ProfileConfig
    checkpoint_path: Path
    columns: tuple[str, ...]

    @classmethod
    def read(cls, config_path: Path, checkpoint_path: Path) -> DeepModel:
        """Read and check both files.

        Raises
        ------
        idrstream.errors.ConfigError
            When the configuration is wrong, or the checkpoint does not fit; see `ProfileConfig`.
        """
        config = ProfileConfig.read(Path(config_path))
        count = config.check_checkpoint(Path(checkpoint_path))
        columns = tuple(f"{MODEL}_{number}" for number in range(count))
        return cls(config, Path(checkpoint_path), columns)

    def describe(self) -> dict[str, object]:
        """Return what changes a result: the content of config and checkpoint.

        Raises
        ------
        idrstream.errors.MissingToolError
            When one of them cannot be read.
        """
        return {
            "config": self.config.path.name,
            "config_sha256": model_digest(self.config.path),
            "checkpoint_sha256": model_digest(self.checkpoint_path),
        }

    def planes_among(self, have: Sequence[str]) -> tuple[int, ...]:
        """Return for each channel of the model its number among the names of a frame's.

        Raises
        ------
        idrstream.errors.ConfigError
            When the frame lacks a channel; see `planes_among`.
        """
        listed = f"dataset.images.channels in {self.config.path}"
        return planes_among(self.config.channels, have, listed)


def planes_among(wanted: Sequence[str], have: Sequence[str], listed: str) -> tuple[int, ...]:
    """Return for each wanted channel its number among those of a frame.

    The one channel of a frame serves a model of one, whatever their names.

    Parameters
    ----------
    wanted, have : sequence of str
        Channels of a model, of which a name may be there several times, and of a frame.
    listed : str
        Where the model lists its channels, for the message.

    Raises
    ------
    idrstream.errors.ConfigError
        When the frame lacks a channel.
    """
    if len(have) == 1 and len(set(wanted)) == 1:
        return (0,) * len(wanted)
    missing = [name for name in dict.fromkeys(wanted) if name not in have]
    if missing:
        raise ConfigError(
            f"{listed} lists {', '.join(missing)}, but the frames have {', '.join(have)}; name the "
            "channels with image_channels"
        )
    return tuple(have.index(name) for name in wanted)
