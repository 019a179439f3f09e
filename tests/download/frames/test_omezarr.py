"""OME-Zarr written by the real zarr library, 0.4 and 0.5, read by idrstream."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from idrstream import IdrStream, load_settings
from idrstream.config import DownloadSettings
from idrstream.download import (
    Downloader,
    LocalTransport,
    TransportDownloader,
    limit_to_needed,
    make_downloader,
)
from idrstream.download.omezarr import OmeZarrDownloader, PlateTable
from idrstream.download.omezarr._store import s3_url
from idrstream.errors import (
    ConfigError,
    DownloadError,
    FrameError,
    MovieError,
    RemoteFileNotFoundError,
    TableError,
    TransientDownloadError,
)
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.preprocess import FrameContext, NoIllumination, Preprocessor
from idrstream.records import Frame, ImageTask
from idrstream.simulate.cellh5 import write_cellh5

zarr = pytest.importorskip("zarr", minversion="3")
numcodecs = pytest.importorskip("numcodecs")

QUICK = {"download_attempts": 2, "retry_wait_s": 0.001, "longest_retry_wait_s": 0.002}
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def noise(*shape, dtype="uint8", seed=0):
    high = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(1, high, shape, dtype=dtype)


def axes_of(names):
    kinds = {"t": "time", "c": "channel"}
    return [{"name": name, "type": kinds.get(name, "space")} for name in names]


def multiscales(axes, level="0"):
    scale = [{"type": "scale", "scale": [1] * len(axes)}]
    dataset = {"path": level, "coordinateTransformations": scale}
    return {"multiscales": [{"version": "0.4", "axes": axes_of(axes), "datasets": [dataset]}]}


def set_attributes(path, zarr_format, attributes):
    group = zarr.open_group(str(path), mode="a", zarr_format=zarr_format)
    if zarr_format == 3:
        attributes = {"ome": {"version": "0.5", **attributes}}
    group.attrs.update(attributes)


def write_image(path, pixels, *, zarr_format=2, axes="tczyx", chunks=None, fill_value=0, **options):
    """Write an image with one level; pixels in the order of `axes`, two chunks a frame."""
    sizes = dict(zip(axes, pixels.shape, strict=True))
    step = {"y": -(-sizes["y"] // 2), "x": sizes["x"]}
    set_attributes(path, zarr_format, multiscales(axes))
    if zarr_format == 2:
        options.setdefault("chunk_key_encoding", {"name": "v2", "separator": "/"})
    array = zarr.create_array(
        str(path / "0"), shape=pixels.shape, dtype=pixels.dtype, zarr_format=zarr_format,
        chunks=chunks or tuple(step.get(name, 1) for name in axes), fill_value=fill_value,
        **options,
    )  # fmt: skip
    array[...] = pixels
    return path


def write_plate(path, wells, *, zarr_format=2, names=None, **options):
    """Write a plate; `wells` has a list of fields' pixels for each well name."""
    names = names or {well: f"{well[0]}/{well[1:]}" for well in wells}
    rows, columns = (sorted({name.split("/")[i] for name in names.values()}) for i in (0, 1))
    plate = {
        "rows": [{"name": name} for name in rows],
        "columns": [{"name": name} for name in columns],
        "wells": [{"path": names[well], "rowIndex": 0, "columnIndex": 0} for well in wells],
    }
    set_attributes(path, zarr_format, {"plate": plate})
    for well, fields in wells.items():
        folder = path / names[well]
        images = [{"path": str(number)} for number in range(len(fields))]
        set_attributes(folder, zarr_format, {"well": {"images": images}})
        for number, pixels in enumerate(fields):
            write_image(folder / str(number), pixels, zarr_format=zarr_format, **options)
    return path


def task(*frames, well="A4", number=4, site=1, plate="P1", **metadata):
    return ImageTask(plate, well, number, frames, site=site, metadata=metadata)


def omezarr(*roots, **options):
    options = {f"omezarr_{name}": value for name, value in options.items()}
    return make_downloader(
        method="omezarr", omezarr_roots=[str(root) for root in roots], **QUICK, **options
    )


def downloader(root, **options):
    made = omezarr(root, **{"pattern": "{Plate}.zarr", **options})
    made.limit_to(lambda task, info: task.frames)
    return made


def pixels_of(movie, *numbers, channel=0, z=None):
    read = CellH5Reader(channel=channel, z=z).read(movie.path, numbers)
    return [read[number] for number in numbers]


def chunk_files(image, frame):
    """Return the files of a frame's chunks, v2 or v3, without shards."""
    folder = image / "0" / "c" / str(frame - 1)
    if not folder.is_dir():
        folder = image / "0" / str(frame - 1)
    return sorted(path for path in folder.rglob("*") if path.is_file())


