"""Planes of real files: three movies, a field of five channels, one that only Bio-Formats reads.

ome-zarr-py reads the plates, too, where ``IDRSTREAM_OME_ZARR_PYTHON`` names a Python that has it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from movie_files import bioformats_jar  # noqa: F401, a fixture

from idrstream import IdrStream, load_settings
from idrstream.cluster import Processes
from idrstream.formats import make_reader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

BY_OME_ZARR = """
import hashlib, json, sys
import numpy as np
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
found = {}
for name in sys.argv[1:]:
    (node,) = [one for one in Reader(parse_url(name))() if one.data]
    pixels = np.asarray(node.data[0])
    found[name] = [list(pixels.shape), hashlib.sha256(pixels.tobytes()).hexdigest()]
print(json.dumps(found))
"""


def make_stream(folder, reader=None):
    stream = IdrStream("idr0013", folder / "tmp", folder / "out")
    stream.init_downloader(method="local", root="/")
    stream.init_preprocessor(None, False, reader=reader)
    return stream


def pixels_of(field):
    """Return a field as zarr-python reads it; axes t, c, z, y, x."""
    return zarr.open_group(field, mode="r")["0"][:]


def check_by_ome_zarr(fields):
    python = os.environ.get("IDRSTREAM_OME_ZARR_PYTHON", "")
    if not python:
        return
    words = [python, "-c", BY_OME_ZARR, *map(str, fields)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for field in fields:
        pixels = pixels_of(field)
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        assert found[str(field)] == [list(pixels.shape), digest]


def test_three_real_movies_by_two_workers(shared_data, tmp_path):
    movies = sorted(shared_data.glob("movies/**/*.ch5"))
    assert len(movies) == 3
    numbers = [int(path.name[:5]) for path in movies]
    table = pd.DataFrame(
        {
            "Plate": "LT0001_02", "Path": list(map(str, movies)), "Well Number": numbers,
            "Well": [f"{chr(65 + (n - 1) // 24)}{(n - 1) % 24 + 1}" for n in numbers],
        }
    )  # fmt: skip
    settings = tmp_path / "stream.toml"
    table.to_csv(tmp_path / "table.csv", index=False)
    settings.write_text(
        f'[stream]\ntable = "{tmp_path / "table.csv"}"\nfinal_data_dir = "{tmp_path / "out"}"\n'
        f'tmp_dir = "{tmp_path / "tmp"}"\nprogress = false\nbatch_size = 1\n'
        '[download]\nmethod = "local"\nroot = "/"\n'
    )
    stream = IdrStream.from_settings(load_settings(settings, environment={}))
    result = stream.extract(table, batch_size=1, progress=False, executor=Processes(2))
    assert not result.failed_batches
    assert not result.remaining_batches
    told = result.failures()  # frames that the writer of a movie marked, or left without a pixel
    fields = []
    for path, well in zip(movies, table["Well"], strict=True):
        field = tmp_path / "out/plates/LT0001_02.ome.zarr" / well[0] / well[1:] / "1"
        with h5py.File(path) as file:
            names = []
            file.visit(names.append)
            (name,) = [name for name in names if name.endswith("/1/image/channel")]
            original, valid = file[name], file[name].attrs.get("valid")
            shown = zarr.open_group(field, mode="r")["0"]
            missing = zarr.open_group(field, mode="r").attrs["idrstream"]["missing_frames"]
            assert missing == sorted(told[told["Well"] == well]["Frame"].tolist())
            assert len(missing) < original.shape[1] / 2
            assert shown.shape == (original.shape[1], 1, *original.shape[2:])
            for frame in range(original.shape[1]):
                if frame + 1 in missing:
                    assert not original[0, frame].any() or not valid[frame]
                    continue
                assert np.array_equal(shown[frame, 0], original[0, frame])
        fields.append(field)
    check_by_ome_zarr(fields)
    assert stream.verify().is_good


def test_a_real_field_of_five_channels(shared_data, tmp_path):
    paths = sorted((shared_data / "cellpainting" / "nyscf").glob("*.tiff"))
    assert len(paths) == 5
    columns = {f"Path ch{number}": [str(path)] for number, path in enumerate(paths, 1)}
    table = pd.DataFrame({"Plate": ["nyscf"], "Well": ["C3"], **columns})
    stream = make_stream(tmp_path)
    assert not stream.extract(table, progress=False).rerun_batches
    field = tmp_path / "out/plates/nyscf.ome.zarr/C/3/1"
    originals = np.stack([tifffile.imread(path) for path in paths])
    assert np.array_equal(pixels_of(field), originals[None, :, None])
    check_by_ome_zarr([field])


@pytest.mark.java
def test_a_real_file_read_by_bioformats(shared_data, bioformats_jar, tmp_path):  # noqa: F811
    path = min((shared_data / "cellpainting" / "nyscf").glob("*.tiff"))
    table = pd.DataFrame({"Plate": ["nyscf"], "Well": ["C3"], "Path": [str(path)]})
    stream = make_stream(tmp_path, make_reader(bioformats_jar))
    try:
        assert not stream.extract(table, progress=False).rerun_batches
    finally:
        stream.close()
    field = tmp_path / "out/plates/nyscf.ome.zarr/C/3/1"
    assert np.array_equal(pixels_of(field), tifffile.imread(path)[None, None, None])
    check_by_ome_zarr([field])
