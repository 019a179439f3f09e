"""One call builds every downloader, and no option is lost on the way."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
from fault_proxy import Fault, FaultProxy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idrstream import IdrStream, load_settings
from idrstream.config import DownloadSettings
from idrstream.download import TransportChain, make_downloader
from idrstream.errors import (
    ConfigError,
    DownloadError,
    MissingToolError,
    MovieError,
    TransientDownloadError,
)
from idrstream.records import ImageTask

STUDY = "idr0013-neumann-mitocheck"
PATH = (
    f"{STUDY}/20150916-mitocheck-analysis/mitocheck/"
    "LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3/hdf5/00004_01.ch5"
)
METHODS = ("aspera", "auto", "ftp", "https", "local", "omezarr", "s3")

seconds = st.floats(0.1, 1e4)
numbers = st.integers(1, 100)
words = st.from_regex(r"[a-z][a-z0-9.]{0,9}", fullmatch=True)
roots = words.map(lambda word: f"https://{word}.org/x")
SETTABLE = {
    "https_root": roots,
    "ftp_root": words.map(lambda word: f"ftp://{word}.org/x"),
    "s3_root": words.map(lambda word: f"s3://{word}/x"),
    "s3_endpoint": roots,
    "connect_timeout_s": seconds, "stall_timeout_s": seconds, "total_timeout_s": seconds,
    "retry_wait_s": seconds, "longest_retry_wait_s": seconds, "cool_down_s": seconds,
    "complete_timeout_s": seconds, "largest_file": st.sampled_from(["5GB", 10**9, None]),
    "download_attempts": numbers, "connections_per_host": numbers, "aspera_port": numbers,
    "aspera_attempts": numbers,
    "deep_verify": st.booleans(), "sidecar": st.booleans(),
    "fetch": st.just("auto"),
    "idr_index_name": words,
    "aspera_user": words, "aspera_host": words, "aspera_rate": words,
    "omezarr_roots": st.lists(roots, min_size=1, max_size=3).map(tuple),
    "omezarr_pattern": words, "omezarr_endpoint_url": roots,
    "missing_chunks": st.sampled_from(["error", "fill"]),
}  # fmt: skip
FIXED = {"method", "chain", "root", "s3_anonymous", "screens_path", "aspera_path",
         "aspera_key_path", "omezarr_plates"}  # fmt: skip


def test_every_option_is_drawn():
    names = {option.name for option in dataclasses.fields(DownloadSettings)}
    assert names == SETTABLE.keys() | FIXED


@pytest.mark.parametrize("method", METHODS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(options=st.fixed_dictionaries(SETTABLE))
def test_every_option_reaches_the_transport(method, options, ascp, key, plates, tmp_path):
    (tmp_path / options["idr_index_name"]).mkdir(exist_ok=True)
    table = tmp_path / "plates of omezarr.tsv"
    table.write_text("Plate\tUUID\nP1\tabc\n")
    given_ = DownloadSettings(
        method=method, root=str(tmp_path), screens_path=plates, aspera_path=ascp.program,
        aspera_key_path=(key,), omezarr_plates=table, **options,
    )  # fmt: skip
    downloader = make_downloader(given_)
    assert downloader.settings == given_
    if method == "omezarr":
        assert downloader.roots == given_.omezarr_roots
        return
    transport = downloader.transport
    links = transport.transports if isinstance(transport, TransportChain) else [transport]
    assert [link.name for link in links] == (
        ["local", "https", "aspera", "ftp", "s3"] if method == "auto" else [method]
    )
    for link in links:
        assert link.settings == given_
    assert downloader.addresses.settings == given_


def test_auto_is_what_is_set_https_before_aspera(ascp, key):
    assert make_downloader().transport.name == "https > ftp"
    program = {"aspera_path": ascp.program, "aspera_key_path": key}
    assert make_downloader(**program).transport.name == "https > aspera > ftp"
    chain = make_downloader(chain=["aspera", "https"], **program).transport
    assert chain.name == "aspera > https"
    assert make_downloader(chain=["https"]).transport.name == "https"


@pytest.mark.parametrize(("options", "message"), [
    ({"method": "locl"}, r"there is no method 'locl'; known: aspera, auto, .*mean 'local'"),
    ({"chain": ["pigeon"]}, r"chain\.0: Input should be 'local'"),
    ({"speed": 3}, "speed: no such option"),
    ({"stall_timeout_s": -1}, "stall_timeout_s: Input should be greater than 0"),
    ({"method": "s3"}, r"download\.s3_root is missing"),
    ({"method": "local"}, r"download\.root is missing"),
    ({"chain": ["local"]}, r"download\.root is missing"),
    ({"method": "aspera"}, r"download\.aspera_path, download\.aspera_key_path missing"),
    ({"method": "aspera", "aspera_path": "ascp"}, r"^download\.aspera_key_path missing"),
    ({"method": "aspera", "aspera_path": "x", "aspera_key_path": "y", "fetch": "frames"},
     'fetch = "frames" cannot be done by aspera'),
    ({"method": "ftp", "fetch": "frames"}, 'fetch = "frames" cannot be done by ftp'),
    ({"method": "omezarr", "fetch": "file"}, "no movie files"),
    ({"https_root": "", "ftp_root": ""}, "no source of the movies"),
])  # fmt: skip
def test_missing_and_wrong_options_are_reported(options, message):
    with pytest.raises(ConfigError, match=message):
        make_downloader(**options)


def test_a_missing_program_is_reported_at_once_unless_another_source_remains(key, tmp_path):
    program = {"aspera_path": tmp_path / "no ascp", "aspera_key_path": key}
    with pytest.raises(MissingToolError, match="was not found"):
        make_downloader(method="aspera", **program)
    assert make_downloader(chain=["aspera", "https"], **program)


def test_a_mirror_in_a_chain_may_be_the_studys_folder(tmp_path, movie_bytes, task, plates):
    for root in (tmp_path / STUDY, tmp_path):
        movie = tmp_path / PATH
        movie.parent.mkdir(parents=True, exist_ok=True)
        movie.write_bytes(movie_bytes)
        downloader = make_downloader(root=root, chain=["local", "https"], screens_path=plates)
        fetched = downloader.download(task, tmp_path / "out" / root.name)
        assert fetched.source.startswith("local: ")


def test_a_stream_takes_the_next_source(web, ascp, key, plates, tmp_path, movie_bytes, task):
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


def test_addresses_of_the_table_choose_their_transport(
    web, ftp_server, bucket, tmp_path, movie_bytes
):
    web.put("a b/1.ch5", movie_bytes)
    ftp_server.put("2.ch5", movie_bytes)
    bucket.put("3.ch5", movie_bytes)
    downloader = make_downloader(
        method="https", s3_endpoint=bucket.address, download_attempts=1, fetch="file"
    )
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
    downloader = make_downloader(https_root=web.address, fetch="frames", deep_verify=True)
    downloader.limit_to(lambda task, info: [1])
    task = ImageTask("p", "A1", 4, (1,), metadata={"Path": f"/uod/idr/filesets/{PATH}"})
    movie = downloader.download(task, tmp_path / "small")
    assert movie.frames == (1,)
    assert movie.bytes_moved < source.stat().st_size


@pytest.fixture
def damaged_mirror(tmp_path) -> SimpleNamespace:
    """A mirror with one movie of which a byte of frame 5's pixels is wrong."""
    import h5py
    import numpy as np

    from idrstream.simulate.cellh5 import write_cellh5

    path = tmp_path / "mirror" / "x.ch5"
    path.parent.mkdir()
    pixels = np.random.default_rng(0).integers(1, 255, (12, 64, 64), dtype=np.uint8)
    write_cellh5(
        path, pixels, np.zeros(pixels.shape, "u2"), valid=np.ones(12, bool), screen="P--x",
        well_number=4,
    )  # fmt: skip
    with h5py.File(path) as file:
        names: list[str] = []
        file.visit(names.append)
        (name,) = (n for n in names if n.startswith("sample/") and n.endswith("image/channel"))
        info = file[name].id.get_chunk_info_by_coord((0, 4, 0, 0, 0))
    content = bytearray(path.read_bytes())
    content[info.byte_offset + info.size - 6] ^= 0xFF
    path.write_bytes(content)
    task = ImageTask("P", "A4", 4, (5,), metadata={"Path": "x.ch5"})
    return SimpleNamespace(root=path.parent, task=task)