@FORMATS
def test_frames_of_a_plate_by_http(server, tmp_path, zarr_format):
    movies = [noise(9, 1, 1, 60, 80, seed=seed) for seed in range(3)]
    wells = {"A4": movies[:2], "B12": movies[2:]}
    write_plate(server.root / "P1.zarr", wells, zarr_format=zarr_format)
    source = downloader(server.url)
    assert isinstance(source, Downloader)
    for wanted, expected in (
        (task(3, 7), movies[0]),
        (task(3, 7, site=2), movies[1]),
        (task(3, 7, well="B12", number=36), movies[2]),
    ):
        before = len(server.log)
        movie = source.download(wanted, tmp_path / "out")
        assert movie.frames == (3, 7)
        assert movie.size_bytes == movie.path.stat().st_size
        assert CellH5Reader().info(movie.path).n_frames == 9
        for got, number in zip(pixels_of(movie, 3, 7), (3, 7), strict=True):
            np.testing.assert_array_equal(got, expected[number - 1, 0, 0])
        assert "not fetched" in str(pixels_of(movie, 4)[0])
        # Two chunks a frame, and little more.
        assert movie.requests == len(server.log) - before <= 4 + 5
        assert source.size(wanted) >= movie.size_bytes


@FORMATS
def test_a_folder_and_an_image_by_itself(tmp_path, zarr_format):
    pixels = noise(4, 1, 1, 30, 41)
    image = write_image(tmp_path / "x.zarr", pixels, zarr_format=zarr_format)
    for metadata in ({"URL": str(image)}, {"URL": image.as_uri()}, {"Path": "x.zarr"}):
        movie = downloader(tmp_path).download(task(2, **metadata), tmp_path / "out")
        np.testing.assert_array_equal(pixels_of(movie, 2)[0], pixels[1, 0, 0])


@pytest.mark.parametrize("axes", ["tczyx", "tyx", "yx", "czyx", "tcyx", "tzxy", "xyzct"])
def test_axes_are_read_never_assumed(tmp_path, axes):
    sizes = {"t": 3, "c": 2, "z": 2, "y": 20, "x": 30}
    pixels = noise(*[sizes[name] for name in axes])
    write_image(tmp_path / "P1.zarr", pixels, axes=axes)
    number = 3 if "t" in axes else 1
    channel, z = int("c" in axes), int("z" in axes)
    source = downloader(tmp_path)
    source.limit_to(lambda task, info: task.frames, channels=[("", str(channel))], z=z)
    movie = source.download(task(number), tmp_path / "out")
    place = {"t": number - 1, "c": channel, "z": z}
    expected = pixels[tuple(place.get(name, slice(None)) for name in axes)]
    if axes.index("x") < axes.index("y"):
        expected = expected.T
    np.testing.assert_array_equal(pixels_of(movie, number, channel=channel, z=z)[0], expected)


