from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from idrstream.errors import ConfigError
from idrstream.segment.cellpose.size_file import check_size_file


class Harm:
    def __reduce__(self):
        return os.system, ("touch harm",)


def test_what_cellpose_writes(tmp_path):
    path = tmp_path / "size.npy"
    params = {"A": np.ones((1, 9)), "smean": np.zeros(8, np.float32), "diam_mean": np.float64(17.0),
              "ymean": 2.5, "model": "x"}  # fmt: skip
    np.save(path, params)
    check_size_file(path)
    np.save(path, np.ones(3))
    check_size_file(path)


def test_code_in_a_size_model_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("size.npy", np.array({"A": Harm()}, dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match=r"not a size model .* asks for (posix|os)\.system"):
        check_size_file(tmp_path / "size.npy")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"\x93NUMPY\x09\x00v", pickle.dumps({"A": 1}), b"PK\x03\x04"]
)
def test_other_files(tmp_path, content):
    path = tmp_path / "size.npy"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not a size model"):
        check_size_file(path)
    with pytest.raises(ConfigError, match="not a size model"):
        check_size_file(tmp_path / "nothing.npy")