@pytest.mark.parametrize("fetch", ["file", "frames", "auto"])
def test_deep_verify_of_a_local_mirror(damaged_mirror, tmp_path, fetch):
    def download(name: str, **options) -> Path:
        downloader = make_downloader(
            method="local", root=damaged_mirror.root, fetch=fetch, retry_wait_s=0, **options
        )
        downloader.limit_to(lambda task, info: task.frames)
        return downloader.download(damaged_mirror.task, tmp_path / name).path

    assert download("unverified").exists()
    with pytest.raises(MovieError, match="is damaged at"):
        download("verified", deep_verify=True)
    assert list((tmp_path / "verified").iterdir()) == []


def test_deep_verify_of_omezarr(tmp_path, monkeypatch):
    import numpy as np

    from idrstream.download.omezarr import OmeZarrDownloader
    from idrstream.formats.hdf5_ranges.small import SmallMovie

    zarr = pytest.importorskip("zarr")
    image = zarr.open_group(str(tmp_path / "P1.zarr"), mode="w", zarr_format=2)
    pixels = np.random.default_rng(0).integers(1, 255, (2, 1, 1, 40, 40), dtype=np.uint8)
    image.create_array("0", data=pixels, chunks=(1, 1, 1, 40, 40))
    image.attrs["multiscales"] = [
        {"axes": [{"name": name} for name in "tczyx"], "datasets": [{"path": "0"}]}
    ]
    finish = SmallMovie.__exit__

    def spoil(self, kind, *rest) -> None:
        """Flip a byte of the last chunk, as a failing disk does."""
        info = self._dataset.id.get_chunk_info(0)
        finish(self, kind, *rest)
        content = bytearray(self._target.read_bytes())
        content[info.byte_offset + info.size - 6] ^= 0xFF
        self._target.write_bytes(content)

    monkeypatch.setattr(SmallMovie, "__exit__", spoil)
    options = {
        "method": "omezarr", "omezarr_roots": [str(tmp_path)], "omezarr_pattern": "{Plate}.zarr",
    }  # fmt: skip
    task = ImageTask("P1", "A4", 4, (1,))
    plain = make_downloader(**options)
    assert isinstance(plain, OmeZarrDownloader)
    plain.download(task, tmp_path / "out")
    with pytest.raises(MovieError, match="is damaged"):
        make_downloader(**options, deep_verify=True).download(task, tmp_path / "out")


