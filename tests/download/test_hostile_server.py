"""Servers that lie, drip and never end: bounded memory and time, and a sentence at the end."""

from __future__ import annotations

import gzip
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from hostile_http import forever, head, hostile

from idrstream.config import DownloadSettings
from idrstream.download import FtpTransport, HttpTransport
from idrstream.download.client.redirects import redirected
from idrstream.download.omezarr import OmeZarrDownloader
from idrstream.download.omezarr._store import Store
from idrstream.errors import DownloadError, IdrStreamError
from idrstream.records import ImageTask

SETTINGS = DownloadSettings(
    download_attempts=2, retry_wait_s=0, longest_retry_wait_s=0.01, connect_timeout_s=1,
    stall_timeout_s=0.4, total_timeout_s=0.6, largest_file="8MB",
)  # fmt: skip
MOST_BYTES, MOST_S = 300e6, 15
PIECE = b"x" * 65536


@contextmanager
def bounded():
    """Check that the block takes neither more memory nor more time than there may be."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, began = memory("VmRSS"), time.monotonic()
    yield
    assert memory("VmHWM") - before < MOST_BYTES
    assert time.monotonic() - began < MOST_S


def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) * 1024


def fetch(root, folder):
    HttpTransport(root, SETTINGS).fetch("x.ch5", folder / "x.ch5")


def read_ranges(root, _folder):
    file = HttpTransport(root, SETTINGS).open_ranges("x.ch5", 64)
    assert file is not None, "it is not sent by ranges"
    file.read(64, 128)


def read_zarr(root, folder):
    settings = {"omezarr_roots": (root,), "omezarr_pattern": "{Plate}.zarr"}
    task = ImageTask("P1", "A1", 1, (1,), 1, {}, 0)
    source = OmeZarrDownloader(DownloadSettings(method="omezarr", **settings, **quick()))
    source.download(task, folder)


def read_json(root, _folder):
    assert Store(root, SETTINGS).read_json("zarr.json") is not None, "there is none"


def quick():
    names = (
        "download_attempts", "retry_wait_s", "longest_retry_wait_s", "connect_timeout_s",
        "stall_timeout_s", "total_timeout_s",
    )  # fmt: skip
    return {name: getattr(SETTINGS, name) for name in names}


KINDS = {"file": fetch, "ranges": read_ranges, "zarr": read_zarr, "json": read_json}
PART = {"status": "206 Partial Content", "Content_Range": "bytes 0-63/1000000000000000"}


def then(first, rest=()):
    yield first
    yield from rest


ANSWERS = {
    "an endless body": lambda: then(head(), forever(PIECE)),
    "an endless part": lambda: then(head(**PART), forever(PIECE)),
    "endless chunks": lambda: then(
        head(Transfer_Encoding="chunked"), forever(b"10000\r\n" + PIECE + b"\r\n")
    ),
    "endless JSON": lambda: then(head() + b'{"a":[', forever(b"[]," * 20_000)),
    "a bomb": lambda: then(head(Content_Encoding="gzip"), [gzip.compress(bytes(2**26))]),
    "a drip": lambda: then(head(Content_Length="1000000"), forever(b"x", 0.1)),
    "a drip of a part": lambda: then(head(**PART), forever(b"x", 0.1)),
    "a drip of chunk sizes": lambda: then(head(Transfer_Encoding="chunked"), forever(b"0", 0.1)),
    "endless trailers": lambda: then(
        head(Transfer_Encoding="chunked") + b"1\r\nx\r\n0\r\n", forever(b"a: b\r\n", 0.05)
    ),
    "a drip of headers": lambda: then(b"HTTP/1.1 200 OK\r\nA: ", forever(b"x", 0.1)),
    "endless headers": lambda: then(b"HTTP/1.1 200 OK\r\n", forever(b"A: " + PIECE[:-9] + b"\r\n")),
    "patience": lambda: forever(b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    "no headers": lambda: forever(PIECE),
    "less than stated": lambda: then(head(Content_Length="100") + b"x" * 50),
    "a range elsewhere": lambda: then(
        head("206 Partial Content", Content_Range="bytes 7-70/99", Content_Length="64") + b"x" * 64
    ),
    "a range of thousands of digits": lambda: then(
        head("206 Partial Content", Content_Range=f"bytes 0-63/{'9' * 5000}") + b"x" * 64
    ),
    **{
        f"the length {text[:9]}": lambda text=text: then(head(Content_Length=text) + b"x" * 1000)
        for text in ("1_000", "-5", "+5", "\u0664", "4, 4", "ten", "9" * 5000, "9" * 17)
    },
    **{
        f"the pause {text[:9]}": lambda text=text: then(
            head("503 Busy", Retry_After=text, Content_Length="0")
        )
        for text in ("²", "9" * 400, "1_0", "Mon, 01 Jan 99999 00:00:00 GMT")
    },
    "an endless redirect": lambda: then(head("302 Found", Location="/y"), forever(PIECE)),
    "a dripping error": lambda: then(head("404 Gone", Content_Length="9999"), forever(b"x", 0.1)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_server_that_lies_ends_in_a_sentence(tmp_path, kind, answer):
    with (
        hostile(lambda _: ANSWERS[answer]()) as root,
        bounded(),
        pytest.raises((IdrStreamError, AssertionError)) as caught,
    ):
        KINDS[kind](root, tmp_path)
    assert str(caught.value)
    assert not list(tmp_path.rglob("*.part*"))
    assert not list(tmp_path.rglob("x.ch5"))


@pytest.mark.parametrize(
    ("n_bytes", "headers", "words"),
    [
        (8_000_000, {}, "[Nn]ot an? HDF5|no HDF5"),  # it came, and is no movie
        (8_000_001, {}, "more than 8.0 MB.*download.largest_file"),
        (0, {"Content_Length": "8000001"}, "more than 8.0 MB.*download.largest_file"),
    ],
)
def test_a_file_may_be_as_large_as_the_option_says(tmp_path, n_bytes, headers, words):
    with (
        hostile(lambda _: then(head(**headers), [b"x" * n_bytes])) as root,
        pytest.raises(IdrStreamError, match=words),
    ):
        fetch(root, tmp_path)


def test_what_a_terminal_would_obey_is_not_repeated(tmp_path):
    answer = b"HTTP/1.1 418 \x1b]0;owned\x07\x1b[31mred\x9b2J\r\nContent-Length: 0\r\n\r\n"
    with hostile(lambda _: then(answer)) as root, pytest.raises(DownloadError) as caught:
        fetch(root, tmp_path)
    assert "418" in str(caught.value)
    assert str(caught.value).isprintable()


PUBLIC = "https://ftp.ebi.ac.uk/pub/x.ch5"
NAMES = {
    "ftp.ebi.ac.uk": ["193.62.193.165"], "other.example": ["93.184.216.34"],
    "inside.example": ["93.184.216.34", "10.0.0.5"], "metadata.example": ["169.254.169.254"],
    "2130706433": ["127.0.0.1"], "localhost": ["::1", "127.0.0.1"], "nas.lab": ["10.1.1.1"],
    "other.lab": ["10.1.1.2"],
}  # fmt: skip


def resolve(host):
    return NAMES.get(host, [])


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/y.ch5", "https://ftp.ebi.ac.uk/y.ch5"),
        ("https:///y", "https://ftp.ebi.ac.uk/y"),
        ("y.ch5?a=b#c", "https://ftp.ebi.ac.uk/pub/y.ch5?a=b"),
        ("//other.example/y z", "https://other.example/y%20z"),
        ("https://OTHER.example:8443/y", "https://other.example:8443/y"),
        ("https://93.184.216.34/y", "https://93.184.216.34/y"),
        ("https://[2606:2800:220:1::1]/y", "https://[2606:2800:220:1::1]/y"),
        ("https://[64:ff9b::5db8:d822]/y", "https://[64:ff9b::5db8:d822]/y"),
        ("https://unknown.example/y", "https://unknown.example/y"),
    ],
)
def test_redirects_that_are_followed(location, expected):
    assert redirected(PUBLIC, location, resolve) == expected


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://other.example/y", "without encryption"),
        ("HTTP://ftp.ebi.ac.uk/y", "without encryption"),
        ("file:///etc/passwd", "not a web address"),
        ("ftp://ftp.ebi.ac.uk/y", "not a web address"),
        ("gopher://other.example/", "not a web address"),
        ("data:,x", "not a web address"),
        ("https://me:secret@other.example/", "user or password"),
        ("https://127.0.0.1/", "private network"),
        ("https://127.0.0.1\\@other.example/", "user or password"),
        ("https://localhost/", "private network"),
        ("https://2130706433/", "private network"),
        ("https://10.1.2.3/", "private network"),
        ("https://172.16.0.1/", "private network"),
        ("https://192.168.1.1/", "private network"),
        ("https://100.64.0.1/", "private network"),
        ("https://169.254.169.254/latest/meta-data/", "private network"),
        ("https://metadata.example/", "private network"),
        ("https://inside.example/", "private network"),
        ("https://0.0.0.0/", "private network"),
        ("https://224.0.0.1/", "private network"),
        ("https://[::1]/", "private network"),
        ("https://[fe80::1]/", "private network"),
        ("https://[fd00::1]/", "private network"),
        ("https://[::ffff:127.0.0.1]/", "private network"),
        ("https://[64:ff9b::a00:1]/", "private network"),
        ("https://[2002:7f00:1::]/", "private network"),
        ("https://\uff11\uff12\uff17.0.0.1/", "names no host"),
        ("https://a b/", "names no host"),
        ("https://other.example:99999/", "no address"),
        ("https://[x/", "no address"),
        ("https://other.example/\x1b[31m\nno", None),
    ],
)  # fmt: skip
def test_redirects_that_are_refused(location, words):
    if words is None:
        assert redirected(PUBLIC, location, resolve).isprintable()
        return
    with pytest.raises(DownloadError, match=words) as caught:
        redirected(PUBLIC, location, resolve)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("url", "location", "followed"),
    [
        ("http://127.0.0.1:1/x", "http://127.0.0.1:2/x", True),  # a mirror on this machine
        ("http://127.0.0.1:1/x", "https://other.example/x", True),
        ("http://nas.lab/x", "http://other.lab/x", True),
        ("http://nas.lab/x", "http://169.254.169.254/x", False),
        ("http://127.0.0.1:1/x", "http://[fe80::1]/x", False),
        ("http://other.example/x", "http://nas.lab/x", False),
        ("http://unknown.example/x", "http://nas.lab/x", False),
    ],
)
def test_redirects_of_servers_in_private_networks(url, location, followed):
    if followed:
        assert redirected(url, location, resolve) == location
    else:
        with pytest.raises(DownloadError, match="private network"):
            redirected(url, location, resolve)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1:9/", "/again"])
def test_redirects_are_decided_on_for_every_kind(tmp_path, kind, location):
    asked = []

    def answer(request):
        asked.append(request.split()[1])
        yield head("302 Found", Location=location, Content_Length="0", Connection="close")

    with hostile(answer) as root, pytest.raises(DownloadError, match="redirects"):
        KINDS[kind](root, tmp_path)
    assert len(asked) == (6 if location == "/again" else 1)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: forever(b"220-welcome\r\n"),
        lambda: then(b"220 \x1b[31mhello\r\n", forever(b"599 \x07\r\n", 0.05)),
    ],
)
def test_an_ftp_server_that_does_not_end(tmp_path, answer):
    with (
        hostile(lambda _: answer(), asked=False) as root,
        bounded(),
        pytest.raises(DownloadError) as caught,
    ):
        FtpTransport(root.replace("http", "ftp"), SETTINGS).fetch("x.ch5", tmp_path / "x.ch5")
    assert str(caught.value).isprintable()
