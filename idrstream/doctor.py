"""What works here today: ``idrstream doctor`` and, over the network, ``--network``.

Each probe is a function that returns a `Finding` and never raises; the endpoints are arguments,
so that the tests probe loopback servers and nobody else. Nothing is asked of the network unless
`check_network` is called.
"""

from __future__ import annotations

import argparse
import ftplib
import importlib.metadata
import json
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

State = Literal["ok", "missing", "failed"]

PACKAGES = (
    "basicpy", "botocore", "cellpose", "deepprofiler", "h5py", "pyarrow", "pycytominer",
    "pyimagej", "tensorflow", "torch", "urllib3",
)  # fmt: skip
TOOLS = ("ascp", "java")
_WEIGHTS = frozenset({".npz", ".h5", ".pt", ".pth", ".safetensors"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found.

    Attributes
    ----------
    what : str
        Package, program, model or endpoint.
    state : {"ok", "missing", "failed"}
        ``missing`` is no fault where the thing is optional.
    detail : str
        Version, path, or what went wrong.
    """

    what: str
    state: State
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """What `check_network` asks.

    Attributes
    ----------
    https_root, ftp_root : str
        Folder above all studies.
    aspera_host, aspera_port :
        Server of ``ascp``.
    zarr : tuple of str
        Addresses of OME-Zarr plates, new and old.
    movie : str
        Path of a movie under `https_root`, opened by ranges to see its layout.
    timeout_s : float
        Time limit of each probe.
    """

    https_root: str = "https://ftp.ebi.ac.uk/pub/databases/IDR/"
    ftp_root: str = "ftp://ftp.ebi.ac.uk/pub/databases/IDR/"
    aspera_host: str = "fasp.ebi.ac.uk"
    aspera_port: int = 33001
    zarr: tuple[str, ...] = (
        "https://livingobjects.ebi.ac.uk/idr/zarr/v0.4/idr0013A/3451.zarr",
        "https://uk1s3.embassy.ebi.ac.uk/idr/zarr/v0.4/idr0013A/3451.zarr",
    )
    movie: str = (
        "idr0013-neumann-mitocheck/20150916-mitocheck-analysis/mitocheck/"
        "LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3/hdf5/00004_01.ch5"
    )
    timeout_s: float = 15.0


def check_here() -> list[Finding]:
    """Look for the packages, programs and models on this machine."""
    found = [_package(name) for name in PACKAGES]
    for name in TOOLS:
        path = shutil.which(name)
        found.append(Finding(name, "ok" if path else "missing", path or "not on the PATH"))
    from idrstream import models

    weights = [
        path for path in sorted(Path(models.__path__[0]).iterdir()) if path.suffix in _WEIGHTS
    ]
    return found + [
        Finding(f"model {path.name}", "ok", f"{path.stat().st_size:,} bytes") for path in weights
    ]


def check_network(endpoints: Endpoints | None = None) -> list[Finding]:
    """Ask every endpoint whether it works today."""
    ends = endpoints or Endpoints()
    probes: list[tuple[str, Callable[[], str]]] = [
        (f"https {urlsplit(ends.https_root).netloc}", lambda: probe_http(ends.https_root, ends)),
        (f"ftp {urlsplit(ends.ftp_root).netloc}", lambda: probe_ftp(ends)),
        (
            f"aspera {ends.aspera_host}:{ends.aspera_port} (TCP)",
            lambda: probe_tcp(ends.aspera_host, ends.aspera_port, ends.timeout_s),
        ),
        ("movie by ranges", lambda: probe_movie(ends)),
    ]
    probes += [
        (f"ome-zarr {address}", partial(probe_http, f"{address}/.zattrs", ends))
        for address in ends.zarr
    ]
    return [_probe(what, ask) for what, ask in probes]


def probe_http(url: str, ends: Endpoints) -> str:
    """Ask a web server for an address; return what it says."""
    import urllib3

    from idrstream.download.transports.pool import user_agent

    with urllib3.PoolManager() as pool:
        reply = pool.request(
            "GET",
            url,
            headers={"User-Agent": user_agent(), "Range": "bytes=0-1023"},
            preload_content=False,
            retries=False,
            timeout=urllib3.Timeout(connect=ends.timeout_s, read=ends.timeout_s),
        )
        status, server = reply.status, reply.headers.get("Server", "")
        reply.close()
    if status >= 400:
        msg = f"answered {status}"
        raise OSError(msg)
    return f"{status} {server}".strip()


def probe_ftp(ends: Endpoints) -> str:
    """Log in anonymously and go to the folder; return the server's words."""
    parts = urlsplit(ends.ftp_root)
    with ftplib.FTP(timeout=ends.timeout_s) as ftp:  # noqa: S321, public data
        ftp.connect(parts.hostname or "", parts.port or 21)
        ftp.login()
        return ftp.cwd(parts.path or "/")


def probe_tcp(host: str, port: int, timeout_s: float) -> str:
    """Open a connection and return the server's greeting."""
    with socket.create_connection((host, port), timeout=timeout_s) as connection:
        connection.settimeout(min(timeout_s, 5.0))
        try:
            return connection.recv(100).decode("ascii", "replace").strip() or "open"
        except TimeoutError:
            return "open"


def probe_movie(ends: Endpoints) -> str:
    """Read the layout of a real movie by ranges; return its shape."""
    import h5py

    from idrstream.download import HttpTransport, TransferOptions
    from idrstream.formats.cellh5.layout import channel_dataset
    from idrstream.formats.hdf5_ranges.reader import RangeReader

    options = TransferOptions(
        connect_timeout_s=ends.timeout_s, stall_timeout_s=ends.timeout_s, attempts=1
    )
    remote = HttpTransport(ends.https_root, options).open_ranges(ends.movie, 256 * 1024)
    if remote is None:
        msg = "the server has no ranges"
        raise OSError(msg)
    try:
        with h5py.File(RangeReader(remote), "r") as file:
            dataset = channel_dataset(file, Path(ends.movie))
            shape = tuple(dataset.shape)
        return f"{shape} c t z y x, {remote.size_bytes:,} bytes, {remote.requests} requests"
    finally:
        remote.close()


def as_table(findings: Sequence[Finding]) -> str:
    """Return findings as lines of text."""
    width = max(len(finding.what) for finding in findings)
    return "\n".join(
        f"{finding.state:8}{finding.what:{width}}  {finding.detail}" for finding in findings
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``idrstream doctor``."""
    parser.add_argument(
        "--network", action="store_true", help="also ask the public archive's servers"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def handle(arguments: argparse.Namespace) -> int:
    """Run ``idrstream doctor``; 1 if an endpoint failed."""
    found = check_here()
    if arguments.network:
        found += check_network()
    text = (
        json.dumps([asdict(finding) for finding in found], indent=1)
        if arguments.json
        else as_table(found)
    )
    sys.stdout.write(f"{text}\n")
    return 1 if any(finding.state == "failed" for finding in found) else 0


def _probe(what: str, ask: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", ask())
    except Exception as error:  # a probe tells and never raises
        return Finding(what, "failed", f"{type(error).__name__}: {error}")


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "missing", "not installed")
