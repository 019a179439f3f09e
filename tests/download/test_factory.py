"""Ways by name, and the settings that choose them."""

from __future__ import annotations

import pytest

from idrstream import IdrStream, load_settings
from idrstream.download import TransferOptions, TransportChain, Ways, make_downloader
from idrstream.errors import ConfigError
from idrstream.records import ImageTask

STUDY = "idr0013-neumann-mitocheck"
PATH = (
    f"{STUDY}/20150916-mitocheck-analysis/mitocheck/"
    "LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3/hdf5/00004_01.ch5"
)


def test_auto_is_what_is_set_nearest_first(tmp_path, ascp, key):
    assert Ways().names() == ("https", "ftp")
    ways = Ways(aspera_path=ascp.program, aspera_key_path=key, local_root="/m", s3_root="s3://b")
    assert ways.names() == ("local", "aspera", "https", "ftp", "s3")
    chain = make_downloader(ways, ["aspera", "https", "ftp", "s3"]).transport
    assert isinstance(chain, TransportChain)
    assert chain.name == "aspera > https > ftp > s3"


@pytest.mark.parametrize(("names", "words"), [
    (["pigeon"], "not pigeon"), ([], "not none"), (["s3"], "no address"),
    (["aspera"], "aspera_path"), (["local"], "no folder"),
])  # fmt: skip
def test_what_is_missing_is_told(names, words):
    with pytest.raises(ConfigError, match=words):
        make_downloader(names=names)


def test_a_stream_takes_the_next_way(web, ascp, key, plates, tmp_path, movie_bytes, task):
    web.put(PATH, movie_bytes)
    ascp.plan(*["stderr:ascp: failed to authenticate, exiting."] * 9)
    options = {
        "table": "t.tsv", "final_data_dir": str(tmp_path / "o"), "tmp_dir": str(tmp_path / "t"),
        "method": "auto", "chain": "aspera,https", "aspera_attempts": "1",
        "aspera_path": str(ascp.program), "aspera_key_path": str(key),
        "screens_path": str(plates), "https_root": web.address, "fetch": "file",
        "deep_verify": "true",
    }  # fmt: skip
    stream = IdrStream.from_settings(load_settings(None, environment={}, options=options))
    assert stream.downloader.size(task) == len(movie_bytes)
    movie = stream.downloader.download(task, tmp_path / "here")
    assert movie.path.read_bytes() == movie_bytes
    assert movie.source.startswith("http: 20150916")
    stream.close()


def test_addresses_of_the_table_choose_their_way(web, ftp_server, bucket, tmp_path, movie_bytes):
    web.put("a b/1.ch5", movie_bytes)
    ftp_server.put("2.ch5", movie_bytes)
    bucket.put("3.ch5", movie_bytes)
    ways = Ways(s3_endpoint=bucket.address, transfer=TransferOptions(attempts=1))
    downloader = make_downloader(ways, ["https"], fetch="file")
    urls = {
        "http": f"{web.address}a%20b/1.ch5?token=secret",
        "ftp": f"{ftp_server.address}2.ch5",
        "s3": f"s3://{bucket.bucket}/3.ch5",
    }
    for name, url in urls.items():
        task = ImageTask("p", "A1", 1, (1,), metadata={"URL": url})
        movie = downloader.download(task, tmp_path / name)
        assert movie.path.read_bytes() == movie_bytes
        assert movie.source.startswith(f"{name}: ")
        assert "secret" not in movie.source


def test_only_the_frames_over_http(web, tmp_path, shared_data):
    source = next((shared_data / "movies").rglob("00004_01.ch5"))
    web.put(PATH, source.read_bytes())
    downloader = make_downloader(Ways(https_root=web.address), ["https", "ftp"], fetch="frames")
    downloader.frames_needed = lambda task, info: [1]
    task = ImageTask("p", "A1", 4, (1,), metadata={"Path": f"/uod/idr/filesets/{PATH}"})
    movie = downloader.download(task, tmp_path / "small")
    assert movie.frames == (1,)
    assert movie.bytes_moved < source.stat().st_size
