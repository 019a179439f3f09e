"""The short form of ``benchmarks/transfer_faults.py``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from local_servers import NGINX

CAMPAIGN = Path(__file__).resolve().parents[2] / "benchmarks" / "transfer_faults.py"


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (apt-get install nginx-light)")
def test_no_wrong_file_is_ever_accepted(tmp_path):
    spec = importlib.util.spec_from_file_location("transfer_faults", CAMPAIGN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = module.campaign(60, 1, tmp_path)
    assert result["wrong_files_accepted"] == []
    assert result["files_left"] == []
    assert sum(result["outcomes"].values()) == 60
    assert result["outcomes"]["delivered"] > 30
    assert result["outcomes"].get("TransientDownloadError", 0) > 0
    assert set(result["faults_played"]) == set(module.KINDS)
