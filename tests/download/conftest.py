"""A small CellH5 file, and a stand-in for ascp with a server behind it."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from local_servers import NGINX, ftp, nginx, s3
from movie_files import movie_bytes  # noqa: F401, a fixture

from idrstream.records import ImageTask

FAKE = Path(__file__).with_name("fake_ascp.py")
SCREEN = "LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3"


@pytest.fixture
def task() -> ImageTask:
    return ImageTask("LT0001_02", "A4", 4, (1,))


@pytest.fixture
def plates(tmp_path) -> Path:
    path = tmp_path / "idr0013-screenA-plates.tsv"
    path.write_text(f"LT0001_02\t../screens/{SCREEN}.screen\n")
    return path


@dataclass
class FakeAscp:
    """The stand-in: where it is, what it will do and what it was asked."""

    program: Path
    state: Path

    def plan(self, *behaviours: str) -> None:
        (self.state / "plan.json").write_text(json.dumps(behaviours))

    def serve(self, path: str, content: bytes) -> None:
        file = self.state / "server" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    @property
    def calls(self) -> list[dict]:
        path = self.state / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def ascp(tmp_path) -> FakeAscp:
    state = tmp_path / "ascp state"
    state.mkdir()
    program = state / "ascp"
    words = shlex.join([sys.executable, "-S", str(FAKE), str(state)])
    program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    program.chmod(0o755)
    fake = FakeAscp(program, state)
    fake.plan()
    return fake


@pytest.fixture
def key(tmp_path) -> Path:
    path = tmp_path / "key.pem"
    path.write_text("not a real key")
    return path


@pytest.fixture(scope="session")
def web(tmp_path_factory):
    """nginx with an empty root."""
    if NGINX is None:
        pytest.skip("nginx is not installed (apt-get install nginx-light)")
    with nginx(tmp_path_factory.mktemp("nginx")) as served:
        yield served


@pytest.fixture(scope="session")
def ftp_server(tmp_path_factory):
    """pyftpdlib with an empty root."""
    pytest.importorskip("pyftpdlib")
    with ftp(tmp_path_factory.mktemp("ftp")) as served:
        yield served


@pytest.fixture(scope="session")
def bucket():
    """An empty bucket at moto's server."""
    pytest.importorskip("moto")
    pytest.importorskip("flask_cors")
    with s3("idr-bucket") as served:
        yield served
