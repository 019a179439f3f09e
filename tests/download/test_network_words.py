"""What is said of a network that fails: host, what failed, what to do."""

from __future__ import annotations

import errno
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from idrstream.config import DownloadSettings
from idrstream.download import FtpTransport, HttpTransport, S3Transport
from idrstream.download.client.words import network_words
from idrstream.errors import TransientDownloadError

NOWHERE = "nowhere.invalid"  # RFC 6761: no such name exists
ONCE = DownloadSettings(download_attempts=1, connect_timeout_s=1.0, stall_timeout_s=1.0)


@contextmanager
def listening(answer):
    """Serve a port of this machine: `answer` gets every connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                held.append(connection)
                answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        for connection in held:
            connection.close()
        server.shutdown(socket.SHUT_RDWR)


def said(transport):
    """Return what a transport says of a file that it cannot fetch."""
    with pytest.raises(TransientDownloadError) as caught:
        transport.size("x.ch5")
    text = str(caught.value)
    for inner in ("MaxRetryError", "Pool(", "HTTPConnection", "Errno", "gaierror", "Error:"):
        assert inner not in text
    return text


TRANSPORTS = {
    "http": lambda host: HttpTransport(f"http://{host}/", ONCE),
    "ftp": lambda host: FtpTransport(f"ftp://{host}/", ONCE),
    "s3": lambda host: S3Transport("s3://b/", replace(ONCE, s3_endpoint=f"http://{host}")),
}


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_name_that_there_is_not(kind):
    text = said(TRANSPORTS[kind](NOWHERE))
    assert f"the name {NOWHERE} was not found: check how it is spelled" in text


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_port_that_nobody_listens_at(kind):
    text = said(TRANSPORTS[kind]("127.0.0.1:9"))
    assert "127.0.0.1 refuses connections at port 9: check address and port" in text


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_server_that_says_nothing(kind):
    with listening(lambda _connection: None) as port:
        text = said(TRANSPORTS[kind](f"127.0.0.1:{port}"))
    assert f"127.0.0.1 did not answer in time at port {port}: try again later" in text


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_server_that_hangs_up(kind):
    with listening(lambda connection: connection.close()) as port:
        text = said(TRANSPORTS[kind](f"127.0.0.1:{port}"))
    assert "127.0.0.1 ended the connection: try again later" in text


def test_a_server_that_speaks_no_tls():
    def answer(connection):
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listening(answer) as port:
        text = said(HttpTransport(f"https://127.0.0.1:{port}/", ONCE))
    assert "no encrypted connection (TLS) to 127.0.0.1" in text
    assert "check that address and port speak https" in text


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_certificate_that_nobody_knows(tmp_path):
    made = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem"),
    ]  # fmt: skip
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    def answer(connection):
        with suppress(OSError):  # the client refuses
            context.wrap_socket(connection, server_side=True).recv(1)

    with listening(answer) as port:
        text = said(HttpTransport(f"https://127.0.0.1:{port}/", ONCE))
    assert "the certificate of 127.0.0.1 is not accepted (self-signed certificate)" in text
    assert "SSL_CERT_FILE" in text


def test_no_network_at_all_and_a_proxy_that_fails():
    unreachable = OSError(errno.ENETUNREACH, "Network is unreachable")
    assert "there is no way to a.b" in network_words(unreachable, "https://a.b/c")
    from urllib3.exceptions import MaxRetryError, ProxyError

    refused = ProxyError("Cannot connect to proxy", ConnectionRefusedError(111, "refused"))
    text = network_words(MaxRetryError(None, "/c", refused), "https://a.b/c")
    assert text.startswith("the proxy that the environment names did not pass on to a.b")


def test_what_is_no_error_of_the_network_keeps_its_words():
    assert network_words(UnicodeError("odd"), "ftp://a.b/c") == "UnicodeError: odd"
