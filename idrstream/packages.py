"""Packages that pip does not install with idrstream, and what to do when they are missing."""

from __future__ import annotations

import importlib.util
import sys

from idrstream.errors import MissingToolError

# Also in tools/venv.sh and the README. Why: see the dependencies in pyproject.toml.
INSTALLED_ALONE = ("basicpy", "cellpose")
"""Packages whose needless bounds keep pip from installing them with idrstream."""
INSTALL_ALONE = "pip install --no-deps 'basicpy<3' 'cellpose<4'"
"""The command that installs them."""


def require(name: str, what_for: str) -> None:
    """Check that one of `INSTALLED_ALONE` is there, without importing it.

    Parameters
    ----------
    name : str
        The package.
    what_for : str
        What needs it, for the message.

    Raises
    ------
    MissingToolError
        With the command that installs it.
    """
    if not _is_there(name):
        msg = f"{what_for} needs {name}, which is installed by itself: {INSTALL_ALONE}"
        raise MissingToolError(msg)


def require_extra(package: str, extra: str, what_for: str) -> None:
    """Check that a package of one of idrstream's extras is there, without importing it.

    Parameters
    ----------
    package : str
        Its name in Python.
    extra : str
        The extra that brings it.
    what_for : str
        What needs it, for the message.

    Raises
    ------
    MissingToolError
        With the command that installs it.
    """
    if not _is_there(package):
        msg = f"{what_for} needs {package}: pip install 'idrstream[{extra}]'"
        raise MissingToolError(msg)


def _is_there(name: str) -> bool:
    return sys.modules.get(name) is not None or importlib.util.find_spec(name) is not None
