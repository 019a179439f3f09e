"""The metadata files that IDR publishes: fetched once, kept in a cache, or read from a copy."""

from __future__ import annotations

import hashlib
import json
import logging
import posixpath
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from idrstream.config import DownloadSettings
from idrstream.download.client.http import HttpClient
from idrstream.download.listing import Names, folder_at
from idrstream.errors import DownloadError, RemoteFileNotFoundError
from idrstream.files import atomic_path

logger = logging.getLogger("idrstream.archive")

Kind = Literal["website", "studies", "ngff", "archive"]

_RAW = "https://raw.githubusercontent.com"
_MAX_BYTES = 256 * 2**20
_DAY_S = 86_400.0
_NAMES = ".names.json"  # what is in a folder, beside the files of it that are kept
_LIMITS = DownloadSettings(
    download_attempts=3, stall_timeout_s=30.0, retry_wait_s=0.5, longest_retry_wait_s=5.0
)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where IDR's metadata are: addresses, or folders on this machine.

    Attributes
    ----------
    website : str
        Has ``studies.tsv`` and ``download_urls.tsv``, the tables behind IDR's study pages.
    studies : str
        Has a folder for each study, its metadata repository; ``HEAD`` follows the name of the
        study if `branch` says so.
    ngff : str
        Has ``idr0036_samples.csv`` and the like: an OME-Zarr address for each plate.
    archive : str
        The images' own archive: asked for ``.screen`` and ``.pattern`` files that lie there.
    branch : str
        Folder between a study's name and its files.
    cache : Path, optional
        Where downloaded files are kept; by default the user's cache folder.
    max_age_s : float
        Age in seconds from which a kept file is asked for again.
    """

    website: str = f"{_RAW}/IDR/idr.openmicroscopy.org/HEAD/_data"
    studies: str = f"{_RAW}/IDR"
    ngff: str = f"{_RAW}/ome/ome2024-ngff-challenge/HEAD/samples"
    archive: str = "https://ftp.ebi.ac.uk/pub/databases/IDR"
    branch: str = "HEAD"
    cache: Path | None = None
    max_age_s: float = 7 * _DAY_S

    @classmethod
    def at(cls, root: Path | str, cache: Path | None = None) -> Sources:
        """Return the sources under one address or folder.

        Parameters
        ----------
        root : path or str
            Has the folders ``website``, ``studies`` and ``ngff``, and ``archive`` if it has files
            of the images' archive.
        cache : Path, optional
            As above.
        """
        text = str(root).rstrip("/")
        return cls(
            website=f"{text}/website",
            studies=f"{text}/studies",
            ngff=f"{text}/ngff",
            archive=f"{text}/archive",
            branch="",
            cache=cache,
        )


@dataclass(slots=True)
class Published:
    """Returns published files as files on this machine.

    Parameters
    ----------
    sources : Sources
        Where they are.
    """

    sources: Sources = field(default_factory=Sources)
    _missing: set[str] = field(default_factory=set)

    def address(self, kind: Kind, path: str) -> str:
        """Return the address of a file, or its path on this machine."""
        root = str(getattr(self.sources, kind))
        if kind == "studies" and self.sources.branch:
            study, _, rest = path.partition("/")
            path = f"{study}/{self.sources.branch}/{rest}"
        return f"{root.rstrip('/')}/{path}"

    def file(self, kind: Kind, path: str) -> Path | None:
        """Return a published file; None if there is no such file.

        Parameters
        ----------
        kind : {"website", "studies", "ngff", "archive"}
            Which of the sources.
        path : str
            Under it, with forward slashes; one that leads out of it is no such file.

        Raises
        ------
        DownloadError
            If the server cannot be reached and the file was never fetched before.
        """
        path = posixpath.normpath(path)
        if path.startswith(("/", "..")):
            return None
        address = self.address(kind, path)
        if "://" not in address:
            local = Path(address).expanduser()
            return local if local.is_file() else None
        if address in self._missing:
            return None
        kept = self._kept(kind, path)
        if kept.is_file() and time.time() - kept.stat().st_mtime < self.sources.max_age_s:
            return kept
        try:
            content = _fetched(address)
        except RemoteFileNotFoundError:
            self._missing.add(address)
            return None
        except DownloadError as error:
            if not kept.is_file():
                raise DownloadError(_without_network(error)) from error
            logger.warning("%s; the copy of %s is used", error, _day(kept))
            return kept
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(kept) as part:
            part.write_bytes(content)
        return kept

    def names(self, path: str) -> Names:
        """Return what is in a folder of the images' archive.

        Raises
        ------
        DownloadError
            If it cannot be listed; `RemoteFileNotFoundError` if there is none.
        """
        path = posixpath.normpath(path)
        if path.startswith(("/", "..")):
            msg = f"{path!r} leads out of the archive"
            raise DownloadError(msg)
        address = self.address("archive", path)
        kept = self._kept("archive", f"{path}/{_NAMES}")
        if "://" in address and kept.is_file():
            age_s = time.time() - kept.stat().st_mtime
            if age_s < self.sources.max_age_s:
                return Names(*map(tuple, json.loads(kept.read_text(encoding="utf-8"))))
        place = _quoted(address) if "://" in address else address
        names = folder_at(place, _LIMITS).names()
        if "://" in address:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(kept) as part:
                part.write_text(json.dumps(names), encoding="utf-8")
        return names

    def _kept(self, kind: Kind, path: str) -> Path:
        root = str(getattr(self.sources, kind))
        folder = f"{kind}-{hashlib.sha256(root.encode()).hexdigest()[:12]}"
        return (self.sources.cache or cache_folder()) / folder / path


def cache_folder() -> Path:
    """Return the folder of this user in which published files are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("idrstream") / "idr"


def _fetched(address: str) -> bytes:
    """Return a file of a web server, which is text or packed text, never a web page."""
    client = HttpClient(_LIMITS)
    url = _quoted(address)
    content: bytes = client.ask(url, {}, lambda reply: client.content(reply, url, most=_MAX_BYTES))
    if content[:200].lstrip().lower().startswith((b"<!doctype", b"<html")):
        msg = f"{url}: the server answers with a web page"
        raise DownloadError(msg)
    return content


def _quoted(address: str) -> str:
    """Return the URL of an address whose path is plain text, such as ``[1] #2``."""
    scheme, _, rest = address.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}/{quote(path)}"


def _without_network(error: DownloadError) -> str:
    return (
        f"IDR's metadata cannot be had: {error}. Without a network give a "
        "copy of them by idr_data (--idr-data FOLDER): website/studies.tsv and "
        "website/download_urls.tsv, studies/<study>/ with the files of its repository, and "
        "ngff/<accession>_samples.csv"
    )


def _day(path: Path) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(path.stat().st_mtime))
