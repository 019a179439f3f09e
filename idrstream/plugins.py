"""Components that another installed package brings: entry points, chosen by name in the settings.

A package names a class or function in its ``pyproject.toml``::

    [project.entry-points."idrstream.engines"]
    grey-levels = "grey_levels:GreyLevels"

What it names is called without arguments and returns the component.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from idrstream.errors import ConfigError

GROUPS = {
    "engine": "idrstream.engines",
    "method": "idrstream.downloaders",
    "preprocessor": "idrstream.preprocessors",
    "reader": "idrstream.readers",
    "segmentor": "idrstream.segmentors",
}
"""Group of entry points for each option that may name a plug-in."""


def plugin_names(option: str) -> list[str]:
    """Return the names that installed packages give for an option, sorted."""
    return sorted({point.name for point in entry_points(group=GROUPS[option])})


def plugin_versions() -> dict[str, str]:
    """Return the versions of the packages that bring plug-ins, by their names."""
    points = [point for group in GROUPS.values() for point in entry_points(group=group)]
    return dict(sorted(map(_package, points)))


def load_plugin(option: str, name: str, built_in: Sequence[str]) -> Any:
    """Return a component of an installed package.

    Parameters
    ----------
    option : str
        The option that names it, one of `GROUPS`.
    name : str
        Name of the entry point.
    built_in : sequence of str
        Names that idrstream knows itself, for the message.

    Raises
    ------
    ConfigError
        When no package has that name or several do, or when it cannot be imported or made.
    """
    found = [point for point in entry_points(group=GROUPS[option]) if point.name == name]
    if not found:
        raise ConfigError(_unknown(option, name, built_in))
    if len({point.value for point in found}) > 1:
        packages = ", ".join(sorted(_package(point)[0] for point in found))
        raise ConfigError(
            f"{option} {name!r} is in several packages: {packages}; remove all but one"
        )
    (point, *_) = found
    try:
        return point.load()()
    except Exception as error:  # code of another package
        raise ConfigError(
            f"{option} {name!r} ({point.value} of {_package(point)[0]}) cannot be made: "
            f"{type(error).__name__}: {error}"
        ) from error


def _unknown(option: str, name: str, built_in: Sequence[str]) -> str:
    installed = plugin_names(option)
    known = [*built_in, *installed]
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"there is no {option} {name!r}; known: {', '.join(known)} (installed as plug-ins, in the "
        f"group {GROUPS[option]}: {', '.join(installed) or 'none'}).{hint}"
    )


def _package(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else (point.module, "unknown")
