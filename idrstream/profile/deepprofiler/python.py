"""The Python that runs DeepProfiler: as a rule one of its own, in which nothing else is installed.

DeepProfiler 0.5.1 needs numpy below 2 and Python 3.10 or 3.11, which would hold back all the rest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from idrstream.config import ProfileSettings, all_options, checked
from idrstream.errors import MissingToolError

HOW_TO_INSTALL = (
    "python3.11 -m venv .venv-deepprofiler",
    ".venv-deepprofiler/bin/pip install deepprofiler==0.5.1",
)
"""The two commands that make an environment for DeepProfiler."""

_OPTION = "deepprofiler_python"
_TIMEOUT_S = 60.0
_ASK = """
import json
from importlib.metadata import version
print(json.dumps({name: version(name) for name in ("deepprofiler", "tensorflow")}))
"""


def deepprofiler_python(settings: ProfileSettings | None = None) -> str:
    """Return the Python that DeepProfiler is run with, whether it is there or not.

    Parameters
    ----------
    settings : ProfileSettings, optional
        Their ``deepprofiler_python`` comes first, then the environment variable of that name, then
        the Python that runs now.
    """
    given: Path | str | None = settings.deepprofiler_python if settings else None
    given = given or os.environ.get(all_options()[_OPTION].variable)
    # Links are kept: the python of an environment is one, and the environment is where it lies.
    found = checked(ProfileSettings, {_OPTION: given}, _OPTION).deepprofiler_python
    return str(found) if found else sys.executable


def deepprofiler_versions(python: str) -> dict[str, str]:
    """Return the versions of DeepProfiler and TensorFlow that a Python has, importing neither.

    Raises
    ------
    idrstream.errors.MissingToolError
        When one of them, or the Python, is not there; with the commands that install them.
    """
    try:
        done = subprocess.run(
            [python, "-I", "-c", _ASK],
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
        )
        found: dict[str, str] = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        raise missing_deepprofiler(python, error.stderr.strip().rpartition("\n")[2]) from error
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise missing_deepprofiler(python, str(error)) from error
    return found


def missing_deepprofiler(python: str, why: str) -> MissingToolError:
    """Return the error for a Python without DeepProfiler, which says what to do."""
    first, second = HOW_TO_INSTALL
    option = all_options()[_OPTION]
    return MissingToolError(
        f"DeepProfiler is not installed for {python} ({why}). Make an environment for it: "
        f"{first} && {second}, then name its Python: {option.name} (or {option.variable}) = "
        '.venv-deepprofiler/bin/python; or use engine = "torch", which needs none'
    )