V2 = [
    {"compressors": None},
    {"compressors": numcodecs.Blosc("lz4")},
    {"compressors": numcodecs.Blosc("zstd", shuffle=2)},
    {"compressors": numcodecs.GZip(3)},
    {"compressors": numcodecs.Zlib(3)},
    {"compressors": numcodecs.LZ4()},
    {"compressors": numcodecs.Zstd()},
    {"order": "F"},
    {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    {"chunks": (4, 1, 1, 17, 13)},
]
V3 = [
    {"compressors": None},
    {"compressors": [zarr.codecs.BloscCodec(cname="lz4")]},
    {"compressors": [zarr.codecs.GzipCodec(), zarr.codecs.Crc32cCodec()]},
    {"compressors": [zarr.codecs.ZstdCodec(checksum=True)]},
    {"serializer": zarr.codecs.BytesCodec(endian="big")},
    {"filters": [zarr.codecs.TransposeCodec(order=(4, 2, 0, 1, 3))]},
    {"chunk_key_encoding": {"name": "default", "separator": "."}},
    {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    {"shards": (2, 1, 1, 60, 80), "chunks": (1, 1, 1, 30, 40)},
    {
        "shards": {"shape": (4, 1, 1, 60, 80), "index_location": "start"},
        "chunks": (1, 1, 1, 20, 80),
    },
]


@pytest.mark.parametrize("dtype", ["uint8", ">u2"])
@pytest.mark.parametrize(("zarr_format", "options"), [(2, o) for o in V2] + [(3, o) for o in V3])
def test_what_the_zarr_library_writes_is_read(server, tmp_path, zarr_format, options, dtype):
    native = np.dtype(dtype).newbyteorder("=").name
    pixels = noise(5, 1, 1, 60, 80, dtype=native).astype(dtype if zarr_format == 2 else native)
    write_image(server.root / "P1.zarr", pixels, zarr_format=zarr_format, **options)
    movie = downloader(server.url).download(task(2, 5), tmp_path / "out")
    for got, number in zip(pixels_of(movie, 2, 5), (2, 5), strict=True):
        np.testing.assert_array_equal(got, pixels[number - 1, 0, 0])


@FORMATS
def test_a_missing_chunk_is_never_black(server, tmp_path, zarr_format):
    pixels = noise(5, 1, 1, 60, 80)
    image = write_image(server.root / "P1.zarr", pixels, zarr_format=zarr_format)
    chunk_files(image, 2)[1].unlink()
    for path in chunk_files(image, 4):
        path.unlink()
    movie = downloader(server.url).download(task(2, 3, 4), tmp_path / "out")
    missing, whole, gone = pixels_of(movie, 2, 3, 4)
    for problem in (missing, gone):
        assert isinstance(problem, FrameError)
        assert "is missing at its source" in str(problem)
    np.testing.assert_array_equal(whole, pixels[2, 0, 0])


@FORMATS
def test_a_damaged_chunk_is_told(server, tmp_path, zarr_format):
    pixels = noise(5, 1, 1, 60, 80)
    image = write_image(server.root / "P1.zarr", pixels, zarr_format=zarr_format)
    for number, damage in ((1, b""), (2, b"\0" * 40), (3, b"<html>sorry</html>")):
        chunk_files(image, number)[0].write_bytes(damage)
    cut = chunk_files(image, 4)[0]
    cut.write_bytes(cut.read_bytes()[:-200])
    movie = downloader(server.url).download(task(1, 2, 3, 4, 5), tmp_path / "out")
    *problems, whole = pixels_of(movie, 1, 2, 3, 4, 5)
    for problem in problems:
        assert isinstance(problem, FrameError)
        assert "is damaged" in str(problem)
    np.testing.assert_array_equal(whole, pixels[4, 0, 0])


@pytest.mark.parametrize("what", ["inner", "index", "shard"])
def test_what_is_missing_in_a_shard(tmp_path, what):
    pixels = noise(4, 1, 1, 60, 80)
    pixels[1] = 0  # chunks of fill values are not written
    layout = {"shards": (4, 1, 1, 60, 80), "chunks": (1, 1, 1, 30, 80)}
    image = write_image(tmp_path / "P1.zarr", pixels, zarr_format=3, **layout)
    shard = next(path for path in (image / "0" / "c").rglob("*") if path.is_file())
    if what == "index":
        data = bytearray(shard.read_bytes())
        data[-20] ^= 255
        shard.write_bytes(data)
    elif what == "shard":
        shard.unlink()
    one, two = pixels_of(downloader(tmp_path).download(task(1, 2), tmp_path / "out"), 1, 2)
    words = "is damaged: .*checksum" if what == "index" else "is missing at its source"
    assert re.search(words, str(two))
    if what == "inner":
        np.testing.assert_array_equal(one, pixels[0, 0, 0])
    else:
        assert re.search(words, str(one))


HUGE = 50_000_000
V3_CODECS = {
    "Blosc": zarr.codecs.BloscCodec(cname="lz4"),
    "Zstd": zarr.codecs.ZstdCodec(),
    "GZip": zarr.codecs.GzipCodec(),
}


def with_crc32c(data):
    import google_crc32c

    return data + google_crc32c.value(data).to_bytes(4, "little")


@pytest.mark.parametrize("kind", ["v2", "v3", "v3 with a checksum"])
@pytest.mark.parametrize("codec", ["Blosc", "Zstd", "GZip", "Zlib", "LZ4", None])
def test_a_chunk_that_unpacks_to_too_much_takes_no_memory(tmp_path, codec, kind):
    encoder = getattr(numcodecs, codec)() if codec else None
    bomb = bytes(encoder.encode(bytes(HUGE))) if encoder else bytes(HUGE)
    if kind == "v2":
        options = {"zarr_format": 2, "compressors": encoder}
    elif codec not in (*V3_CODECS, None):
        pytest.skip("not a codec of version 3")
    else:
        chain = [V3_CODECS[codec]] if codec else []
        if "checksum" in kind:
            bomb, chain = with_crc32c(bomb), [*chain, zarr.codecs.Crc32cCodec()]
        options = {"zarr_format": 3, "compressors": chain or None}
    image = write_image(tmp_path / "P1.zarr", noise(2, 1, 1, 60, 80), **options)
    chunk_files(image, 1)[0].write_bytes(bomb)
    source = downloader(tmp_path)
    source.download(task(2), tmp_path / "out")  # everything is imported
    tracemalloc.start()
    movie = source.download(task(1), tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "is damaged" in str(pixels_of(movie, 1)[0])
    assert peak < HUGE / 10


def test_a_second_gzip_member_is_not_unpacked(tmp_path):
    codec = numcodecs.GZip()
    image = write_image(tmp_path / "P1.zarr", noise(2, 1, 1, 60, 80), compressors=codec)
    chunk = chunk_files(image, 1)[0]
    chunk.write_bytes(chunk.read_bytes() + bytes(codec.encode(bytes(1000))))
    movie = downloader(tmp_path).download(task(1), tmp_path / "out")
    assert "is damaged" in str(pixels_of(movie, 1)[0])


@pytest.mark.parametrize("keep", [0, 4, 16, 100, -1])
@FORMATS
def test_a_blosc_chunk_that_is_cut_is_damaged(tmp_path, zarr_format, keep):
    """numcodecs would read beyond its end and call what it finds there pixels."""
    codec = numcodecs.Blosc("lz4") if zarr_format == 2 else V3_CODECS["Blosc"]
    pixels = noise(2, 1, 1, 60, 80)
    image = write_image(tmp_path / "P1.zarr", pixels, zarr_format=zarr_format, compressors=codec)
    chunk = chunk_files(image, 1)[0]
    chunk.write_bytes(chunk.read_bytes()[:keep])
    movie = downloader(tmp_path).download(task(1, 2), tmp_path / "out")
    one, two = pixels_of(movie, 1, 2)
    assert "is damaged" in str(one)
    np.testing.assert_array_equal(two, pixels[1, 0, 0])


def test_codecs_in_a_row_are_refused(tmp_path):
    chain = [zarr.codecs.GzipCodec(), zarr.codecs.ZstdCodec()]
    write_image(tmp_path / "P1.zarr", noise(2, 1, 1, 60, 80), zarr_format=3, compressors=chain)
    with pytest.raises(MovieError, match="more than one compressor"):
        downloader(tmp_path).download(task(1), tmp_path / "out")


def test_a_shard_that_was_cut(server, tmp_path):
    pixels = noise(4, 1, 1, 60, 80)
    layout = {
        "shards": {"shape": (4, 1, 1, 60, 80), "index_location": "start"},
        "chunks": (1, 1, 1, 30, 80),
    }
    image = write_image(server.root / "P1.zarr", pixels, zarr_format=3, **layout)
    shard = next(path for path in (image / "0" / "c").rglob("*") if path.is_file())
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    movie = downloader(server.url).download(task(1, 2, 3, 4), tmp_path / "out")
    found = pixels_of(movie, 1, 2, 3, 4)
    assert any(isinstance(one, np.ndarray) for one in found)
    assert any("is damaged" in str(one) for one in found)
    for got, right in zip(found, pixels[:, 0, 0], strict=True):
        assert isinstance(got, FrameError) or (got == right).all()


@pytest.mark.parametrize(
    ("zarr_format", "layout"),
    [
        (2, {}),
        (3, {}),
        (3, {"shards": (5, 1, 1, 60, 80), "chunks": (1, 1, 1, 30, 80)}),
        (3, {"shards": (1, 1, 1, 60, 80), "chunks": (1, 1, 1, 60, 80)}),
    ],
)
def test_missing_chunks_are_filled_where_the_user_allows_it(tmp_path, caplog, zarr_format, layout):
    pixels = noise(5, 1, 1, 60, 80)
    pixels[1, :, :, :30] = 7
    pixels[3] = 7
    write_image(tmp_path / "P1.zarr", pixels, zarr_format=zarr_format, fill_value=7, **layout)
    refused = downloader(tmp_path).download(task(2, 3, 4), tmp_path / "out")
    assert "is missing at its source" in str(pixels_of(refused, 4)[0])
    source = make_downloader(
        method="omezarr", omezarr_roots=[str(tmp_path)], omezarr_pattern="{Plate}.zarr",
        missing_chunks="fill",
    )  # fmt: skip
    source.limit_to(lambda task, info: task.frames)
    movie = source.download(task(2, 3, 4), tmp_path / "out")
    for number, got in zip((2, 3, 4), pixels_of(movie, 2, 3, 4), strict=True):
        np.testing.assert_array_equal(got, pixels[number - 1, 0, 0])
    one_a_frame = layout.get("chunks", (0,) * 5)[3] == 60
    words = "1 of 3 chunks" if one_a_frame else "3 of 6 chunks"
    assert f"{words} are missing at" in caplog.text
    assert "were filled with 7" in caplog.text


def test_without_a_fill_value_nothing_is_filled(tmp_path):
    image = write_image(tmp_path / "P1.zarr", noise(2, 1, 1, 60, 80))
    metadata = image / "0" / ".zarray"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "fill_value": None}))
    chunk_files(image, 1)[0].unlink()
    source = make_downloader(
        method="omezarr", omezarr_roots=[str(tmp_path)], omezarr_pattern="{Plate}.zarr",
        missing_chunks="fill",
    )  # fmt: skip
    movie = source.download(task(1), tmp_path / "out")
    assert "give no fill value" in str(pixels_of(movie, 1)[0])


