"""What servers answer means the same for whole files, ranges, sizes and OME-Zarr."""

from __future__ import annotations

import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from idrstream.config import DownloadSettings
from idrstream.download import HttpTransport
from idrstream.download.client.errors import BusyError
from idrstream.download.client.http import HttpClient
from idrstream.download.omezarr._store import Store
from idrstream.errors import DownloadError, RemoteFileNotFoundError, TransientDownloadError

QUICK = DownloadSettings(download_attempts=2, retry_wait_s=0, longest_retry_wait_s=0)


class Answers(BaseHTTPRequestHandler):
    """Answers ``/<status>/...`` with that status, ``/down/...`` with a redirect to http."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        what = self.path.split("/")[1]
        self.send_response(302 if what in ("down", "hops") else int(what))
        if what == "down":
            self.send_header("Location", f"{self.server.plain}/200/x")
        if what == "hops":
            self.send_header("Location", "/down/x")
        self.send_header("Content-Length", "4")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"data")

    def do_HEAD(self):
        self.do_GET()


def serve(context=None):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.asked = []
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.fixture
def answers():
    server = serve()
    yield server
    server.shutdown()
    server.server_close()


KINDS = {
    "file": lambda root, folder: HttpTransport(root, QUICK).fetch("x.bin", folder / "x.bin"),
    "ranges": lambda root, _: HttpTransport(root, QUICK).open_ranges("x.bin", 4),
    "size": lambda root, _: HttpTransport(root, QUICK).size("x.bin"),
    "zarr": lambda root, _: Store(root, QUICK).get("x.bin"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "expected", "asked"),
    [
        (401, DownloadError, 1),
        (404, RemoteFileNotFoundError, 1),
        (410, RemoteFileNotFoundError, 1),
        (418, DownloadError, 1),
        (429, BusyError, 2),
        (501, TransientDownloadError, 2),
        (503, BusyError, 2),
    ],
)
def test_a_status_means_the_same_for_all(answers, tmp_path, kind, status, expected, asked):
    root = f"http://127.0.0.1:{answers.server_address[1]}/{status}/"
    if kind == "zarr" and expected is RemoteFileNotFoundError:
        assert KINDS[kind](root, tmp_path) is None
    else:
        with pytest.raises(expected, match=f"answered {status}") as caught:
            KINDS[kind](root, tmp_path)
        passing = expected in (BusyError, TransientDownloadError)
        assert isinstance(caught.value, TransientDownloadError) == passing
    assert len(answers.asked) == (1 if kind == "size" else asked)  # `plan` asks for many sizes


@pytest.fixture
def encrypted(tmp_path, answers, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
             "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = serve(context)
    server.plain = f"http://127.0.0.1:{answers.server_address[1]}"
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["down", "hops"])
def test_nothing_is_taken_from_an_address_that_lost_its_encryption(encrypted, tmp_path, kind, way):
    with pytest.raises(DownloadError, match="without encryption"):
        KINDS[kind](f"{encrypted}/{way}/", tmp_path)
    assert Store(f"{encrypted}/200", QUICK).get("x") == b"data"


def test_no_more_is_read_than_is_accepted(answers):
    client = HttpClient(QUICK)
    url = f"http://127.0.0.1:{answers.server_address[1]}/200/x"
    assert client.ask(url, {}, lambda reply: client.content(reply, url, most=4)) == b"data"
    with pytest.raises(DownloadError, match="more than 3 bytes"):
        client.ask(url, {}, lambda reply: client.content(reply, url, most=3))
    assert client.requests == 2
