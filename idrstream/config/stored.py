"""Settings as plain values for a JSON file, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idrstream.config.load import layered
from idrstream.config.sections import SECTIONS, Settings, all_options
from idrstream.errors import ConfigError
from idrstream.redact import HIDDEN, redact


def settings_from_json(
    stored: Mapping[str, Any],
    *,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> Settings:
    """Return settings that `as_json` made plain, with environment and options on top.

    Parameters
    ----------
    stored : Mapping
        As `as_json` returned it.
    environment, options : Mapping[str, str], optional
        As for `load_settings`.

    Returns
    -------
    Settings
        Typed and frozen.

    Raises
    ------
    ConfigError
        Naming every wrong value, and an option that had a secret, which is not stored.
    """
    raw = {section: dict(values) for section, values in stored.items()}
    settings = layered(raw, environment, options, "the stored settings")
    for option in all_options().values():
        if HIDDEN in str(getattr(getattr(settings, option.section), option.name)):
            msg = (
                f"{option.section}.{option.name} had a secret, which is not stored; give it again, "
                f"as {option.variable} in the environment"
            )
            raise ConfigError(msg)
    return settings


def as_json(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return settings as plain values for a JSON file: paths absolute, no secrets."""

    def plain(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return [plain(item) for item in value]
        if isinstance(value, Path):
            return str(value)
        return redact(value) if isinstance(value, str) else value

    stored: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for option in all_options().values():
        value = getattr(getattr(settings, option.section), option.name)
        stored[option.section][option.name] = plain(value)
    return stored
