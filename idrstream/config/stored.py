"""Settings as plain values for a JSON file, and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idrstream.config.load import ENVIRONMENT_PREFIX, layered
from idrstream.config.sections import SECTIONS, Settings
from idrstream.errors import ConfigError
from idrstream.redact import HIDDEN, redact

_SECRET = re.compile(r"password|secret|token")


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
    for section in SECTIONS:
        for option in dataclasses.fields(getattr(settings, section)):
            if HIDDEN in str(getattr(getattr(settings, section), option.name)):
                msg = (
                    f"{section}.{option.name} had a secret, which is not stored; give it again, "
                    f"as {ENVIRONMENT_PREFIX}{option.name.upper()} in the environment"
                )
                raise ConfigError(msg)
    return settings


def as_json(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return settings as plain values for a JSON file: paths absolute, no secrets.

    Options that are secrets by their name are left out, and passwords in addresses.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return [plain(item) for item in value]
        if isinstance(value, Path):
            return str(value.expanduser().absolute())
        return redact(value) if isinstance(value, str) else value

    return {
        section: {
            option.name: plain(getattr(values, option.name))
            for option in dataclasses.fields(values)
            if not _SECRET.search(option.name)
        }
        for section in SECTIONS
        for values in (getattr(settings, section),)
    }
