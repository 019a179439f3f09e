"""The readers agree pixel for pixel, error for error."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from idrstream.errors import FrameError, MissingToolError, MovieError
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.formats.java.readers import BioFormatsReader, ImageJReader
from idrstream.formats.reader import MovieReader


@pytest.fixture(scope="module")
def bioformats(bioformats_jar):
    with BioFormatsReader(bioformats_jar) as reader:
        yield reader


@pytest.fixture(scope="module")
def imagej():
    fiji = os.environ.get("IDRSTREAM_FIJI")
    if not fiji:
        pytest.skip("IDRSTREAM_FIJI names no Fiji.app")
    with ImageJReader(fiji) as reader:
        yield reader


@pytest.fixture(params=["bioformats", "imagej"])
def java_reader(request) -> MovieReader:
    return request.getfixturevalue(request.param)


def assert_agree(one: MovieReader, other: MovieReader, path: Path) -> None:
    info = one.info(path)
    assert other.info(path) == info
    numbers = range(info.n_frames + 2)
    ours, theirs = one.read(path, numbers), other.read(path, numbers)
    for number in numbers:
        if isinstance(ours[number], FrameError):
            assert str(theirs[number]) == str(ours[number])
        else:
            np.testing.assert_array_equal(theirs[number], ours[number])
            assert theirs[number].dtype == ours[number].dtype


@pytest.mark.java
def test_real_movies(java_reader, real_movies):
    before = Path.cwd()
    for path in real_movies:
        assert_agree(CellH5Reader(), java_reader, path)
    assert Path.cwd() == before


@pytest.mark.java
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_small_movies_with_holes(java_reader, ch5, noise, dtype):
    movie = noise(1, 6, 1, 24, 32, dtype=dtype)
    movie[0, 4] = 0
    path = ch5(movie, written=[0, 1, 3, 4, 5], valid=[1, 0, 1, 1, 1, 1])
    assert_agree(CellH5Reader(), java_reader, path)


@pytest.mark.java
def test_a_channel_of_several(bioformats_jar, ch5, noise):
    path = ch5(noise(2, 3, 1, 16, 20))
    with BioFormatsReader(bioformats_jar, channel=1) as reader:
        assert_agree(CellH5Reader(channel=1), reader, path)


@pytest.mark.java
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_bioformats_reads_other_formats(bioformats, tmp_path, noise, byteorder, dtype):
    movie = noise(1, 4, 1, 20, 30, dtype=dtype)[0, :, 0]
    movie[2] = 0
    path = tmp_path / "a movie.ome.tif"
    tifffile.imwrite(
        path,
        movie,
        byteorder=byteorder,
        ome=True,
        metadata={"axes": "TYX"},
        photometric="minisblack",
    )
    info = bioformats.info(path)
    assert (info.n_frames, info.shape, info.dtype, info.valid) == (4, (20, 30), dtype, (True,) * 4)
    frames = bioformats.read(path, [4, 1, 3, 5])
    np.testing.assert_array_equal(frames[4], movie[3])
    np.testing.assert_array_equal(frames[1], movie[0])
    assert frames[1].dtype == dtype
    assert "reads as all zeros" in str(frames[3])
    assert "frame 5 of a movie of 4" in str(frames[5])


@pytest.mark.java
def test_bioformats_planes_and_pixel_types(bioformats, bioformats_jar, tmp_path, noise):
    stack = noise(1, 3, 1, 8, 9)[0, :, 0]
    path = tmp_path / "z.ome.tif"
    tifffile.imwrite(path, stack, ome=True, metadata={"axes": "ZYX"}, photometric="minisblack")
    with pytest.raises(MovieError, match="has 3 z-planes: set preprocess"):
        bioformats.info(path)
    with BioFormatsReader(bioformats_jar, z=2) as reader:
        np.testing.assert_array_equal(reader.read(path, [1])[1], stack[2])
    tifffile.imwrite(tmp_path / "f.tif", stack.astype("float32"), photometric="minisblack")
    with pytest.raises(MovieError, match="float32 pixels"):
        bioformats.info(tmp_path / "f.tif")
    colour = noise(1, 1, 3, 8, 9)[0, 0].transpose(1, 2, 0)
    tifffile.imwrite(tmp_path / "rgb.tif", colour, photometric="rgb")
    with pytest.raises(MovieError, match="colour"):
        bioformats.info(tmp_path / "rgb.tif")


@pytest.mark.java
def test_bioformats_refuses_what_it_cannot_read(bioformats, tmp_path, ch5, noise):
    path = tmp_path / "notes.tif"
    path.write_text("not an image")
    with pytest.raises(MovieError, match=rf"{path} cannot be read by bioformats: "):
        bioformats.info(path)
    with pytest.raises(MovieError, match="does not exist"):
        bioformats.info(tmp_path / "nowhere.tif")
    whole = ch5(noise(1, 3, 1, 40, 40))
    whole.write_bytes(whole.read_bytes()[:-50])
    with pytest.raises(MovieError, match="truncated"):
        bioformats.read(whole, [1])
    two = ch5(noise(1, 1, 1, 8, 8), "two.ch5", positions=("1", "2"))
    with pytest.raises(MovieError, match="one position"):
        bioformats.info(two)


@pytest.mark.java
def test_another_movie_under_the_same_name_is_read_anew(bioformats, ch5, noise):
    for seed in range(2):
        movie = noise(1, 2, 1, 16, 16, seed=seed)
        path = ch5(movie)
        np.testing.assert_array_equal(bioformats.read(path, [2])[2], movie[0, 1, 0])
        path.unlink()


@pytest.mark.java
def test_nothing_is_held_or_left(bioformats_jar, ch5, noise):
    path = ch5(noise(1, 2, 1, 16, 16))
    reader = BioFormatsReader(bioformats_jar)
    reader.read(path, [1])
    process = reader._java.process
    held = [str(link.readlink()) for link in Path(f"/proc/{process._popen.pid}/fd").iterdir()]
    assert str(path) not in held
    reader.close()
    assert not Path(process.folder).exists()
    assert process._popen.poll() is not None
    assert reader.info(path).n_frames == 2
    reader.close()


@pytest.mark.java
def test_jars_without_the_library(bioformats_jar, tmp_path, ch5, noise):
    import zipfile

    empty = tmp_path / "empty.jar"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
    path = ch5(noise(1, 1, 1, 8, 8))
    with pytest.raises(MissingToolError, match=r"empty\.jar is not a complete bioformats_package"):
        BioFormatsReader(empty).info(path)
    # A folder that looks like Fiji but has no ImageJ2 in its jars.
    jars = tmp_path / "Fiji.app" / "jars"
    jars.mkdir(parents=True)
    empty.rename(jars / "empty.jar")
    with pytest.raises(
        MissingToolError, match=r"imagej reader did not start: .*no complete ImageJ2"
    ):
        ImageJReader(tmp_path / "Fiji.app").info(path)
    (jars / "empty.jar").unlink()
    with pytest.raises(MissingToolError, match="has no jars"):
        ImageJReader(tmp_path / "Fiji.app").info(path)