def test_time_limits_reach_every_client(web, tmp_path, movie_bytes):
    web.put(f"{STUDY}/x.ch5", movie_bytes)
    web.put("P1.zarr/.zattrs", b"{}")
    limits = {"stall_timeout_s": 0.3, "total_timeout_s": 1.0, "retry_wait_s": 0.1,
              "download_attempts": 99}  # fmt: skip
    with FaultProxy(web.port, stall_s=1.0) as proxy:
        whole = make_downloader(method="https", https_root=proxy.address, **limits)
        zarr = make_downloader(
            method="omezarr", omezarr_roots=[proxy.address], omezarr_pattern="{Plate}.zarr",
            **limits,
        )  # fmt: skip
        for downloader, task in (
            (whole, ImageTask("p", "A1", 1, (1,), metadata={"Path": "x.ch5"})),
            (zarr, ImageTask("P1", "A1", 1, (1,))),
        ):
            proxy.faults = [Fault("stall", 0)] * 99
            before = proxy.connections
            with pytest.raises(DownloadError):
                downloader.download(task, tmp_path / "out")
            assert proxy.connections - before <= 6


def test_a_mirror_that_does_not_answer_is_given_up_in_time(tmp_path, monkeypatch):
    """A mount that keeps failing ends within the time limit, with short pauses."""
    (tmp_path / "x.ch5").write_bytes(b"abc")
    downloader = make_downloader(
        method="local", root=tmp_path, total_timeout_s=0.5, download_attempts=10**6,
        retry_wait_s=0.1, longest_retry_wait_s=0.5,
    )  # fmt: skip

    def stale(*_args) -> None:
        import errno

        raise OSError(errno.ESTALE, "Stale file handle")

    task = ImageTask("p", "A1", 1, (1,), metadata={"Path": "x.ch5"})
    with monkeypatch.context() as patched:
        patched.setattr("os.fstat", stale)
        with pytest.raises(TransientDownloadError, match=r"did not arrive within|Stale"):
            downloader.download(task, tmp_path / "out")