def test_what_a_server_refuses_is_not_filled(server, tmp_path):
    """It may be there: 403 is also the answer to too many requests, or to a wrong address."""
    pixels = noise(3, 1, 1, 60, 80)
    image = write_image(server.root / "P1.zarr", pixels, fill_value=7)
    for path in chunk_files(image, 1):
        path.unlink()
    source = make_downloader(
        method="omezarr", omezarr_roots=[server.url], omezarr_pattern="{Plate}.zarr",
        missing_chunks="fill",
    )  # fmt: skip
    source.limit_to(lambda task, info: task.frames)
    source.size(task(1))
    server.plan = ["", "", "", "403"]  # metadata of the array; two missing chunks; a refusal
    asked = len(server.log)
    movie = source.download(task(1, 2, 3), tmp_path / "out")
    assert [status for _, status, _ in server.log[asked:]].count(403) == 1
    filled, refused, whole = pixels_of(movie, 1, 2, 3)
    assert (filled == 7).all()
    assert "answered 403" in str(refused)
    np.testing.assert_array_equal(whole, pixels[2, 0, 0])


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.3", "0.4", "0.5", None])
def test_every_version_of_the_metadata(tmp_path, version):
    pixels = noise(3, 2, 1, 20, 30)
    zarr_format = 3 if version == "0.5" else 2
    image = write_image(tmp_path / "P1.zarr", pixels, zarr_format=zarr_format)
    if version != "0.5":
        written = json.loads((image / ".zattrs").read_text())
        (multiscale,) = written["multiscales"]
        multiscale["version"] = version
        if version == "0.3":
            multiscale["axes"] = list("tczyx")
        elif version != "0.4":
            del multiscale["axes"]
        if version is None:
            del multiscale["version"]
        (image / ".zattrs").write_text(json.dumps(written))
    source = downloader(tmp_path)
    source.limit_to(None, channels=[("", "1")], z=0)
    movie = source.download(task(2), tmp_path / "out")
    np.testing.assert_array_equal(pixels_of(movie, 2, channel=1)[0], pixels[1, 1, 0])


