"""What works on this machine: ``idrstream doctor`` and, over the network, ``--network``.

Each check is a function that returns a `Finding` and never raises. The addresses are arguments,
so that the tests use loopback servers only. Only `check_network` uses the network, and
`check_model` for a model of Cellpose's that is not here yet.
"""

from __future__ import annotations

import argparse
import ftplib
import importlib.metadata
import json
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from packaging.version import Version

from idrstream.cli.terminal import say
from idrstream.config import DownloadSettings
from idrstream.errors import IdrStreamError, MissingToolError, SegmentationError
from idrstream.packages import INSTALL_ALONE, INSTALLED_ALONE

State = Literal["ok", "missing", "failed"]

PACKAGES = (
    "basicpy", "botocore", "cellpose", "h5py", "pyarrow", "pycytominer", "pyimagej", "torch",
    "urllib3",
)  # fmt: skip
TOOLS = ("ascp", "ffmpeg", "java")
PLATES = (
    "https://livingobjects.ebi.ac.uk/idr/zarr/v0.4/idr0013A/3451.zarr",
    "https://uk1s3.embassy.ebi.ac.uk/idr/zarr/v0.4/idr0013A/3451.zarr",
)
"""OME-Zarr plates at the new and the old address."""
MOVIE = (
    "idr0013-neumann-mitocheck/20150916-mitocheck-analysis/mitocheck/"
    "LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3/hdf5/00004_01.ch5"
)
"""A movie of the archive, to read its layout by ranges."""
_ONLY_FOR = {
    "ascp": "Aspera",
    "basicpy": "illumination correction",
    "botocore": "s3:// addresses",
    "deepprofiler": 'engine = "deepprofiler"',
    "ffmpeg": "films as MP4",
    "java": "Bio-Formats, Fiji",
    "pycytominer": "idrstream collect",
    "pyimagej": "Fiji",
}
_DEVICE = "computes on"
_LEAST_PRECISION = 0.5
_SERVERS = ("https", "ftp", "aspera", "movie", "ome-zarr")
_WEIGHTS = frozenset({".npz", ".h5", ".pt", ".pth", ".safetensors"})


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes
    ----------
    what : str
        Package, program, model or server.
    state : {"ok", "missing", "failed"}
        ``missing`` is no error for optional things.
    detail : str
        Version, path, or the error.
    """

    what: str
    state: State
    detail: str = ""


def check_here() -> list[Finding]:
    """Check the packages, programs and models on this machine."""
    from idrstream import models

    found = [*map(_package, PACKAGES), _deepprofiler(), _check(_DEVICE, _device)]
    for name in TOOLS:
        path = shutil.which(name)
        found.append(Finding(name, "ok" if path else "missing", path or "not on the PATH"))
    found += _below_the_bounds()
    return found + [
        Finding(f"model {path.name}", "ok", f"{path.stat().st_size:,} bytes")
        for path in sorted(Path(models.__path__[0]).iterdir())
        if path.suffix in _WEIGHTS
    ]


def check_network(
    settings: DownloadSettings | None = None,
    *,
    movie: str = MOVIE,
    plates: Sequence[str] = PLATES,
) -> list[Finding]:
    """Check every server of the archive.

    Parameters
    ----------
    settings : DownloadSettings, optional
        The servers; ``connect_timeout_s`` is the time limit of each check.
    movie : str
        Path of a movie under ``https_root``.
    plates : sequence of str
        Addresses of OME-Zarr plates.
    """
    settings = settings or DownloadSettings()
    limit_s = settings.connect_timeout_s
    host, port = settings.aspera_host, settings.aspera_port
    https = settings.https_root
    checks: list[tuple[str, Callable[[], str]]] = [
        (f"https {urlsplit(https).netloc}", partial(_ask_web, https, limit_s)),
        (
            f"ftp {urlsplit(settings.ftp_root).netloc}",
            partial(_log_in, settings.ftp_root, limit_s),
        ),
        (f"aspera {host}:{port} (TCP)", partial(_connect, host, port, limit_s)),
        ("movie by ranges", partial(_read_layout, https, movie, limit_s)),
    ]
    checks += [
        (f"ome-zarr {address}", partial(_ask_web, f"{address}/.zattrs", limit_s))
        for address in plates
    ]
    return [_check(what, ask) for what, ask in checks]


def check_model(model_type: str) -> Finding:
    """Check that a model finds the nuclei of a simulated frame, on the device that streams use.

    Parameters
    ----------
    model_type : str
        As ``model_type`` of the settings. Cellpose's own models are downloaded if they are missing.

    Returns
    -------
    Finding
        ``failed`` also if average precision at 0.5 is below a half.
    """
    return _check(f"model {model_type}", partial(_try_model, model_type))


def _try_model(model_type: str) -> str:
    """Segment a simulated frame; return how many of its nuclei were found."""
    from idrstream.segment import CellPoseSegmentor
    from idrstream.simulate import ScreenSpec, simulate_movie
    from idrstream.simulate.score import score_masks

    spec = ScreenSpec(frames=1, height=256, width=256, nuclei_per_frame=20, diameter_px=24.0)
    movie = simulate_movie(spec, well="A1")
    made = CellPoseSegmentor({"model_type": model_type, "remove_edge_masks": False})
    made.load()
    begun = time.perf_counter()
    masks, _ = made.masks(movie.frames[0])
    seconds = time.perf_counter() - begun
    score = score_masks(masks, movie.masks[0], threshold=0.5)
    found = (
        f"{score.n_matched} of {score.n_true} simulated nuclei found, average "
        f"precision {score.average_precision:.2f}, {seconds:.1f} s on "
        f"{(made.gpus() or ['the processor'])[0]}"
    )
    if score.average_precision < _LEAST_PRECISION:
        raise SegmentationError(found)
    return found


def _ask_web(url: str, limit_s: float) -> str:
    """Request an address; return status and server."""
    from idrstream.download.client.http import HttpClient

    settings = DownloadSettings(connect_timeout_s=limit_s, stall_timeout_s=limit_s)
    reply = HttpClient(settings).send("GET", url, {"Range": "bytes=0-1023"})
    status, server = reply.status, reply.headers.get("Server", "")
    reply.close()
    return f"{status} {server}".strip()


def _log_in(root: str, limit_s: float) -> str:
    """Log in anonymously and change to the folder; return the server's answer."""
    parts = urlsplit(root)
    with ftplib.FTP(timeout=limit_s) as ftp:  # noqa: S321, public data
        ftp.connect(parts.hostname or "", parts.port or 21)
        ftp.login()
        return ftp.cwd(parts.path or "/")


