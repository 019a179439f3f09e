"""The downloader of the settings."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from idrstream.config import DownloadSettings, checked
from idrstream.download.adapt import as_downloader
from idrstream.download.aspera.transport import ARCHIVE_ROOT, AsperaTransport
from idrstream.download.chain import TransportChain
from idrstream.download.downloader import TransportDownloader
from idrstream.download.fetch import no_ranges_message
from idrstream.download.locate.mirror import MirrorLocator, is_study_folder
from idrstream.download.locate.table import TableLocator
from idrstream.download.omezarr import OmeZarrDownloader
from idrstream.download.protocol import Downloader, Locator, RangeTransport, Transport
from idrstream.download.transports.ftp import FtpTransport
from idrstream.download.transports.http import HttpTransport
from idrstream.download.transports.local import LocalTransport, path_from_address
from idrstream.download.transports.s3 import S3Transport
from idrstream.errors import ConfigError
from idrstream.plugins import load_plugin
from idrstream.screen.study.idr0013 import Idr0013Locator, PlateScreens

METHODS = ("aspera", "auto", "ftp", "https", "local", "omezarr", "s3")
"""Names of the sources that come with idrstream."""


def make_downloader(
    settings: DownloadSettings | None = None, **options: Any
) -> TransportDownloader | OmeZarrDownloader | Downloader:
    """Build a downloader for `IdrStream.init_downloader`.

    Parameters
    ----------
    settings : DownloadSettings, optional
        Options of the section ``[download]``; by default the public archive over HTTPS, then
        FTP.
    **options
        Single options by name, which replace those of `settings`.

    Returns
    -------
    TransportDownloader, OmeZarrDownloader or Downloader
        Ready to use; the last is of an installed package.

    Raises
    ------
    ConfigError, MissingToolError, TableError
        If an option, a program or a file is missing or wrong.

    Examples
    --------
    >>> make_downloader(method="https").transport.name
    'https'
    >>> make_downloader().transport.name
    'https > ftp'
    """
    given: dict[str, Any] = {}
    if settings is not None:
        given = {option.name: getattr(settings, option.name) for option in fields(settings)}
    given |= {name: str(v) if isinstance(v, Path) else v for name, v in options.items()}
    settings = checked(DownloadSettings, given, "the options of the downloader")
    if settings.method not in METHODS:
        return as_downloader(load_plugin("method", settings.method, METHODS))
    if settings.method == "omezarr":
        return OmeZarrDownloader(settings)
    return TransportDownloader(build_transport(settings), build_locator(settings), settings)


def build_transport(settings: DownloadSettings) -> Transport:
    """Build the transport of a method, or a chain for ``auto``.

    Raises
    ------
    ConfigError, MissingToolError
        If an option that the method needs, or its program, is missing.
    """
    if settings.method == "local":
        links: tuple[Transport, ...] = (LocalTransport(_required(settings, "root"), settings),)
    elif settings.method == "auto":
        links = tuple(_archive_transport(name, settings) for name in _chain(settings))
    else:
        links = (_archive_transport(settings.method, settings),)
    if not links:
        msg = "download.method is auto, but no source of the movies is set"
        raise ConfigError(msg)
    if settings.fetch == "frames" and not any(isinstance(link, RangeTransport) for link in links):
        raise ConfigError("download." + no_ranges_message(" > ".join(link.name for link in links)))
    if len(links) > 1:
        return TransportChain(links, cool_down_s=settings.cool_down_s)
    if isinstance(links[0], AsperaTransport):
        links[0].check()  # in a chain the other transports replace it
    return links[0]


def build_locator(settings: DownloadSettings) -> TableLocator:
    """Build the locator of a method.

    Raises
    ------
    ConfigError, TableError
        If the plates file is missing or wrong.
    """
    study = settings.idr_index_name
    screens = None if settings.screens_path is None else PlateScreens.read(settings.screens_path)
    if settings.method == "local":
        root = path_from_address(settings.root)
        mirror = MirrorLocator(root, screens, study)
        return TableLocator(mirror, study=study if is_study_folder(root, study) else "")
    locator: Locator | None = None if screens is None else Idr0013Locator(screens, study)
    return TableLocator(locator, study=study)


def _chain(settings: DownloadSettings) -> tuple[str, ...]:
    if settings.chain:
        return settings.chain
    given = {
        "local": settings.root,
        "https": settings.https_root,
        "aspera": settings.aspera_path and settings.aspera_key_path,
        "ftp": settings.ftp_root,
        "s3": settings.s3_root,
    }
    return tuple(name for name, value in given.items() if value)


def _archive_transport(name: str, settings: DownloadSettings) -> Transport:
    """Build a transport whose root is the folder of the study."""
    study = settings.idr_index_name
    if name == "aspera":
        return AsperaTransport(f"{ARCHIVE_ROOT}/{study}", settings)
    if name == "local":
        root = path_from_address(_required(settings, "root"))
        return LocalTransport(root if is_study_folder(root, study) else root / study, settings)
    root_of_study = f"{_required(settings, f'{name}_root').rstrip('/')}/{study}/"
    if name == "https":
        return HttpTransport(root_of_study, settings)
    return (FtpTransport if name == "ftp" else S3Transport)(root_of_study, settings)


def _required(settings: DownloadSettings, option: str) -> str:
    value = str(getattr(settings, option))
    if not value:
        msg = f"download.{option} is missing: the address of the movies"
        raise ConfigError(msg)
    return value