def test_chunks_of_several_frames_are_fetched_once(server, tmp_path):
    pixels = noise(4, 1, 1, 20, 30)
    layout = {"chunks": (4, 1, 1, 20, 30)}
    write_image(server.root / "P1.zarr", pixels, **layout)
    movie = downloader(server.url).download(task(1, 2, 3, 4), tmp_path / "out")
    for got, right in zip(pixels_of(movie, 1, 2, 3, 4), pixels[:, 0, 0], strict=True):
        np.testing.assert_array_equal(got, right)
    assert [line for line in server.log if line[1] == 200][2:] == [server.log[-1]]


def test_only_the_channel_and_plane_that_are_read_are_brought(server, tmp_path):
    pixels = noise(3, 3, 4, 60, 80)
    write_image(server.root / "P1.zarr", pixels)
    source = downloader(server.url)
    preprocessor = Preprocessor(CellH5Reader(channel=2, z=1), NoIllumination())
    limit_to_needed(source, preprocessor)
    movie = source.download(task(2), tmp_path / "out")
    (frame,) = preprocessor.process(movie)
    assert isinstance(frame, Frame)
    np.testing.assert_array_equal(frame.plane(), pixels[1, 2, 1])
    assert movie.requests <= 2 + 4
    # Without a choice of the plane the reader says what to do.
    source = downloader(server.url)
    preprocessor = Preprocessor(CellH5Reader(channel=2), NoIllumination())
    limit_to_needed(source, preprocessor)
    with pytest.raises(MovieError, match="4 z-planes"):
        preprocessor.process(source.download(task(2), tmp_path / "out"))


def test_everything_is_brought_where_nobody_says_what_is_needed(tmp_path):
    pixels = noise(3, 2, 1, 60, 80)
    write_image(tmp_path / "P1.zarr", pixels)
    source = downloader(tmp_path)
    source.limit_to(None)
    movie = source.download(task(2), tmp_path / "out")
    for channel, number in itertools.product((0, 1), (1, 2, 3)):
        got = pixels_of(movie, number, channel=channel)[0]
        np.testing.assert_array_equal(got, pixels[number - 1, channel, 0])


@FORMATS
def test_a_plate_in_a_bucket(bucket, tmp_path, zarr_format):
    """moto's real S3 server: keys, ranges of shards, what is not there."""
    pixels = noise(4, 1, 1, 60, 80)
    layout = {"shards": (1, 1, 1, 60, 80), "chunks": (1, 1, 1, 30, 80)} if zarr_format == 3 else {}
    image = write_plate(tmp_path / "P 1.zarr", {"A4": [pixels]}, zarr_format=zarr_format, **layout)
    for gone in chunk_files(image / "A" / "4" / "0", 3):
        gone.unlink()
    for path in filter(Path.is_file, image.rglob("*")):
        bucket.put(f"v{zarr_format}/{path.relative_to(tmp_path)}", path.read_bytes())
    source = downloader(f"s3://{bucket.bucket}/v{zarr_format}", endpoint_url=bucket.address)
    movie = source.download(task(1, 3, 4, plate="P 1"), tmp_path / "out")
    one, missing, four = pixels_of(movie, 1, 3, 4)
    np.testing.assert_array_equal(one, pixels[0, 0, 0])
    np.testing.assert_array_equal(four, pixels[3, 0, 0])
    assert "is missing at its source" in str(missing)
    assert movie.bytes_moved < sum(path.stat().st_size for path in image.rglob("*"))
    with pytest.raises(DownloadError, match="P2"):
        source.download(task(1, plate="P2"), tmp_path / "out")


