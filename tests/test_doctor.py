"""The doctor looks at this machine, and at loopback servers when it is told to."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys

import numpy as np
import pytest
from local_servers import NGINX, ftp, nginx

from idrstream.cli.main import main
from idrstream.config import DownloadSettings
from idrstream.doctor import as_table, check_here, check_model, check_network
from idrstream.packages import INSTALL_ALONE, INSTALLED_ALONE
from idrstream.profile.deepprofiler.python import HOW_TO_INSTALL


def test_this_machine(capsys):
    assert main(["doctor", "--json"]) == 0
    found = {item["what"]: item for item in json.loads(capsys.readouterr().out)}
    assert found["h5py"]["state"] == "ok"
    assert found["ascp"]["state"] in ("ok", "missing")
    assert any(name.startswith("model ") for name in found)
    assert main(["doctor"]) == 0
    assert "h5py" in capsys.readouterr().out
    assert len(as_table(check_here()).splitlines()) == len(found)


def test_what_pip_does_not_install_by_itself(monkeypatch, tmp_path):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setenv("IDRSTREAM_DEEPPROFILER_PYTHON", str(tmp_path / "python"))
    found = {item.what: item for item in check_here()}
    for name in INSTALLED_ALONE:
        assert found[name].detail == f"not installed: {INSTALL_ALONE}"
    assert found["deepprofiler"].state == "missing"
    for command in HOW_TO_INSTALL:
        assert command in found["deepprofiler"].detail
    (tmp_path / "python").write_text(
        """#!/bin/sh\necho '{"deepprofiler": "0.5.1", "tensorflow": "2.15.1"}'\n"""
    )
    (tmp_path / "python").chmod(0o755)
    (there,) = (item for item in check_here() if item.what == "deepprofiler")
    assert there.state == "ok"
    assert there.detail == f"0.5.1 with tensorflow 2.15.1 in {tmp_path / 'python'}"


def test_packages_below_their_lower_bounds(monkeypatch, capsys):
    bounds = ["torch>=2.6", "urllib3<3,>=2.6.3", "numpy", "moto>=99; extra == 'dev'", "gone>=1"]
    there = {"torch": "2.5.1+cu124", "urllib3": "2.10.0", "numpy": "1.0", "moto": "1"}
    installed = importlib.metadata.version

    def version(name):
        if name == "gone":
            raise importlib.metadata.PackageNotFoundError(name)
        return there.get(name) or installed(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "requires", lambda _name: bounds)
    below = [item for item in check_here() if item.state == "failed"]
    assert [item.what for item in below] == ["torch (version)"]
    assert "2.5.1+cu124 is older than 2.6" in below[0].detail
    assert "pip install 'torch>=2.6'" in below[0].detail
    assert main(["doctor"]) == 1


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (apt-get install nginx-light)")
def test_network(tmp_path, shared_data):
    pytest.importorskip("pyftpdlib")
    movie = next((shared_data / "movies").rglob("00004_01.ch5")).read_bytes()
    with nginx(tmp_path / "web") as web, ftp(tmp_path / "ftp") as files:
        web.put("movie.ch5", movie)
        web.put("index.html", b"IDR")
        web.put("plate.zarr/.zattrs", b"{}")
        found = check_network(
            DownloadSettings(
                https_root=web.address, ftp_root=files.address, aspera_host="127.0.0.1",
                aspera_port=files.port, connect_timeout_s=3,
            ),
            movie="movie.ch5",
            plates=(f"{web.address}plate.zarr", f"{web.address}none.zarr"),
        )  # fmt: skip
    states = [finding.state for finding in found]
    assert states == ["ok", "ok", "ok", "ok", "ok", "failed"], found
    assert "200" in found[0].detail or "206" in found[0].detail
    assert "requests" in found[3].detail
    assert "404" in found[5].detail


def test_nobody_answers():
    settings = DownloadSettings(
        https_root="http://127.0.0.1:9/", ftp_root="ftp://127.0.0.1:9/", aspera_host="127.0.0.1",
        aspera_port=9, connect_timeout_s=1,
    )  # fmt: skip
    found = check_network(settings, plates=("http://127.0.0.1:9/a",))
    assert {finding.state for finding in found} == {"failed"}


@pytest.mark.live
@pytest.mark.skipif(os.environ.get("IDRSTREAM_LIVE") != "1", reason="set IDRSTREAM_LIVE=1")
def test_the_archive_today():
    found = check_network()
    sys.stdout.write(f"\n{as_table(found)}\n")
    assert any(finding.state == "ok" for finding in found)


@pytest.mark.models
def test_a_model_finds_simulated_nuclei():
    found = check_model("idrstream-nuclei")
    assert found.state == "ok"
    assert re.match(r"(19|20|21) of 21 simulated nuclei found, average precision ", found.detail)


def test_a_model_that_finds_nothing_has_failed(monkeypatch, capsys):
    segmentor = type(
        "Blind",
        (),
        {
            "__init__": lambda self, settings: None,
            "load": lambda self: None,
            "gpus": lambda self: ["cuda:0"],
            "masks": lambda self, pixels: (np.zeros(pixels.shape, np.int32), 1.0),
        },
    )
    monkeypatch.setattr("idrstream.segment.CellPoseSegmentor", segmentor)
    assert main(["doctor", "--model", "blind"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"failed +model blind +0 of \d+ simulated nuclei", said)
    assert "Not ready: model blind (see above)" in said


@pytest.mark.live
@pytest.mark.models
@pytest.mark.skipif(os.environ.get("IDRSTREAM_LIVE") != "1", reason="set IDRSTREAM_LIVE=1")
def test_the_published_weights_of_cellpose_4():
    found = check_model("cpsam")
    sys.stdout.write(f"\n{as_table([found])}\n")
    assert found.state == "ok"
