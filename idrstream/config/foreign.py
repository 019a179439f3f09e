"""Settings from a journal or provenance: what of them may be used, and what they would execute."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Set
from typing import Any

from idrstream.config.options import Option, Power, Scope
from idrstream.config.sections import SECTIONS, Settings, all_options
from idrstream.errors import ConfigError

ACCEPT = "--accept-settings"
_MEANING = "what a file from somebody else names is executed, used or written to only if you say so"


def usable_settings(
    stored: Any,
    origin: str,
    *,
    given: Mapping[str, str],
    trusted: bool,
    without: Set[Scope] = frozenset({Scope.CALL}),
    environment: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the settings of a journal or provenance that may be used.

    Modes of one call (``force``, ``replan`` ...) are not. Programs, keys, jars, logs and folders
    to work in are only when the file is `trusted`; otherwise they must be given again.

    Parameters
    ----------
    stored : Mapping
        Settings by section, as `as_json` returned them.
    origin : str
        The file, for messages.
    given : Mapping[str, str]
        Options that are given again, by name.
    trusted : bool
        Whether this user wrote the file, here, or accepts what it names.
    without : set of Scope
        Options that are never taken from the file: modes by default.
    environment : Mapping[str, str], optional
        Environment variables, which count as given; by default those of the process.

    Returns
    -------
    dict
        Settings by section.

    Raises
    ------
    ConfigError
        If they are no settings; or naming each that must be given again.
    """
    environment = os.environ if environment is None else environment
    found = _sections(stored, origin)
    withheld = []
    for name, option in all_options().items():
        values = found.get(option.section, {})
        if option.scope in without:
            values.pop(name, None)
        is_given = name in given or option.variable in environment
        if option.power is None or trusted or is_given:
            continue
        if values.pop(name, None):
            withheld.append((option, stored[option.section][name]))
    if withheld:
        raise ConfigError(_refusal(withheld, origin))
    return found


def executed(settings: Settings) -> list[str]:
    """Return what a stream of these settings would execute, each with its option."""
    found = [
        f"{'; '.join(value) if isinstance(value, tuple) else value} ({option.name})"
        for option in all_options().values()
        if option.power is Power.RUNS
        and (value := getattr(getattr(settings, option.section), option.name))
    ]
    engines = settings.profile.engines or (settings.profile.engine,)
    if "deepprofiler" in engines and settings.profile.deepprofiler_python is None:
        found.append(f"{sys.executable} (deepprofiler_python)")
    return found


def _sections(stored: Any, origin: str) -> dict[str, dict[str, Any]]:
    if not isinstance(stored, dict) or not all(
        name in SECTIONS and isinstance(values, dict) for name, values in stored.items()
    ):
        msg = f"{origin} is damaged: what it has for settings are none"
        raise ConfigError(msg)
    return {name: dict(values) for name, values in stored.items()}


def _refusal(withheld: list[tuple[Option, Any]], origin: str) -> str:
    lines = [
        f"  {option.flag} {json.dumps(value, ensure_ascii=False)} ({option.power.value})"
        for option, value in withheld
        if option.power is not None
    ]
    return (
        f"{origin} was not written by you on this machine in this folder: {_MEANING}. "
        "Give these options again, or accept them as they are with "
        f"{ACCEPT}:\n" + "\n".join(lines)
    )
