"""The transfer core against real servers behind a proxy that breaks answers."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from fault_proxy import Fault, FaultProxy

from idrstream.config import DownloadSettings, checked
from idrstream.download import LocalTransport
from idrstream.download.transports.ftp import FtpTransport
from idrstream.download.transports.http import HttpTransport, digests_of, version_of
from idrstream.download.transports.partial import PartialFile
from idrstream.errors import (
    ConfigError,
    DownloadError,
    MovieError,
    StorageError,
    TransientDownloadError,
)

QUICK = DownloadSettings(
    connect_timeout_s=2, stall_timeout_s=0.4, total_timeout_s=20, download_attempts=4,
    retry_wait_s=0,
)  # fmt: skip
REMOTE = "study/00004_01.ch5"


def options(**changes) -> DownloadSettings:
    return replace(QUICK, **changes)


@pytest.fixture(scope="module")
def movie(tmp_path_factory) -> bytes:
    """An HDF5 file of some 400 KB."""
    import h5py
    import numpy as np

    path = tmp_path_factory.mktemp("hdf5") / "movie.ch5"
    with h5py.File(path, "w") as file:
        noise = np.random.default_rng(1).integers(0, 255, (20, 128, 160), dtype=np.uint8)
        file.create_dataset("image", data=noise, chunks=(1, 64, 80), compression="gzip")
    return path.read_bytes()


@pytest.fixture
def space() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def target(tmp_path) -> Path:
    (tmp_path / "to").mkdir()
    return tmp_path / "to" / "00004_01.ch5"


@pytest.fixture
def proxy(web, space, movie):
    web.put(f"{space}/{REMOTE}", movie)
    with FaultProxy(web.port) as running:
        yield running


@pytest.fixture
def make(proxy, space):
    def build(prefix: str = "", **changes) -> HttpTransport:
        return HttpTransport(f"{proxy.address}{prefix}{space}", options(**changes))

    return build


def nothing_left(target: Path) -> bool:
    return list(target.parent.iterdir()) == []


@pytest.mark.parametrize("kind", ["cut", "reset", "stall"])
def test_a_broken_connection_is_resumed(proxy, make, target, movie, kind):
    proxy.faults = [Fault(kind, 100_000), Fault(kind, 50_000)]
    fetched = make().fetch(REMOTE, target)
    assert target.read_bytes() == movie
    assert fetched.requests == 3
    if kind != "reset":  # a reset throws away what was on its way
        assert fetched.bytes_moved == len(movie)
    assert fetched.sha256 == hashlib.sha256(movie).hexdigest()
    assert {path.name for path in target.parent.iterdir()} == {
        "00004_01.ch5", "00004_01.ch5.source.json",
    }  # fmt: skip


def test_the_sidecar_says_where_it_came_from(proxy, make, target, movie, space):
    fetched = make().fetch(REMOTE, target)
    note = json.loads(target.with_name(target.name + ".source.json").read_text())
    assert note.pop("time").endswith("+00:00")
    assert note == {
        "address": f"{proxy.address}{space}/{REMOTE}",
        "size_bytes": len(movie),
        "etag": fetched.etag,
        "sha256": hashlib.sha256(movie).hexdigest(),
        "served_by": "http",
    }
    make(sidecar=False).fetch(REMOTE, target.with_name("other.ch5"))
    assert not target.with_name("other.ch5.source.json").exists()


@pytest.mark.parametrize("prefix", ["norange/", "noversion/"])
def test_without_ranges_or_version_it_begins_anew(proxy, make, target, movie, prefix):
    proxy.faults = [Fault("cut", 100_000)]
    fetched = make(prefix).fetch(REMOTE, target)
    assert target.read_bytes() == movie
    assert fetched.bytes_moved == len(movie) + 100_000


def test_a_file_that_changed_is_fetched_anew(proxy, make, web, space, target, movie):
    other = movie[:-1000] + bytes(1000) + b"longer"

    def change() -> None:
        web.put(f"{space}/{REMOTE}", other)

    proxy.faults = [Fault("call", 150_000, change)]
    make().fetch(REMOTE, target)
    assert target.read_bytes() == other


def test_a_file_that_keeps_changing_is_given_up(proxy, make, web, space, target, movie):
    turns = iter(range(100))

    def change() -> None:
        web.put(f"{space}/{REMOTE}", movie + bytes(next(turns)))

    proxy.faults = [Fault("call", 1000, change)] * 20
    with pytest.raises(TransientDownloadError, match=r"tried \d+ times"):
        make().fetch(REMOTE, target)
    assert nothing_left(target)


@pytest.mark.parametrize(("kind", "words"), [
    ("refuse", "ended the connection"), ("cut", "ended|ends after"), ("stall", "in time"),
])  # fmt: skip
def test_what_does_not_get_on_is_given_up(proxy, make, target, kind, words):
    proxy.faults = [Fault(kind, 0)] * 10
    with pytest.raises(TransientDownloadError, match=words) as caught:
        make(download_attempts=2).fetch(REMOTE, target)
    assert "tried 2 times" in str(caught.value)
    assert proxy.connections == 2
    assert nothing_left(target)


def test_attempts_count_anew_when_something_came(proxy, make, target, movie):
    proxy.faults = [Fault("cut", 70_000)] * 4
    make(download_attempts=2).fetch(REMOTE, target)
    assert target.read_bytes() == movie


def test_the_time_limit_holds_for_all_attempts(proxy, make, target):
    proxy.faults = [Fault("stall", 0)] * 50
    with pytest.raises(TransientDownloadError):
        make(total_timeout_s=1.0, download_attempts=50).fetch(REMOTE, target)
    assert proxy.connections <= 4
    assert nothing_left(target)


def test_a_slow_line_is_not_a_stalled_one(web, space, target, movie):
    web.put(f"{space}/{REMOTE}", movie)
    HttpTransport(f"{web.address}slow/{space}", QUICK).fetch(REMOTE, target)
    assert target.read_bytes() == movie


def test_a_spoiled_byte_is_seen_by_the_deep_check(proxy, make, target, movie):
    proxy.faults = [Fault("flip", len(movie) // 2)]
    make(deep_verify=True).fetch(REMOTE, target)
    assert target.read_bytes() == movie


def test_a_movie_damaged_at_its_source(web, make, space, target, movie):
    spoiled = bytearray(movie)
    spoiled[len(movie) // 2] ^= 0xFF
    web.put(f"{space}/{REMOTE}", bytes(spoiled))
    with pytest.raises(MovieError, match=r"00004_01\.ch5 is damaged at image"):
        make(deep_verify=True).fetch(REMOTE, target)
    assert nothing_left(target)


def test_status_codes(web, space, target):
    def fetch(prefix: str) -> None:
        HttpTransport(
            f"{web.address}{prefix}", options(download_attempts=2, longest_retry_wait_s=0.01)
        ).fetch("x.ch5", target)

    web.put("x.ch5", b"\x89HDF")
    with pytest.raises(TransientDownloadError, match="503 Service"):
        fetch("busy/")
    with pytest.raises(DownloadError, match="403 Forbidden") as caught:
        fetch("forbidden/")
    assert not isinstance(caught.value, TransientDownloadError)
    with pytest.raises(DownloadError, match="compressed"):
        fetch("packed/")
    assert nothing_left(target)


def test_pauses_are_as_the_server_asks(web, target):
    slept: list[float] = []
    transport = HttpTransport(
        f"{web.address}busy/",
        options(download_attempts=3, longest_retry_wait_s=5.0),
        sleep=slept.append,
    )
    with pytest.raises(TransientDownloadError):
        transport.fetch("x.ch5", target)
    assert slept == [5.0, 5.0]  # Retry-After: 7, but no longer than the longest


def test_redirects_are_followed(web, space, target, movie):
    web.put(f"{space}/{REMOTE}", movie)
    HttpTransport(f"{web.address}moved/{space}", QUICK).fetch(REMOTE, target)
    assert target.read_bytes() == movie


def test_the_server_is_told_who_asks(web, space, target, movie):
    web.put(f"{space}/{REMOTE}", movie)
    HttpTransport(f"{web.address}{space}", QUICK, query="token=secret").fetch(REMOTE, target)
    lines = (web.home / "access.log").read_text().splitlines()
    line = next(line for line in lines if "token=secret" in line)
    assert '"idrstream/' in line
    assert "secret" not in target.with_name(target.name + ".source.json").read_text()


def test_a_secret_query_is_in_no_message(web, target, caplog):
    caplog.set_level(logging.DEBUG, logger="idrstream")
    transport = HttpTransport(f"{web.address}", options(download_attempts=2), query="token=secret")
    with pytest.raises(DownloadError) as caught:
        transport.fetch("none.ch5", target)
    assert "secret" not in str(caught.value)
    closed = HttpTransport(
        "http://127.0.0.1:9/", options(download_attempts=2), query="token=secret"
    )
    with pytest.raises(DownloadError) as caught:
        closed.fetch("none.ch5", target)
    assert "secret" not in str(caught.value)
    assert "secret" not in caplog.text


def test_connections_to_a_host_are_limited(proxy, make, target, movie):
    threads = [
        threading.Thread(
            target=make(connections_per_host=2).fetch,
            args=(REMOTE, target.with_name(f"{number}.ch5")),
        )
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(path.suffix == ".ch5" for path in target.parent.iterdir()) == 8


def test_interrupt_ends_at_once_and_leaves_nothing(proxy, make, target):
    proxy.faults = [Fault("stall", 100_000)]
    transport = make(stall_timeout_s=20)
    threading.Timer(0.3, transport.interrupt).start()
    started = time.monotonic()
    with pytest.raises(TransientDownloadError, match="interrupted"):
        transport.fetch(REMOTE, target)
    assert time.monotonic() - started < 10
    assert nothing_left(target)
    transport.fetch(REMOTE, target)  # works as before


def test_what_a_crash_left_is_used_as_far_as_it_is_proven(web, space, target, movie):
    web.put(f"{space}/{REMOTE}", movie)
    transport = HttpTransport(f"{web.address}{space}", QUICK)
    size, etag = len(movie), transport.fetch(REMOTE, target).etag
    target.unlink()

    def crash(version: str = etag) -> None:
        part = PartialFile(target, transport.address(REMOTE), 50_000)
        part.restart()
        part.version, part.stated_bytes = version, size
        part.append(movie[:120_000])
        part.append(movie[120_000:130_000])  # after the last note
        part.flush()
        part._file.close()

    crash()
    assert transport.fetch(REMOTE, target).bytes_moved == size - 120_000
    assert target.read_bytes() == movie
    crash(version='"another"')
    assert transport.fetch(REMOTE, target).bytes_moved == size
    crash()
    with (target.with_name(target.name + ".part")).open("r+b") as file:
        file.write(b"spoiled")
    assert transport.fetch(REMOTE, target).bytes_moved == size
    assert target.read_bytes() == movie
    crash()
    target.with_name(target.name + ".part.json").write_text('{"half": ')
    assert transport.fetch(REMOTE, target).bytes_moved == size
    assert not list(target.parent.glob("*.part*"))


def test_a_full_disk_stops_the_stream(tmp_path, movie, target, monkeypatch):
    (tmp_path / "x.ch5").write_bytes(movie)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        LocalTransport(tmp_path).fetch("x.ch5", target)
    assert nothing_left(target)


@pytest.mark.parametrize("fault", ["cut:150000", "cut:0"])
def test_ftp_is_resumed(ftp_server, space, target, movie, fault):
    ftp_server.put(f"{space}/{REMOTE}", movie)
    ftp_server.faults[:] = [fault]
    fetched = FtpTransport(f"{ftp_server.address}{space}", QUICK).fetch(REMOTE, target)
    assert target.read_bytes() == movie
    assert (fetched.requests, fetched.bytes_moved) == (2, len(movie))


def test_ftp_takes_no_spoiled_movie(ftp_server, space, target, movie):
    ftp_server.put(f"{space}/{REMOTE}", movie)
    ftp_server.faults[:] = [f"flip:{len(movie) // 2}"]
    FtpTransport(f"{ftp_server.address}{space}", options(deep_verify=True)).fetch(REMOTE, target)
    assert target.read_bytes() == movie


def test_ftp_that_is_not_there(target):
    with pytest.raises(TransientDownloadError, match="refuses connections"):
        FtpTransport("ftp://127.0.0.1:9/", options(download_attempts=1)).fetch("x.ch5", target)


@pytest.mark.parametrize("root", [
    "ftp.ebi.ac.uk", "file:///x", "https://", "https://user:secret@host/",
])  # fmt: skip
def test_roots_are_checked(root):
    for kind in (HttpTransport, FtpTransport):
        with pytest.raises(ConfigError) as caught:
            kind(root)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"download_attempts": 0}, {"stall_timeout_s": 0}, {"total_timeout_s": -1}]
)
def test_limits_are_checked(change):
    with pytest.raises(ConfigError, match=f"{next(iter(change))}: Input should be greater"):
        checked(DownloadSettings, change)


def test_versions_and_digests():
    assert version_of({"ETag": '"a"', "Last-Modified": "x"}) == '"a"'
    assert version_of({"ETag": 'W/"a"', "Last-Modified": "x"}) == "x"
    assert version_of({}) == ""
    empty = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    sha = hashlib.sha256(b"").hexdigest()
    assert digests_of({"Repr-Digest": f"sha-256=:{empty}:"}, whole=False) == {"sha256": sha}
    assert digests_of({"Digest": f"SHA-256={empty}"}, whole=False) == {"sha256": sha}
    md5 = {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    assert digests_of(md5, whole=True) == {"md5": hashlib.md5(b"").hexdigest()}
    assert digests_of(md5, whole=False) == {}
    assert digests_of({"Digest": "sha-256=nonsense"}, whole=True) == {}
    etag = {"ETag": f'"{hashlib.md5(b"").hexdigest()}"'}
    assert digests_of(etag, whole=True, s3=True) == {"md5": hashlib.md5(b"").hexdigest()}
    assert digests_of(etag, whole=True) == {}
    assert (
        digests_of({**etag, "x-amz-server-side-encryption": "aws:kms"}, whole=True, s3=True) == {}
    )
