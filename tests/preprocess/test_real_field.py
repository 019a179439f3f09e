"""One real field of five channels, stored in four ways: the same frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from movie_files import write_ch5
from tiff_files import write_ome_set

from idrstream import make_downloader
from idrstream.config.sections import PreprocessSettings
from idrstream.download import limit_to_needed
from idrstream.preprocess import check_selectors, make_preprocessor
from idrstream.records import ImageTask

FIELD = Path(__file__).resolve().parents[3] / "shared" / "data" / "cellpainting" / "nyscf"
NAMES = ("ER", "RNA", "AGP", "DNA", "Mito")


@pytest.mark.skipif(not FIELD.is_dir(), reason="the real field is not here")
def test_a_field_is_the_same_from_files_ome_tiff_and_cellh5(tmp_path):
    files = [FIELD / f"r03c03f01p01-ch{number}sk1fk1fl1.tiff" for number in range(1, 6)]
    pixels = np.stack([tifffile.imread(file) for file in files])[:, None, None]
    whole = {"Channel": {"Name": list(NAMES)}, "axes": "CTZYX"}
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, metadata=whole, compression="zlib")
    parts = write_ome_set(tmp_path, pixels, NAMES)
    movie = write_ch5(tmp_path / "a.ch5", pixels)
    named = {"Channel Names": ";".join(NAMES)}
    rows = {
        "files": {f"Path {name}": str(file) for name, file in zip(NAMES, files, strict=True)},
        "ome": {"Path": str(tmp_path / "a.ome.tif"), **named},
        "set": {f"Path {name}": str(file) for name, file in zip(NAMES, parts, strict=True)},
        "cellh5": {"Path": str(movie), **named},
    }
    settings = PreprocessSettings(
        image_channels=("DNA=DNA", "AGP=agp"), perform_illumination_correction=False
    )
    for kind, metadata in rows.items():
        task = ImageTask("P", "C3", 27, (1,), 1, metadata)
        reads = make_preprocessor(settings, tmp_path / "models")
        check_selectors(reads, [task])
        source = make_downloader(method="local", root=tmp_path)
        limit_to_needed(source, reads)
        (frame,) = reads.process(source.download(task, tmp_path / kind))
        np.testing.assert_array_equal(frame.pixels, pixels[[3, 2], 0, 0], err_msg=kind)