def test_pixels_are_equal_to_the_cellh5_movies(tmp_path):
    pixels = noise(12, 128, 128)
    write_cellh5(
        tmp_path / "x.ch5", pixels, np.zeros(pixels.shape, "u2"), valid=np.ones(12, bool),
        screen="P1--x", well_number=4,
    )  # fmt: skip
    write_plate(tmp_path / "P1.zarr", {"A4": [pixels[:, None, None]]})

    class Anywhere:
        def movie_path(self, task):
            return "x.ch5"

    results = []
    whole = TransportDownloader(
        LocalTransport(tmp_path), Anywhere(), DownloadSettings(fetch="file")
    )
    for source in (downloader(tmp_path), whole):
        preprocessor = Preprocessor(CellH5Reader(), FrameContext())
        limit_to_needed(source, preprocessor)
        movie = source.download(task(5), tmp_path / type(source).__name__)
        results.append([frame.pixels.tobytes() for frame in preprocessor.process(movie)])
    assert results[0] == results[1]


def test_wells_are_found_however_the_plate_writes_them(tmp_path):
    write_plate(tmp_path / "P1.zarr", {"A4": [noise(2, 1, 1, 20, 20)]}, names={"A4": "A/04"})
    movie = downloader(tmp_path).download(task(1), tmp_path / "out")
    assert movie.source.endswith("P1.zarr/A/04/0")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (task(1, well="C7"), "has no well C7 among its 1 wells"),
        (task(1, site=3), r"has 1 field; there is no field 3"),
        (task(1, plate="P9"), "no OME-Zarr found.*neither .zattrs nor zarr.json"),
        (task(1, plate="../P1"), "path separator"),
    ],
    ids=["well", "field", "plate", "name"],
)
def test_what_is_not_there(tmp_path, wanted, words):
    write_plate(tmp_path / "P1.zarr", {"A4": [noise(2, 1, 1, 20, 20)]})
    kind = RemoteFileNotFoundError if "path sep" not in words else DownloadError
    with pytest.raises(kind, match=words):
        downloader(tmp_path).download(wanted, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"multiscales": []}, "multiscales"),
        ({"multiscales": [{"axes": axes_of("tq"), "datasets": [{"path": "0"}]}]}, "axes"),
        (multiscales("yx"), "2 axes"),
        (multiscales("tczyx", "7"), "no .zarray"),
    ],
)
def test_an_image_that_is_not_understood(tmp_path, change, words):
    image = write_image(tmp_path / "P1.zarr", noise(2, 1, 1, 20, 20))
    (image / ".zattrs").write_text(json.dumps(change))
    with pytest.raises(MovieError, match=words):
        downloader(tmp_path).download(task(1), tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"filters": [{"id": "delta"}]}, "filters .* not supported"),
        ({"compressor": {"id": "pcodec"}}, "codec 'pcodec' is not supported"),
        ({"dtype": "<f4"}, "float32 pixels"),
        ({"shape": "x"}, "cannot be understood"),
        ({"shape": [1, 1, 1, 10**9, 10**9]}, "planes of 1000000000 x 1000000000 pixels"),
        ({"shape": [10**12, 1, 1, 20, 20]}, "axis t has 1,000,000,000,000 positions"),
        ({"shape": [1, 10**6, 1, 20, 20]}, "axis c has 1,000,000 positions"),
        ({"shape": [2, 1, 1, 200, 200], "chunks": [1, 1, 1, 1, 1]}, "in 40,000 chunks"),
        ({"shape": [2**20, 1, 1, 64, 64], "chunks": [2**16, 1, 1, 16, 16]}, "have 268,435,456"),
        ({"dtype": "|S1000000000"}, r"the type \|S1000000000 are not supported"),
        ({"dtype": [["a", "<u2"]]}, "are not supported"),
        ({"chunks": [0, 1, 1, 1, 1]}, "do not fit"),
        ({"chunks": [1, 1, 1, 10**9, 10**9]}, "too large for a microscope"),
    ],
)
def test_an_array_that_is_not_understood(tmp_path, change, words):
    image = write_image(tmp_path / "P1.zarr", noise(2, 1, 1, 20, 20))
    path = image / "0" / ".zarray"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(MovieError, match=words):
        downloader(tmp_path).download(task(1), tmp_path / "out")


@pytest.mark.parametrize("name", [".zattrs", "zarr.json"])
@pytest.mark.parametrize(
    "content",
    [
        "[1]", "{", "[" * 100_000, '{"plate": 5}', '{"plate": {"wells": [3]}}',
        '{"multiscales": 7}', '{"multiscales": [[]]}', '{"attributes": [1]}',
        '{"attributes": {"ome": 7}}', '{"attributes": {"ome": {"plate": []}}}',
        '{"attributes": {"ome": {"multiscales": [{"datasets": [{"path": {}}]}]}}}',
    ],
)  # fmt: skip
def test_nonsense_at_the_first_root_is_not_the_last_word(tmp_path, name, content):
    (tmp_path / "nonsense" / "P1.zarr").mkdir(parents=True)
    (tmp_path / "nonsense" / "P1.zarr" / name).write_text(content)
    with pytest.raises((DownloadError, MovieError), match="nonsense"):
        downloader(tmp_path / "nonsense").download(task(1), tmp_path / "out")
    pixels = noise(2, 1, 1, 20, 20)
    write_image(tmp_path / "right" / "P1.zarr", pixels)
    source = omezarr(tmp_path / "nonsense", tmp_path / "right", pattern="{Plate}.zarr")
    movie = source.download(task(2), tmp_path / "out")
    np.testing.assert_array_equal(pixels_of(movie, 2)[0], pixels[1, 0, 0])


