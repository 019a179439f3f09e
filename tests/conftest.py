"""Fixtures that every room's tests share."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
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


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Delete coverage that a killed process was writing; one broken file ends the whole report."""
    result = yield
    if not hasattr(session.config, "workerinput"):
        for path in session.config.rootpath.glob(".coverage.*.pid*"):
            try:
                with closing(sqlite3.connect(path)) as connection:
                    whole = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            except sqlite3.DatabaseError:
                whole = False
            if not whole:
                path.unlink()
    return result
