"""Real servers on loopback, each in a process or thread of its own that stops with its block."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

_NGINX_CONF = """
daemon off;
{user}
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {home}/access.log;
    default_type application/octet-stream;
    client_body_temp_path {home}/t1; proxy_temp_path {home}/t2; fastcgi_temp_path {home}/t3;
    uwsgi_temp_path {home}/t4; scgi_temp_path {home}/t5;
    map_hash_bucket_size 256;
    map $uri $digest {{ default ""; include {home}/digests*.map; }}
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location / {{ autoindex on; add_header Repr-Digest $digest; }}
        location /norange/ {{ alias {root}/; max_ranges 0; }}
        location /slow/ {{ alias {root}/; limit_rate {rate}; }}
        location /busy/ {{ add_header Retry-After 7 always; return 503; }}
        location /forbidden/ {{ return 403; }}
        location /pages/ {{ default_type text/html; return 200 "<html>not here</html>"; }}
        location /moved/ {{ rewrite ^/moved/(.*)$ /$1 redirect; }}
        location /packed/ {{ alias {root}/; add_header Content-Encoding gzip; }}
        location /noversion/ {{ alias {root}/; etag off; add_header Last-Modified ""; }}
    }}
}}
"""


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@dataclass
class Served:
    """A server and the folder it serves."""

    address: str
    root: Path
    port: int
    home: Path | None = None

    def put(self, path: str, content: bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(file.name + ".new")
        new.write_bytes(content)
        new.replace(file)  # a server that reads the old one goes on with the old one


@contextmanager
def nginx(home: Path, *, digests: str = "", rate: str = "200k") -> Iterator[Served]:
    """Run nginx from the distribution; `digests` are lines of ``path "header";``."""
    import os

    root = home / "files"
    root.mkdir(parents=True, exist_ok=True)
    (home / "digests.map").write_text(digests)
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (home / "nginx.conf").write_text(
        _NGINX_CONF.format(home=home, root=root, port=port, user=user, rate=rate)
    )
    process = subprocess.Popen(
        [
            str(NGINX),
            "-p",
            str(home),
            "-c",
            str(home / "nginx.conf"),
            "-e",
            str(home / "error.log"),
        ],
        stdin=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, lambda: process.poll() is None)
        yield Served(f"http://127.0.0.1:{port}/", root, port, home)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class FtpServed(Served):
    """An FTP server; `faults` are played one for each file sent: ``cut:N``, ``flip:N``."""

    faults: list[str] | None = None
    logins: list[int] | None = None


@contextmanager
def ftp(home: Path, *, most: int = 64) -> Iterator[FtpServed]:
    """Run pyftpdlib for anonymous users."""
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import DTPHandler, FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

    home.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    logins: list[int] = []

    class Data(DTPHandler):
        def push_with_producer(self, producer) -> None:
            if faults:
                producer = _Faulty(producer, faults.pop(0), self)
            super().push_with_producer(producer)

    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(str(home))

    class Control(FTPHandler):
        def on_connect(self) -> None:
            logins.append(self.server._map_len())

    Control.authorizer, Control.dtp_handler = authorizer, Data
    Control.use_sendfile = False
    loop = IOLoop()
    server = FTPServer(("127.0.0.1", 0), Control, ioloop=loop)
    server.max_cons, server.max_cons_per_ip = most, most
    port = server.socket.getsockname()[1]
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            server.serve_forever(timeout=0.05, blocking=False, handle_exit=False)
        server.close_all()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield FtpServed(f"ftp://127.0.0.1:{port}/", home, port, None, faults, logins)
    finally:
        ended.set()
        thread.join(10)


class _Faulty:
    """Hands on another producer's bytes, and spoils them after a number of bytes."""

    def __init__(self, producer, fault: str, channel) -> None:
        self._producer, self._channel = producer, channel
        self._kind, _, number = fault.partition(":")
        self._left = int(number)
        self._done = False

    def more(self) -> bytes:
        data = self._producer.more()
        if self._done:
            return data if self._kind == "flip" else b""
        if len(data) <= self._left:
            self._left -= len(data)
            return data
        self._done = True
        if self._kind == "flip":
            spoiled = bytearray(data)
            spoiled[self._left] ^= 0xFF
            return bytes(spoiled)
        return data[: self._left]  # and then no more, though the server says 226


@contextmanager
def s3(bucket: str) -> Iterator[S3Served]:
    """Run moto's S3 server with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        known = {
            "endpoint_url": address, "region_name": "us-east-1",
            "aws_access_key_id": "admin", "aws_secret_access_key": "admin",
        }  # fmt: skip
        client = boto3.client("s3", **known)
        client.create_bucket(Bucket=bucket)
        yield S3Served(address, bucket, client, boto3.client("iam", **known))
    finally:
        server.stop()


@dataclass
class S3Served:
    """A bucket at moto's server."""

    address: str
    bucket: str
    client: object
    iam: object
    acl: str = "public-read"

    def put(self, path: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=path, Body=content, ACL=self.acl)


def _wait_for(port: int, alive, timeout_s: float = 10.0) -> None:
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends and alive():
        with socket.socket() as probing:
            probing.settimeout(0.2)
            if probing.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"no server at port {port}")
