"""Every transport passes the suite that is shipped for others."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from idrstream.config import DownloadSettings
from idrstream.download import AsperaTransport, LocalTransport
from idrstream.download.chain import TransportChain
from idrstream.download.transports.ftp import FtpTransport
from idrstream.download.transports.http import HttpTransport
from idrstream.download.transports.s3 import S3Transport
from idrstream.testing.transports import TransportTests

QUICK = DownloadSettings(
    connect_timeout_s=2, stall_timeout_s=2, total_timeout_s=20, download_attempts=3, retry_wait_s=0
)


@pytest.fixture
def space() -> str:
    """A folder of its own under a server's root."""
    return uuid.uuid4().hex


class TestHttps(TransportTests):
    @pytest.fixture
    def transport(self, web, space):
        return HttpTransport(f"{web.address}{space}", QUICK)

    @pytest.fixture
    def serve(self, web, space):
        return lambda path, content: web.put(f"{space}/{path}", content)


class TestHttpWithoutRanges(TestHttps):
    @pytest.fixture
    def transport(self, web, space):
        return HttpTransport(f"{web.address}norange/{space}", QUICK)


class TestFtp(TransportTests):
    @pytest.fixture
    def transport(self, ftp_server, space):
        return FtpTransport(f"{ftp_server.address}{space}/", QUICK)

    @pytest.fixture
    def serve(self, ftp_server, space):
        return lambda path, content: ftp_server.put(f"{space}/{path}", content)


class TestS3Anonymous(TransportTests):
    @pytest.fixture
    def transport(self, bucket, space):
        return S3Transport(
            f"s3://{bucket.bucket}/{space}", replace(QUICK, s3_endpoint=bucket.address)
        )

    @pytest.fixture
    def serve(self, bucket, space):
        return lambda path, content: bucket.put(f"{space}/{path}", content)


class TestS3Signed(TestS3Anonymous):
    @pytest.fixture
    def transport(self, bucket, space, monkeypatch):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "admin")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "admin")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.address)
        return S3Transport(f"s3://{bucket.bucket}/{space}", replace(QUICK, s3_anonymous=False))


class TestLocal(TransportTests):
    @pytest.fixture
    def transport(self, tmp_path):
        (tmp_path / "root").mkdir()
        return LocalTransport(tmp_path / "root", QUICK)

    @pytest.fixture
    def serve(self, tmp_path):
        def put(path: str, content: bytes) -> None:
            file = tmp_path / "root" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

        return put


class TestAspera(TransportTests):
    @pytest.fixture
    def transport(self, ascp, key):
        settings = DownloadSettings(
            aspera_path=ascp.program, aspera_key_path=key, stall_timeout_s=30, aspera_attempts=2
        )
        return AsperaTransport("/pub/idr", settings, sleep=lambda _: None)

    @pytest.fixture
    def serve(self, ascp):
        return lambda path, content: ascp.serve(f"/pub/idr/{path}", content)


class TestChain(TransportTests):
    """The first transport is closed, the second has everything."""

    @pytest.fixture
    def transport(self, web, space, tmp_path):
        closed = HttpTransport(
            f"{web.address}forbidden/", QUICK, name="closed", sleep=lambda _: None
        )
        return TransportChain([closed, HttpTransport(f"{web.address}{space}", QUICK)])

    @pytest.fixture
    def serve(self, web, space):
        return lambda path, content: web.put(f"{space}/{path}", content)
