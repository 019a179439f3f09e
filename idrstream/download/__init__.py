"""Remote path to file on disk, verified complete."""

from __future__ import annotations

from idrstream.config import DownloadSettings
from idrstream.download.adapt import as_downloader
from idrstream.download.aspera.transport import AsperaTransport
from idrstream.download.chain import TransportChain
from idrstream.download.downloader import TransportDownloader, limit_to_needed
from idrstream.download.factory import make_downloader
from idrstream.download.locate.table import TableLocator
from idrstream.download.modes import FetchMode
from idrstream.download.omezarr import OmeZarrDownloader
from idrstream.download.protocol import (
    Downloader,
    Fetched,
    Locator,
    RangeTransport,
    RemoteFile,
    Transport,
)
from idrstream.download.transports.ftp import FtpTransport
from idrstream.download.transports.http import HttpTransport
from idrstream.download.transports.local import LocalTransport
from idrstream.download.transports.s3 import S3Transport
from idrstream.screen.study.idr0013 import Idr0013Locator, PlateScreens

__all__ = [
    "AsperaTransport",
    "DownloadSettings",
    "Downloader",
    "FetchMode",
    "Fetched",
    "FtpTransport",
    "HttpTransport",
    "Idr0013Locator",
    "LocalTransport",
    "Locator",
    "OmeZarrDownloader",
    "PlateScreens",
    "RangeTransport",
    "RemoteFile",
    "S3Transport",
    "TableLocator",
    "Transport",
    "TransportChain",
    "TransportDownloader",
    "as_downloader",
    "limit_to_needed",
    "make_downloader",
]
