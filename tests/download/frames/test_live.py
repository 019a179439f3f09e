"""The public archive itself; opt in with IDRSTREAM_LIVE=1."""

from __future__ import annotations

import os

import numpy as np
import pytest

from idrstream.download.omezarr import OmeZarrDownloader
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.records import ImageTask

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.environ.get("IDRSTREAM_LIVE") != "1", reason="set IDRSTREAM_LIVE=1"),
]
SAMPLE = "https://livingobjects.ebi.ac.uk/idr/zarr/v0.4/idr0013A/3451.zarr"


def test_a_frame_of_idr0013s_sample_plate(tmp_path):
    source = OmeZarrDownloader()
    source.limit_to(lambda task, info: task.frames)
    movie = source.download(ImageTask("3451", "A1", 1, (50,), metadata={"URL": SAMPLE}), tmp_path)
    pixels = CellH5Reader().read(movie.path, [50])[50]
    assert isinstance(pixels, np.ndarray), pixels
    assert pixels.shape == (1024, 1344)
    assert movie.bytes_moved < 3_000_000
