"""A downloader for the ways that a user names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from idrstream.download.addresses import Addresses
from idrstream.download.aspera.options import AsperaOptions
from idrstream.download.aspera.transport import ARCHIVE_ROOT, AsperaTransport
from idrstream.download.chain import TransportChain
from idrstream.download.downloader import TransportDownloader
from idrstream.download.locate.table import TableLocator
from idrstream.download.modes import FetchMode
from idrstream.download.protocol import Transport
from idrstream.download.transports.ftp import IDR_FTP_ROOT, FtpTransport
from idrstream.download.transports.http import IDR_HTTPS_ROOT, HttpTransport
from idrstream.download.transports.local import LOCAL_OPTIONS, LocalTransport
from idrstream.download.transports.s3 import S3Transport
from idrstream.download.transports.transfer import TransferOptions
from idrstream.errors import ConfigError
from idrstream.screen.study.idr0013 import IDR0013_STUDY, Idr0013Locator, PlateScreens

WAYS = ("local", "aspera", "https", "ftp", "s3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Where each way to the archive leads.

    Attributes
    ----------
    aspera_path, aspera_key_path : Path, optional
        The ``ascp`` program and its key.
    aspera : AsperaOptions
        How to call it.
    https_root, ftp_root : str
        Addresses of the folder above all studies.
    s3_root, s3_endpoint : str
        The same as ``s3://bucket/prefix``, and its server; empty for none.
    s3_anonymous : bool
        Whether the bucket is public.
    local_root : str
        Folder or ``file://`` address above all studies; empty for none.
    transfer : TransferOptions
        Limits of every transfer.
    cool_down_s : float
        For how long a way that failed rests.
    """

    aspera_path: Path | None = None
    aspera_key_path: Path | Sequence[Path] | None = None
    aspera: AsperaOptions = field(default_factory=AsperaOptions)
    https_root: str = IDR_HTTPS_ROOT
    ftp_root: str = IDR_FTP_ROOT
    s3_root: str = ""
    s3_endpoint: str = ""
    s3_anonymous: bool = True
    local_root: str = ""
    transfer: TransferOptions = field(default_factory=TransferOptions)
    cool_down_s: float = 600.0

    def names(self) -> tuple[str, ...]:
        """Return the ways that ``auto`` means: those there is something for, nearest first."""
        given = {
            "local": self.local_root,
            "aspera": self.aspera_path and self.aspera_key_path,
            "https": self.https_root,
            "ftp": self.ftp_root,
            "s3": self.s3_root,
        }
        return tuple(name for name in WAYS if given[name])


def make_transport(ways: Ways, names: Sequence[str], study: str) -> Transport:
    """Build the transport for a study's folder, or a chain of several.

    Parameters
    ----------
    ways : Ways
        Where each leads.
    names : sequence of str
        Of `WAYS`, in order of preference.
    study : str
        Name of the study's folder.

    Raises
    ------
    ConfigError
        If a name is unknown or nothing is given for it.
    """
    builders: Mapping[str, Callable[[], Transport]] = {
        "local": lambda: _local(ways, study),
        "aspera": lambda: _aspera(ways, study),
        "https": lambda: HttpTransport(_under(ways.https_root, study), ways.transfer),
        "ftp": lambda: FtpTransport(_under(ways.ftp_root, study), ways.transfer),
        "s3": lambda: S3Transport(
            _under(ways.s3_root, study),
            ways.transfer,
            endpoint=ways.s3_endpoint or None,
            anonymous=ways.s3_anonymous,
        ),
    }
    unknown = [name for name in names if name not in builders]
    if unknown or not names:
        msg = f"ways to the movies are {', '.join(WAYS)}, not {', '.join(unknown) or 'none'}"
        raise ConfigError(msg)
    links = [builders[name]() for name in names]
    if len(links) == 1:
        return links[0]
    return TransportChain(links, cool_down_s=ways.cool_down_s)


def make_downloader(
    ways: Ways | None = None,
    names: Sequence[str] | None = None,
    *,
    screens_path: Path | str | None = None,
    idr_index_name: str = IDR0013_STUDY,
    fetch: FetchMode = "auto",
) -> TransportDownloader:
    """Build a downloader for `IdrStream.init_downloader`.

    Parameters
    ----------
    ways : Ways, optional
        Where each way leads; by default the public archive over HTTPS, then FTP.
    names : sequence of str, optional
        The ways to use, in order; by default all that `ways` has something for.
    screens_path : Path or str, optional
        idr0013's plates file; not needed when every row of the table has its ``Path``.
    idr_index_name : str
        Name of the study's folder in the archive.
    fetch : {"auto", "frames", "file"}
        Bring what moves fewer bytes; only the needed frames; or always the whole movie.

    Returns
    -------
    TransportDownloader
        Ready to use.

    Raises
    ------
    ConfigError, TableError
        If a way or the plates file is wrong or missing.

    Examples
    --------
    >>> downloader = make_downloader(names=["https"])
    >>> downloader.transport.name
    'https'
    """
    ways = ways or Ways()
    transport = make_transport(ways, ways.names() if names is None else names, idr_index_name)
    locator = (
        TableLocator(study=idr_index_name)
        if screens_path is None
        else Idr0013Locator(PlateScreens.read(screens_path), idr_index_name)
    )
    addresses = Addresses(
        ways.transfer, s3_endpoint=ways.s3_endpoint or None, s3_anonymous=ways.s3_anonymous
    )
    return TransportDownloader(transport, locator, fetch=fetch, addresses=addresses)


def _under(root: str, study: str) -> str:
    if not root:
        msg = "no address is given for a way to the movies that was asked for"
        raise ConfigError(msg)
    return f"{root.rstrip('/')}/{study}/"


def _local(ways: Ways, study: str) -> LocalTransport:
    if not ways.local_root:
        msg = "no folder is given for the way 'local'"
        raise ConfigError(msg)
    options = replace(LOCAL_OPTIONS, deep=ways.transfer.deep, sidecar=ways.transfer.sidecar)
    return LocalTransport(_under(ways.local_root, study), options)


def _aspera(ways: Ways, study: str) -> AsperaTransport:
    if ways.aspera_path is None or ways.aspera_key_path is None:
        msg = "aspera_path and aspera_key_path are missing: the way 'aspera' needs them"
        raise ConfigError(msg)
    options = replace(
        ways.aspera,
        connections_per_host=ways.transfer.connections_per_host,
        deep=ways.transfer.deep,
        sidecar=ways.transfer.sidecar,
    )
    keys = ways.aspera_key_path
    return AsperaTransport(
        ways.aspera_path, keys, remote_root=f"{ARCHIVE_ROOT}/{study}", options=options
    )
