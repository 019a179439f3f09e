"""DeepProfiler's own Python, for the tests that run it for real."""

from __future__ import annotations

import pytest

from idrstream.errors import MissingToolError
from idrstream.profile.deepprofiler.python import deepprofiler_python, deepprofiler_versions

PYTHON = deepprofiler_python()


def _there() -> bool:
    try:
        deepprofiler_versions(PYTHON)
    except MissingToolError:
        return False
    return True


needs_deepprofiler = pytest.mark.skipif(
    not _there(), reason="make deepprofiler, or set IDRSTREAM_DEEPPROFILER_PYTHON"
)
