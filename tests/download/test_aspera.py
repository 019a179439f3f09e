"""The Aspera transport against a stand-in program that plays every failure."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from idrstream import IdrStream
from idrstream.config import DownloadSettings
from idrstream.download import AsperaTransport, Transport, make_downloader
from idrstream.download.aspera.text import classify, last_words
from idrstream.errors import (
    ConfigError,
    DownloadError,
    MissingToolError,
    MovieError,
    StorageError,
    TransientDownloadError,
)
from idrstream.legacy import AsperaDownloader
from idrstream.records import ImageTask

ROOT = "/pub/databases/IDR/study"
REMOTE = "a folder/00004_01.ch5"


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def make(ascp, key, slept, movie_bytes):
    ascp.serve(f"{ROOT}/{REMOTE}", movie_bytes)

    def build(**options) -> AsperaTransport:
        options = {"total_timeout_s": 60, "aspera_attempts": 3, "sidecar": False, **options}
        settings = DownloadSettings(
            aspera_path=ascp.program, aspera_key_path=key, connect_timeout_s=1, **options
        )
        return AsperaTransport(ROOT, settings, sleep=slept.append)

    return build


@pytest.fixture
def target(tmp_path) -> Path:
    folder = tmp_path / "down loads"
    folder.mkdir()
    return folder / "00004_01.ch5"


def nothing_left(target: Path) -> bool:
    return list(target.parent.iterdir()) == []


def test_fetch_brings_the_file(make, ascp, key, target, movie_bytes, slept):
    transport = make()
    assert isinstance(transport, Transport)
    fetched = transport.fetch(REMOTE, target)
    assert (fetched.size_bytes, fetched.served_by, fetched.requests) == (
        len(movie_bytes), "aspera", 1,
    )  # fmt: skip
    assert transport.size(REMOTE) is None
    assert target.read_bytes() == movie_bytes
    assert list(target.parent.iterdir()) == [target]
    (call,) = ascp.calls
    assert call["stdin"] == ""
    assert call["argv"][:7] == ["-T", "-l", "300m", "-P", "33001", "-i", str(key)]
    assert call["argv"][7:10] == ["-k", "2", "--overwrite=diff"]
    assert call["argv"][-2:] == [f"fasp-public@fasp.ebi.ac.uk:{ROOT}/{REMOTE}", f"{target}.part"]
    assert slept == []


def test_user_host_and_root_can_be_the_older_form(make, ascp, target, movie_bytes, key):
    ascp.serve("mitocheck/x.ch5", movie_bytes)
    settings = DownloadSettings(
        aspera_path=ascp.program, aspera_key_path=key, aspera_user="idr0013",
        aspera_host="example.org", aspera_rate="10m",
    )  # fmt: skip
    AsperaTransport("", settings).fetch("mitocheck/x.ch5", target)
    assert "idr0013@example.org:mitocheck/x.ch5" in ascp.calls[0]["argv"]


def test_a_slow_transfer_is_not_a_stalled_one(make, ascp, target, movie_bytes):
    ascp.plan("ok:0.25")
    make(stall_timeout_s=2.0).fetch(REMOTE, target)
    assert target.read_bytes() == movie_bytes
    assert len(ascp.calls) == 1


@pytest.mark.parametrize("behaviour", ["killed", "hang"])
def test_a_broken_transfer_is_resumed_from_where_it_was(
    make, ascp, target, movie_bytes, behaviour, slept
):
    ascp.plan(behaviour)
    options = {"stall_timeout_s": 2.0} if behaviour == "hang" else {}
    # SIGTERM is ignored by the one that hangs: it has to be killed.
    make(**options).fetch(REMOTE, target)
    assert target.read_bytes() == movie_bytes
    assert [call["resumed_from"] for call in ascp.calls] == [0, len(movie_bytes) // 2]
    assert slept == [2]
    assert list(target.parent.iterdir()) == [target]


def test_children_of_a_stopped_program_go_with_it(make, ascp, target):
    ascp.plan("family")
    with pytest.raises(TransientDownloadError, match=r"no growth for 3 s at [\d,]+ bytes"):
        make(stall_timeout_s=2.0, aspera_attempts=1).fetch(REMOTE, target)
    pid = int((ascp.state / "child.pid").read_text())
    for _ in range(100):  # the kernel may take a moment to carry the signal out
        if ended(pid):
            break
        time.sleep(0.05)
    assert ended(pid)
    assert nothing_left(target)


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_time_limit(make, ascp, target):
    ascp.plan("ok:0.5")
    with pytest.raises(TransientDownloadError, match=r"not finished within 0\.3 s"):
        make(total_timeout_s=0.3, aspera_attempts=1).fetch(REMOTE, target)
    assert nothing_left(target)


@pytest.mark.parametrize("behaviour", ["short", "nofile", "saidstop", "killed", "status:1"])
def test_what_passes_is_retried_with_growing_pauses_and_cleaned_up(
    make, ascp, target, slept, behaviour
):
    ascp.plan(*[behaviour] * 5)
    with pytest.raises(TransientDownloadError, match=f"tried 5 times, did not fetch {REMOTE}"):
        make(aspera_attempts=5).fetch(REMOTE, target)
    assert len(ascp.calls) == 5
    assert slept == [2, 4, 8, 16]
    assert nothing_left(target)


def test_pauses_grow_no_longer_than_a_minute(make, ascp, target, slept):
    ascp.plan(*["status:1"] * 8)
    with pytest.raises(TransientDownloadError):
        make(aspera_attempts=8).fetch(REMOTE, target)
    assert slept == [2, 4, 8, 16, 32, 60, 60]


def test_a_short_file_is_fetched_anew(make, ascp, target, movie_bytes):
    ascp.plan("short")
    make().fetch(REMOTE, target)
    assert target.read_bytes() == movie_bytes


@pytest.mark.parametrize("stream", ["stdout", "stderr", "log"])
def test_fatal_failures_are_not_retried(make, ascp, target, stream):
    ascp.plan(f"{stream}:Session Stop  (Error: Server aborted session: Permission denied)")
    with pytest.raises(DownloadError, match="Permission denied") as caught:
        make().fetch(REMOTE, target)
    assert not isinstance(caught.value, TransientDownloadError)
    assert len(ascp.calls) == 1


def test_a_missing_file_is_named(make, ascp, target):
    with pytest.raises(
        DownloadError, match=r"did not fetch nowhere.ch5 from \S+ \(no such file\)"
    ) as caught:
        make().fetch("nowhere.ch5", target)
    assert not isinstance(caught.value, TransientDownloadError)
    assert len(ascp.calls) == 1


def test_authentication_is_retried_once(make, ascp, target, movie_bytes):
    words = "stderr:ascp: failed to authenticate, exiting."
    ascp.plan(words)
    make().fetch(REMOTE, target)
    ascp.plan(words, words, words)
    with pytest.raises(DownloadError, match="aspera_bypass_rsa"):
        make().fetch(REMOTE, target.with_name("other.ch5"))
    assert len(ascp.calls) == 4


def test_an_error_page_is_no_movie(make, ascp, target):
    ascp.serve(f"{ROOT}/{REMOTE}", b"<html><title>503</title></html>")
    with pytest.raises(MovieError, match="error page"):
        make().fetch(REMOTE, target)
    assert nothing_left(target)


@pytest.mark.parametrize("remote", ["", "../other", "a/../../b", "line\nbreak"])
def test_paths_out_of_the_study_are_refused(make, ascp, target, remote):
    with pytest.raises(DownloadError, match="not a path under"):
        make().fetch(remote, target)
    assert ascp.calls == []


def test_the_stand_in_is_strict(make, ascp, target):
    transport = make()
    transport.settings = replace(transport.settings, aspera_rate="fast")
    with pytest.raises(ConfigError, match="option"):
        transport.fetch(REMOTE, target)


def test_not_installed(key, target, tmp_path):
    def aspera(program) -> AsperaTransport:
        return AsperaTransport(ROOT, DownloadSettings(aspera_path=program, aspera_key_path=key))

    with pytest.raises(MissingToolError, match="was not found; install"):
        aspera("no-such-ascp").fetch(REMOTE, target)
    program = tmp_path / "ascp"
    program.write_text("")
    with pytest.raises(MissingToolError, match="is not executable"):
        aspera(program).fetch(REMOTE, target)
    program.write_text("\x7fELF but not really")
    program.chmod(0o755)
    with pytest.raises(MissingToolError, match="cannot be run"):
        aspera(program).fetch(REMOTE, target)


def test_the_program_may_vanish_after_the_check(make, ascp, target):
    ascp.plan("status:127")
    with pytest.raises(MissingToolError, match="not installed"):
        make().fetch(REMOTE, target)


def test_key_is_checked(ascp, tmp_path, target, monkeypatch):
    transport = AsperaTransport(
        ROOT, DownloadSettings(aspera_path=ascp.program, aspera_key_path=tmp_path / "none.pem")
    )
    with pytest.raises(ConfigError, match=r"none\.pem does not exist"):
        transport.check()
    (tmp_path / "none.pem").write_text("x")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK)
    with pytest.raises(ConfigError, match="not readable"):
        transport.check()


@pytest.mark.parametrize(("name", "value"), [
    ("user", "-x"), ("host", "a b"), ("host", ""), ("user", "a@b"), ("rate", ""), ("rate", "a:b"),
])  # fmt: skip
def test_words_of_the_command_line_are_checked_twice(make, name, value):
    option = {f"aspera_{name}": value}
    with pytest.raises(ConfigError, match=f"aspera_{name}: String should match"):
        make_downloader(**option)
    with pytest.raises(ConfigError, match=f"aspera {name} .* is not usable"):
        make(**option)


@pytest.mark.parametrize(
    ("text", "status", "kind", "retry", "error"),
    [
        ("", 0, None, None, None),
        ("Completed: 71680K bytes transferred in 12 seconds", 0, None, None, None),
        ("", 127, "not installed", "never", MissingToolError),
        ("", 1, "unknown", "yes", TransientDownloadError),
        ("", -9, "unknown", "yes", TransientDownloadError),
        ("Session Stop  (Error: Disk write failed)", 0, "disk", "never", StorageError),
        ("No space left on device", 1, "disk", "never", StorageError),
        ("ascp: failed to authenticate", 1, "authentication", "once", DownloadError),
        ("ERR Remote host is not who we expected", 1, "host key", "never", DownloadError),
        ("Error: Invalid license file", 1, "licence", "never", ConfigError),
        ("Server aborted session: No such file or directory", 1, "no such file", "never", None),
        ("Server aborted session: Permission denied", 1, "permission", "never", DownloadError),
        (
            "failed to open TCP connection for SSH, exiting",
            1,
            "tcp blocked",
            "yes",
            TransientDownloadError,
        ),
        ("errcode=14", 1, "udp blocked", "yes", TransientDownloadError),
        ("(errcode=44)", 1, "udp blocked", "yes", TransientDownloadError),
        ("errcode=144", 1, "unknown", "yes", TransientDownloadError),
        ("Session data transfer timeout", 1, "connection", "yes", TransientDownloadError),
        ("ascp: Connection refused", 1, "refused", "yes", TransientDownloadError),
        (
            "Could not resolve host name fasp.ebi.ac.uk",
            1,
            "name not found",
            "yes",
            TransientDownloadError,
        ),
    ],
)
def test_classify(text, status, kind, retry, error):
    failure = classify(text, status)
    if kind is None:
        assert failure is None
        return
    assert (failure.kind, failure.retry) == (kind, retry)
    assert error is None or failure.error is error


def test_last_words_keeps_the_end():
    assert last_words(" a\n b ") == "a b"
    assert last_words("x" * 500 + "end").endswith("xend")
    assert len(last_words("x" * 500)) < 310


def test_downloader_has_the_first_streams_interface(
    ascp, key, plates, task, tmp_path, movie_bytes, caplog
):
    path = (
        "20150916-mitocheck-analysis/mitocheck/"
        "LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3/hdf5/00004_01.ch5"
    )
    ascp.serve(f"/pub/databases/IDR/idr0013-neumann-mitocheck/{path}", movie_bytes)
    downloader = AsperaDownloader(ascp.program, key, plates, "idr0013-neumann-mitocheck")
    folder = tmp_path / "new" / "folder"
    assert downloader.download_image("LT0001_02", 4, folder) == folder / "00004_01.ch5"
    movie = AsperaDownloader(str(ascp.program), str(key), str(plates), "idr0013").download(
        task, folder
    )
    assert movie.path.read_bytes() == movie_bytes
    assert (movie.source, movie.task) == (f"aspera: {path}", task)
    assert movie.size_bytes == len(movie_bytes)


def test_downloader_checks_before_any_download(ascp, key, plates, tmp_path):
    with pytest.raises(MissingToolError):
        AsperaDownloader(tmp_path / "no ascp", key, plates)
    with pytest.raises(ConfigError, match="plates file"):
        AsperaDownloader(ascp.program, key, tmp_path / "no plates.tsv")


def test_the_stream_takes_the_first_streams_four_values(
    ascp, key, plates, task, tmp_path, movie_bytes
):
    ascp.serve(
        "/pub/databases/IDR/idr0013-neumann-mitocheck/20150916-mitocheck-analysis/mitocheck/"
        "LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3/hdf5/00004_01.ch5",
        movie_bytes,
    )
    stream = IdrStream("idr0013", tmp_path / "tmp", tmp_path / "out")
    stream.init_downloader(ascp.program, key, plates, "idr0013-neumann-mitocheck")
    assert stream.downloader.download(task, tmp_path / "d").path.read_bytes() == movie_bytes
    stream.init_downloader(ascp.program, key, plates)  # the study's folder follows from its id
    assert stream.downloader.download(task, tmp_path / "e").path.read_bytes() == movie_bytes


def test_a_table_with_paths_needs_no_plates_file(ascp, key, tmp_path, movie_bytes):
    """Another study than idr0013, a name with blanks and brackets, two fields in one file."""
    study = "idr0004-thorpe-rad52"
    ascp.serve(f"/pub/databases/IDR/{study}/Rad52 old/a2 [1].ch5", movie_bytes)
    downloader = AsperaDownloader(ascp.program, key, idr_index_name=study)
    metadata = {"Path": f"/uod/idr/filesets/{study}/Rad52 old/a2 [1].ch5"}
    tasks = [ImageTask("P101", "A2", 2, (1,), site=site, metadata=metadata) for site in (1, 2)]
    movies = [downloader.download(task, tmp_path / "P101") for task in tasks]
    assert [movie.path.name for movie in movies] == ["00002_01_a2 [1].ch5", "00002_02_a2 [1].ch5"]
    assert {movie.path.read_bytes() for movie in movies} == {movie_bytes}
    assert len(ascp.calls) == 1
    with pytest.raises(DownloadError, match="neither the column Path nor URL"):
        downloader.download(ImageTask("P101", "A3", 3, (1,)), tmp_path)
