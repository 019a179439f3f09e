"""Connections to a host are counted together, whoever opens them and for whatever."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from fault_proxy import FaultProxy

from idrstream.config import DownloadSettings
from idrstream.download import HttpTransport, Transport, TransportChain
from idrstream.download.client.connections import connection_to
from idrstream.download.client.retry import retry_after_s, with_retries
from idrstream.download.omezarr._store import Store
from idrstream.download.transports.s3 import S3Transport
from idrstream.errors import DownloadError, TransientDownloadError


def test_files_ranges_sizes_and_chunks_share_a_limit(web, movie_bytes, tmp_path):
    for number in range(6):
        web.put(f"shared/{number}.ch5", movie_bytes)
        web.put(f"shared/x.zarr/{number}", b"chunk")
    limit = 2
    with FaultProxy(web.port) as proxy:
        options = DownloadSettings(connections_per_host=limit, retry_wait_s=0, download_attempts=2)

        def whole(number: int) -> bool:
            target = tmp_path / f"{number}.ch5"
            HttpTransport(f"{proxy.address}shared", options).fetch(f"{number}.ch5", target)
            return target.read_bytes() == movie_bytes

        def ranges(number: int) -> bool:
            file = HttpTransport(f"{proxy.address}shared", options).open_ranges(
                f"{number}.ch5", 1000
            )
            return file is not None and file.read(2000, 9000) == movie_bytes[2000:9000]

        def size(number: int) -> bool:
            transport = HttpTransport(f"{proxy.address}shared", options)
            return transport.size(f"{number}.ch5") == len(movie_bytes)

        def chunk(number: int) -> bool:
            store = Store(f"{proxy.address}shared/x.zarr", options)
            return store.get(str(number)) == b"chunk"

        kinds = [whole, ranges, size, chunk]
        with ThreadPoolExecutor(24) as threads:
            found = [threads.submit(kind, number) for number in range(6) for kind in kinds]
            assert all(one.result() for one in found)
        # Sockets that are kept for later count as well: the server sees no others.
        assert 1 <= proxy.most_at_once <= limit
        assert proxy.connections <= limit + 1


def test_a_lower_limit_counts_the_connections_of_others():
    entered = threading.Event()

    def second() -> None:
        with connection_to("host.of.this.test", 1):
            entered.set()

    with connection_to("host.of.this.test", 4), connection_to("host.of.this.test", 4):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.1)
    thread.join(5)
    assert entered.is_set()


def test_who_waits_for_a_connection_can_be_stopped():
    def check() -> None:
        raise TransientDownloadError("stopped")

    with (
        connection_to("another.host", 1),
        pytest.raises(TransientDownloadError, match="stopped"),
        connection_to("another.host", 1, check),
    ):
        raise AssertionError


class WholeFiles(Transport):
    """A transport without ranges, like Aspera."""

    name = "aspera"

    def fetch(self, remote, target):
        raise DownloadError("not today")

    def size(self, remote):
        return None


def test_a_chain_names_the_link_that_served_frames(web, tmp_path, caplog):
    import h5py
    import numpy as np

    from idrstream.download import TransportDownloader
    from idrstream.records import ImageTask
    from idrstream.simulate.cellh5 import write_cellh5

    pixels = np.random.default_rng(0).integers(1, 255, (12, 64, 64), dtype=np.uint8)
    path = tmp_path / "x.ch5"
    write_cellh5(
        path, pixels, np.zeros(pixels.shape, "u2"), valid=np.ones(12, bool), screen="P--x",
        well_number=4,
    )  # fmt: skip
    assert h5py.is_hdf5(path)
    web.put("chain/x.ch5", path.read_bytes())

    class Anywhere:
        def movie_path(self, task):
            return "x.ch5"

    chain = TransportChain([WholeFiles(), HttpTransport(f"{web.address}chain")])
    downloader = TransportDownloader(chain, Anywhere(), DownloadSettings(fetch="frames"))
    downloader.limit_to(lambda task, info: task.frames)
    with caplog.at_level("INFO", logger="idrstream.download"):
        movie = downloader.download(ImageTask("P", "A4", 4, (5,)), tmp_path / "out")
    assert movie.source == "http: x.ch5"
    assert "1 frames of x.ch5 from http," in caplog.text
    assert "aspera >" not in caplog.text + json.dumps(movie.source)


def test_what_a_server_asks_to_wait_is_applied_to_ranges_too(web):
    store = Store(
        f"{web.address}busy",
        DownloadSettings(download_attempts=2, retry_wait_s=0, longest_retry_wait_s=0.05),
    )
    began = time.monotonic()
    with pytest.raises(TransientDownloadError, match="503"):
        store.get("chunk")
    assert time.monotonic() - began >= 0.05  # Retry-After: 7, cut to the longest pause
    assert retry_after_s("7") == 7
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_s("soon") == 0


def test_attempts_end_by_kind_and_number():
    calls: list[int] = []

    def attempt() -> None:
        calls.append(1)
        raise (DownloadError if len(calls) == 3 else TransientDownloadError)("no")

    waits: list[float] = []
    with pytest.raises(DownloadError):
        with_retries(
            attempt,
            DownloadSettings(retry_wait_s=1.0, longest_retry_wait_s=1.5),
            may_pass=lambda error: isinstance(error, TransientDownloadError),
            give_up=lambda attempts, _error: attempts >= 10,
            sleep=waits.append,
        )
    assert len(calls) == 3
    assert len(waits) == 2
    assert max(waits) <= 1.5


def test_the_name_of_a_bucket_is_kept_for_ranges(bucket, movie_bytes):
    bucket.put("named/x.ch5", movie_bytes)
    settings = DownloadSettings(s3_endpoint=bucket.address)
    file = S3Transport(f"s3://{bucket.bucket}/named", settings).open_ranges("x.ch5", 100)
    assert file is not None
    assert file.name == "s3"
    assert file.read(100, 300) == movie_bytes[100:300]