def test_roots_are_tried_in_turn(server, tmp_path):
    pixels = noise(2, 1, 1, 20, 20)
    write_image(server.root / "new" / "P1.zarr", pixels)
    source = omezarr(f"{server.url}/old", f"{server.url}/new", pattern="{Plate}.zarr")
    movie = source.download(task(2), tmp_path / "out")
    assert "/new/P1.zarr" in movie.source
    np.testing.assert_array_equal(pixels_of(movie, 2)[0], pixels[1, 0, 0])


def test_a_web_page_at_the_first_root_is_no_plate(web, tmp_path):
    pixels = noise(2, 1, 1, 20, 20)
    image = write_image(tmp_path / "P1.zarr", pixels)
    for path in filter(Path.is_file, image.rglob("*")):
        web.put(f"there/{path.relative_to(tmp_path)}", path.read_bytes())
    source = omezarr(f"{web.address}pages", f"{web.address}there", pattern="{Plate}.zarr")
    movie = source.download(task(2), tmp_path / "out")
    np.testing.assert_array_equal(pixels_of(movie, 2)[0], pixels[1, 0, 0])
    with pytest.raises(DownloadError, match=r"no OME-Zarr found.*is not JSON"):
        omezarr(f"{web.address}pages", pattern="{Plate}.zarr").download(task(1), tmp_path / "out")


def test_a_copy_that_lacks_the_image_is_not_the_last_word(tmp_path):
    pixels = noise(2, 1, 1, 20, 20)
    write_plate(tmp_path / "old" / "P1.zarr", {"B1": [pixels]})
    write_plate(tmp_path / "new" / "P1.zarr", {"A4": [pixels]})
    source = omezarr(tmp_path / "old", tmp_path / "new", pattern="{Plate}.zarr")
    for _ in range(2):  # the second time the plates are known
        movie = source.download(task(2), tmp_path / "out")
        np.testing.assert_array_equal(pixels_of(movie, 2)[0], pixels[1, 0, 0])
    with pytest.raises(RemoteFileNotFoundError, match=r"has no well C7.*has no well C7"):
        source.download(task(1, well="C7"), tmp_path / "out")


def test_only_what_a_source_says_it_lacks_is_missing_there(server, tmp_path):
    """A disk that is not mounted and a server that hides what it has lack nothing for good."""
    pattern = "{Plate}.zarr"
    with pytest.raises(RemoteFileNotFoundError):
        omezarr(f"{server.url}/nothing", pattern=pattern).download(task(1), tmp_path / "out")
    server.plan = ["403"] * 9
    with pytest.raises(DownloadError, match="refuses") as refused:
        omezarr(f"{server.url}/nothing", pattern=pattern).download(task(1), tmp_path / "out")
    with pytest.raises(DownloadError, match="there is no folder") as unmounted:
        omezarr(tmp_path / "mnt", pattern=pattern).download(task(1), tmp_path / "out")
    for error in (refused, unmounted):
        assert not isinstance(error.value, RemoteFileNotFoundError)


def test_what_a_server_sends_as_gzip_is_unpacked(web, tmp_path):
    pixels = noise(2, 1, 1, 20, 20)
    image = write_image(tmp_path / "P1.zarr", pixels)
    for path in filter(Path.is_file, image.rglob("*")):
        web.put(f"{path.relative_to(tmp_path)}", gzip.compress(path.read_bytes()))
    source = downloader(f"{web.address}packed")
    movie = source.download(task(2), tmp_path / "out")
    np.testing.assert_array_equal(pixels_of(movie, 2)[0], pixels[1, 0, 0])
    web.put("P1.zarr/0/0/0/0/0/0", gzip.compress(bytes(HUGE)))
    web.put("P1.zarr/0/1/0/0/1/0", b"not packed")
    movie = source.download(task(1), tmp_path / "out")
    assert "is damaged: " in str(pixels_of(movie, 1)[0])
    with pytest.raises(TransientDownloadError, match="cannot be unpacked"):
        source.download(task(2), tmp_path / "out")


def test_no_root_that_answers_is_a_passing_error(server, tmp_path):
    write_image(server.root / "P1.zarr", noise(2, 1, 1, 20, 20))
    server.always = "503"
    with pytest.raises(TransientDownloadError, match=r"answered 503.*answered 503"):
        omezarr(server.url, f"{server.url}/b", pattern="{Plate}.zarr").size(task(1))