def _connect(host: str, port: int, limit_s: float) -> str:
    """Open a connection and return the server's greeting."""
    with socket.create_connection((host, port), timeout=limit_s) as connection:
        connection.settimeout(min(limit_s, 5.0))
        try:
            return connection.recv(100).decode("ascii", "replace").strip() or "open"
        except TimeoutError:
            return "open"


def _read_layout(root: str, movie: str, limit_s: float) -> str:
    """Read the layout of a movie by ranges; return its shape."""
    import h5py

    from idrstream.download import HttpTransport
    from idrstream.formats.cellh5.layout import channel_dataset
    from idrstream.formats.hdf5_ranges.reader import RangeReader

    settings = DownloadSettings(
        connect_timeout_s=limit_s, stall_timeout_s=limit_s, download_attempts=1
    )
    remote = HttpTransport(root, settings).open_ranges(movie, 256 * 1024)
    if remote is None:
        msg = "the server does not support ranges"
        raise OSError(msg)
    try:
        with h5py.File(RangeReader(remote), "r") as file:
            shape = tuple(channel_dataset(file, Path(movie)).shape)
        return f"{shape} c t z y x, {remote.size_bytes:,} bytes, {remote.requests} requests"
    finally:
        remote.close()


def as_table(findings: Sequence[Finding]) -> str:
    """Return findings as lines of text."""
    width = max(len(finding.what) for finding in findings)
    return "\n".join(
        f"{finding.state:8}{finding.what:{width}}  {finding.detail}" for finding in findings
    )


