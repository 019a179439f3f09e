"""Versions of Python and of the packages that change a result."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata

from idrstream.plugins import plugin_versions

_PACKAGES = (
    "idrstream", "basicpy", "cellpose", "h5py", "laptrack", "numpy", "pandas", "pycytominer",
    "torch",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that change a result, plug-ins too."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {**plugin_versions(), **found}


def changed_versions(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return which versions changed, as ``name changed from x to y``."""
    return [
        f"{name} changed from {before[name]} to {now[name]}"
        for name in now
        if name in before and before[name] != now[name]
    ]