@FORMATS
def test_a_row_that_names_zarr_is_read_as_zarr_with_every_method(server, tmp_path, zarr_format):
    pixels = noise(3, 2, 1, 40, 50)
    study = "idr0013-neumann-mitocheck"
    write_plate(server.root / study / "p.ZARR", {"A4": [pixels]}, zarr_format=zarr_format)
    within = f"{server.url}/{study}/p.ZARR/A/4/0"
    sources = {
        "auto": {"https_root": server.url, "root": str(tmp_path / "empty")},
        "https": {"https_root": server.url},
        "local": {"root": str(server.root / study)},
    }
    (tmp_path / "empty" / study).mkdir(parents=True)
    for method, options in sources.items():
        source = make_downloader(method=method, **QUICK, **options)
        source.limit_to(lambda task, info: task.frames, channels=[("", "1")], z=0)
        for metadata in (
            {"Path": "p.ZARR"},
            {"Path": f"/uod/idr/filesets/{study}/p.ZARR"},
            {"Path": str(server.root / study / "p.ZARR")},
            {"URL": within},
        ):
            wanted = task(2, **metadata)
            movie = source.download(wanted, tmp_path / "out")
            np.testing.assert_array_equal(pixels_of(movie, 2, channel=1)[0], pixels[1, 1, 0])
            assert movie.frames == (2,)
            assert source.size(wanted) >= movie.size_bytes
    ftp = make_downloader(method="ftp")
    with pytest.raises(DownloadError, match="which ftp cannot fetch"):
        ftp.download(task(2, Path="p.zarr"), tmp_path / "out")


def test_a_server_that_is_down_is_a_passing_error(server, tmp_path):
    write_image(server.root / "P1.zarr", noise(2, 1, 1, 20, 20))
    source = downloader(server.url)
    source.download(task(1), tmp_path / "out")
    server.always = "503"
    with pytest.raises(TransientDownloadError, match="answered 503"):
        source.download(task(2), tmp_path / "out")


def test_the_table_of_plates(tmp_path):
    pixels = noise(2, 1, 1, 20, 20)
    write_image(tmp_path / "abc" / "abc.zarr", pixels)
    write_image(tmp_path / "elsewhere.zarr", pixels)
    table = tmp_path / "plates.tsv"
    table.write_text(
        "Plate\tUUID\tURL\tPath\nP1\tabc\t\t\n"
        f"P2\t\t{tmp_path.as_uri()}/elsewhere.zarr\t\nP3\t\t\telsewhere.zarr\n"
    )
    source = omezarr(tmp_path, plates=table)
    for plate in ("P1", "P2", "P3"):
        movie = source.download(task(1, plate=plate), tmp_path / "out" / plate)
        np.testing.assert_array_equal(pixels_of(movie, 1)[0], pixels[0, 0, 0])
    with pytest.raises(DownloadError, match="P4 is not in the table"):
        source.download(task(1, plate="P4"), tmp_path / "out")
    with pytest.raises(DownloadError, match="UUID is not known"):
        omezarr(tmp_path).download(task(1), tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Name,UUID\nP1,a\n", "header needs Plate"),
        ("Plate\nP1\n", "one of URL, Path, UUID"),
        ("Plate,UUID\nP1,a\nP1,b\n", "line 3: plate P1 appears twice"),
        ("Plate,UUID\nP1,\n", "line 2: plate P1 has no URL or Path or UUID"),
        ("Plate,UUID\nP1\n", "line 2: it has fewer or more columns"),
        ("Plate,UUID\n../P,a\n", "line 2: the plate name"),
    ],
)
def test_a_wrong_table_of_plates(tmp_path, text, words):
    path = tmp_path / "plates.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=words):
        PlateTable.read(path)


def test_wrong_settings(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        PlateTable.read(tmp_path / "gone.tsv")
    with pytest.raises(ConfigError, match="https://, s3:// or file://"):
        omezarr("ftp://x/y")


def test_s3_addresses():
    assert s3_url("s3://b/a/c", "https://x.org/") == "https://x.org/b/a/c"
    assert s3_url("s3://b/a/") == "https://s3.amazonaws.com/b/a"


def test_settings(tmp_path):
    write_image(tmp_path / "x" / "P1.zarr", noise(2, 1, 1, 20, 20))
    needed = {"table": "t.tsv", "final_data_dir": f"{tmp_path}/o", "tmp_dir": f"{tmp_path}/w"}
    options = {
        **needed, "method": "omezarr", "omezarr_roots": f"{tmp_path}/none, {tmp_path}/x",
        "omezarr_pattern": "{Plate}.zarr",
    }  # fmt: skip
    stream = IdrStream.from_settings(load_settings(None, environment={}, options=options))
    assert stream.downloader.roots == (f"{tmp_path}/none", f"{tmp_path}/x")
    movie = stream.downloader.download(task(2), tmp_path / "out")
    assert isinstance(pixels_of(movie, 2)[0], np.ndarray)
    stream.close()
    with pytest.raises(ConfigError, match="no movie files"):
        IdrStream.from_settings(
            load_settings(None, environment={}, options={**options, "fetch": "file"})
        )
    defaults = OmeZarrDownloader()
    assert [root.split("/")[2] for root in defaults.roots] == [
        "livingobjects.ebi.ac.uk", "uk1s3.embassy.ebi.ac.uk",
    ]  # fmt: skip
