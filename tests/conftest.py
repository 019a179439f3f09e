"""Fixtures that every room's tests share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium  # noqa: F401, a fixture

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory) -> Iterator[None]:
    """Keep locks of GPUs and the key of seals out of the home of who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real images; skip where there is none."""
    folder = Path(os.environ.get("IDRSTREAM_SHARED_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder} (set IDRSTREAM_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def quick():
    """Return the module of quick parts; see ``tests/faults/quick_parts.py``."""
    path = PROJECT / "tests" / "faults" / "quick_parts.py"
    spec = importlib.util.spec_from_file_location("quick_parts", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
