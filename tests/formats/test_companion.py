"""A ``.companion.ome`` as the movie: its planes are in files beside it."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from idrstream.errors import FrameError, MovieError
from idrstream.formats import make_reader

SIZE = (12, 16)


@pytest.fixture
def movie(tmp_path):
    """Return a movie of two frames with two planes each; the last file is missing."""
    blocks = ""
    for t in range(2):
        for z in range(2):
            name = f"z{z}/t{t}.tif"
            (tmp_path / f"z{z}").mkdir(exist_ok=True)
            if (t, z) != (1, 1):
                tifffile.imwrite(tmp_path / name, np.full(SIZE, 10 * t + z + 1, np.uint8))
            blocks += (
                f"<TiffData FirstZ='{z}' FirstT='{t}' IFD='0' PlaneCount='1'>"
                f"<UUID FileName='{name}'>urn:uuid:{t}{z}</UUID></TiffData>"
            )
    path = tmp_path / "movie.companion.ome"
    path.write_text(
        "<OME><Image><Pixels DimensionOrder='XYZTC' Type='uint8' SizeX='16' SizeY='12' SizeZ='2' "
        f"SizeC='1' SizeT='2'>{blocks}</Pixels></Image></OME>"
    )
    return path


@pytest.mark.parametrize("reader", ["auto", "tiff"])
def test_its_planes(movie, reader):
    assert make_reader(reader, z=0).info(movie).n_frames == 2
    assert make_reader(reader, z=1).read(movie, [1])[1].max() == 2
    both = make_reader(reader, projection="max").at(site=3, alone=True).read(movie, [1, 2])
    assert both[1].min() == 2
    assert isinstance(both[2], FrameError)
    assert "not beside it" in str(both[2])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<OME>", "<!DOCTYPE a [<!ENTITY b 'c'>]><OME>", "document type"),
        ("</OME>", "", "cannot be understood"),
        ("FileName", "Name", "does not say which files"),
        ("SizeZ='2'", "SizeZ='2000000'", "planes in one image"),
        ("<Image>", "<Hole>", "cannot be understood"),
    ],
)
def test_what_is_no_such_movie(movie, old, new, message):
    movie.write_text(movie.read_text().replace(old, new))
    with pytest.raises(MovieError, match=message):
        make_reader("auto", z=0).info(movie)


@pytest.mark.parametrize("name", ["../secret.tif", "/etc/passwd"])
def test_nothing_outside_its_folder_is_opened(movie, name):
    movie.write_text(movie.read_text().replace("z0/t0.tif", name))
    (error,) = make_reader("auto", z=0).read(movie, [1]).values()
    assert isinstance(error, FrameError)
    assert "no name of a file" in str(error)