def verdict(findings: Sequence[Finding]) -> str:
    """Return in one sentence whether a stream could run here, and what it could not do."""
    lacks = [it for it in findings if it.state != "ok"]
    servers = [it for it in findings if it.what.partition(" ")[0] in _SERVERS]
    bad = [it.what for it in lacks if it not in servers and it.what not in _ONLY_FOR]
    if bad:
        return f"Not ready: {', '.join(bad)} (see above)"
    ready = [it.detail.partition(",")[0] for it in findings if it.what == _DEVICE]
    answered = {it.what.partition(" ")[0] for it in servers if it.state == "ok"}
    ready.append("HTTPS" if "https" in answered else "images on this machine")
    parts = [f"Ready: {', '.join(ready)}"]
    silent = [it.what for it in servers if it.state != "ok"]
    parts += [f"no answer: {', '.join(silent)}"] if silent else []
    parts += [] if servers else ["servers not asked (--network)"]
    absent = [f"{it.what} ({_ONLY_FOR[it.what]})" for it in lacks if it.what in _ONLY_FOR]
    parts += [f"optional parts absent: {', '.join(absent)}"] if absent else []
    return "; ".join(parts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``idrstream doctor``."""
    parser.add_argument(
        "--network", action="store_true", help="also check the public archive's servers"
    )
    parser.add_argument(
        "--model", help="also find nuclei with it, such as cpsam; downloads what Cellpose has"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def handle(arguments: argparse.Namespace) -> int:
    """Run ``idrstream doctor``; return 1 if a server or a model failed."""
    found = check_here()
    if arguments.network:
        found += check_network()
    if arguments.model:
        found.append(check_model(arguments.model))
    text = (
        json.dumps([asdict(finding) for finding in found], indent=1)
        if arguments.json
        else f"{as_table(found)}\n{verdict(found)}"
    )
    say(f"{text}\n")
    return 1 if any(finding.state == "failed" for finding in found) else 0


def _check(what: str, ask: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", ask())
    except IdrStreamError as error:
        return Finding(what, "failed", str(error))
    except Exception as error:  # a check reports and never raises
        from idrstream.download.client.words import network_words

        return Finding(what, "failed", network_words(error, what.replace(" ", "://", 1)))


def _device() -> str:
    """Return where the models compute by default."""
    import torch

    from idrstream.workers.threads import all_processors

    if torch.cuda.is_available():
        return f"GPU, {torch.cuda.get_device_name()}"
    return f"processor, {all_processors()} cores"


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        alone = f": {INSTALL_ALONE}" if name in INSTALLED_ALONE else ""
        return Finding(name, "missing", f"not installed{alone}")


def _below_the_bounds() -> list[Finding]:
    """Return the packages that are older than idrstream's dependencies say."""
    found = []
    for text in importlib.metadata.requires("idrstream") or ():
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue  # packages for what is optional are named when it is used
        try:
            version = importlib.metadata.version(needed.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        lowest = [one.version for one in needed.specifier if one.operator == ">="]
        if lowest and Version(version) < Version(lowest[0]):
            detail = (
                f"{version} is older than {lowest[0]}, the oldest that works or has no known hole: "
                f"pip install '{needed.name}>={lowest[0]}'"
            )
            found.append(Finding(f"{needed.name} (version)", "failed", detail))
    return found


def _deepprofiler() -> Finding:
    """Look for DeepProfiler in the Python that a stream would run it with."""
    from idrstream.profile.deepprofiler.python import deepprofiler_python, deepprofiler_versions

    python = deepprofiler_python()
    try:
        found = deepprofiler_versions(python)
    except MissingToolError as error:
        return Finding("deepprofiler", "missing", str(error))
    others = ", ".join(f"{k} {v}" for k, v in found.items() if k != "deepprofiler")
    return Finding("deepprofiler", "ok", f"{found['deepprofiler']} with {others} in {python}")
