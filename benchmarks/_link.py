"""A slow link: relays TCP connections, all of them together limited to so many bytes a second.

``python benchmarks/_link.py --port 9001 --to 9000 --rate 8e6`` relays 127.0.0.1:9001 to
127.0.0.1:9000. Web servers limit each connection; a link limits their sum, as a user's does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BLOCK = 16 * 1024


class Bucket:
    """Hands out bytes at a rate; what is not used within a tenth of a second is lost."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = time.monotonic()

    async def take(self, count: int) -> None:
        """Wait until `count` more bytes may pass."""
        now = time.monotonic()
        self._next = max(self._next, now - 0.1) + count / self._rate
        if self._next > now:
            await asyncio.sleep(self._next - now)


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bucket: Bucket | None
) -> None:
    with contextlib.suppress(ConnectionError):
        while block := await reader.read(_BLOCK):
            if bucket is not None:
                await bucket.take(len(block))
            writer.write(block)
            await writer.drain()
    with contextlib.suppress(ConnectionError, RuntimeError):
        writer.close()


async def _serve(port: int, to: int, rate: float) -> None:
    bucket = Bucket(rate)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(_pump(reader, forth, None), _pump(back, writer, bucket))

    server = await asyncio.start_server(relay, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        time.sleep(0.05)
    raise RuntimeError(f"{process.args} does not answer")


@contextmanager
def _running(arguments: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def slow_server(folder: Path, bytes_per_s: float) -> Iterator[str]:
    """Serve a folder by nginx behind a slow link; gives the address of its root."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    port, slow = free_port(), free_port()
    with tempfile.TemporaryDirectory() as work:
        config = Path(work) / "nginx.conf"
        config.write_text(
            f"daemon off; pid {work}/pid; error_log stderr; worker_processes 1; user root;\n"
            "events { worker_connections 256; }\n"
            f"http {{ access_log off; client_body_temp_path {work}/b; proxy_temp_path {work}/p;\n"
            f"fastcgi_temp_path {work}/f; uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;\n"
            f"server {{ listen 127.0.0.1:{port}; location / {{ root {folder}; }} }} }}\n"
        )
        link = [sys.executable, __file__, "--port", str(slow), "--to", str(port)]
        with (
            _running([program, "-c", str(config), "-p", work], port),
            _running([*link, "--rate", str(bytes_per_s)], slow),
        ):
            yield f"http://127.0.0.1:{slow}"


def main() -> None:
    """Read the options and relay until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="bytes a second")
    options = parser.parse_args()
    asyncio.run(_serve(options.port, options.to, options.rate))


if __name__ == "__main__":
    main()
