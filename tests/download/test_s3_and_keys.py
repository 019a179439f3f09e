"""Signatures that S3 checks, and the keys of Aspera."""

from __future__ import annotations

import json
import sys
import urllib.request
from dataclasses import replace

import pytest

from idrstream.config import DownloadSettings
from idrstream.download import AsperaTransport, S3Transport
from idrstream.download.aspera.keys import check_key
from idrstream.errors import ConfigError, DownloadError, MissingToolError

QUICK = DownloadSettings(download_attempts=2, retry_wait_s=0, stall_timeout_s=5)


def _credentials(monkeypatch, key: str, secret: str) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")


def test_a_private_object_needs_a_signature_that_is_right(
    bucket, monkeypatch, tmp_path, movie_bytes, caplog
):
    bucket.client.put_object(Bucket=bucket.bucket, Key="private/a b+c.ch5", Body=movie_bytes)
    bucket.iam.create_user(UserName="reader")
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
    }
    bucket.iam.put_user_policy(
        UserName="reader", PolicyName="all", PolicyDocument=json.dumps(policy)
    )
    made = bucket.iam.create_access_key(UserName="reader")["AccessKey"]

    def check_signatures(after: str) -> None:
        request = urllib.request.Request(
            f"{bucket.address}/moto-api/reset-auth", data=after.encode(), method="POST",
            headers={"Content-Type": "text/plain"},
        )  # fmt: skip
        urllib.request.urlopen(request).close()

    def fetch(anonymous: bool) -> bytes:
        root = f"s3://{bucket.bucket}/private"
        transport = S3Transport(
            root, replace(QUICK, s3_endpoint=bucket.address, s3_anonymous=anonymous)
        )
        transport.fetch("a b+c.ch5", tmp_path / "x.ch5")
        return (tmp_path / "x.ch5").read_bytes()

    check_signatures("0")
    try:
        _credentials(monkeypatch, made["AccessKeyId"], made["SecretAccessKey"])
        assert fetch(anonymous=False) == movie_bytes
        _credentials(monkeypatch, made["AccessKeyId"], "another secret")
        with pytest.raises(DownloadError, match="403") as caught:
            fetch(anonymous=False)
        with pytest.raises(DownloadError, match="403"):
            fetch(anonymous=True)
    finally:
        check_signatures("Infinity")
    secret_words = (made["SecretAccessKey"], made["AccessKeyId"], "another secret")
    note = (tmp_path / "x.ch5.source.json").read_text() if list(tmp_path.glob("*.json")) else ""
    for text in (str(caught.value), caplog.text, note):
        assert not any(word in text for word in secret_words)


def test_without_credentials_or_botocore(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match="no AWS credentials"):
        S3Transport("s3://b", DownloadSettings(s3_anonymous=False))
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(MissingToolError, match=r"idrstream\[s3\]"):
        S3Transport("s3://b", DownloadSettings(s3_anonymous=False))
    with pytest.raises(ConfigError, match="s3://bucket"):
        S3Transport("https://b")


@pytest.mark.parametrize("head", [
    b"-----BEGIN RSA PRIVATE KEY-----\n", b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"anything",
])  # fmt: skip
def test_keys_that_may_be_private_are_accepted(tmp_path, head):
    (tmp_path / "key").write_bytes(head)
    check_key(tmp_path / "key")


@pytest.mark.parametrize(("content", "words"), [
    (b"PuTTY-User-Key-File-2: ssh-dss", "PuTTY"), (b"ssh-rsa AAAA me@here", "public key"),
])  # fmt: skip
def test_what_is_no_private_key(tmp_path, content, words):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        check_key(tmp_path / "key")


def test_the_second_key_is_tried_when_the_first_is_refused(ascp, key, tmp_path, movie_bytes):
    other = tmp_path / "rsa.pem"
    other.write_bytes(b"-----BEGIN RSA PRIVATE KEY-----\n")
    ascp.serve("/idr/x.ch5", movie_bytes)
    ascp.plan(*["stderr:ascp: failed to authenticate, exiting."] * 2)
    settings = DownloadSettings(aspera_path=ascp.program, aspera_key_path=(key, other))
    transport = AsperaTransport("/idr", settings, sleep=lambda _: None)
    fetched = transport.fetch("x.ch5", tmp_path / "x.ch5")
    assert fetched.requests == 3
    used = [call["argv"][call["argv"].index("-i") + 1] for call in ascp.calls]
    assert used == [str(key), str(key), str(other)]
    note = json.loads((tmp_path / "x.ch5.source.json").read_text())
    assert note["address"] == "fasp-public@fasp.ebi.ac.uk:/idr/x.ch5"
    with pytest.raises(ConfigError, match="aspera_key_path missing"):
        AsperaTransport("/idr", replace(settings, aspera_key_path=()))
