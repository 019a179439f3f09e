"""Remote path to file on disk, proven complete."""

from __future__ import annotations

from idrstream.download.addresses import transport_for
from idrstream.download.aspera.options import AsperaOptions
from idrstream.download.aspera.transport import AsperaDownloader, AsperaTransport
from idrstream.download.chain import TransportChain
from idrstream.download.downloader import TransportDownloader, tell_frames_needed
from idrstream.download.factory import Ways, make_downloader
from idrstream.download.legacy import as_downloader
from idrstream.download.locate.table import TableLocator
from idrstream.download.modes import FETCH_MODES, FetchMode
from idrstream.download.omezarr import OmeZarrDownloader
from idrstream.download.protocol import (
    Downloader,
    Locator,
    RangeTransport,
    RemoteFile,
    Transport,
)
from idrstream.download.transports.fetched import Fetched
from idrstream.download.transports.ftp import FtpTransport
from idrstream.download.transports.http import HttpTransport
from idrstream.download.transports.local import LocalDownloader, LocalTransport
from idrstream.download.transports.s3 import S3Transport
from idrstream.download.transports.transfer import TransferOptions
from idrstream.screen.study.idr0013 import Idr0013Locator, PlateScreens

__all__ = [
    "FETCH_MODES",
    "AsperaDownloader",
    "AsperaOptions",
    "AsperaTransport",
    "Downloader",
    "FetchMode",
    "Fetched",
    "FtpTransport",
    "HttpTransport",
    "Idr0013Locator",
    "LocalDownloader",
    "LocalTransport",
    "Locator",
    "OmeZarrDownloader",
    "PlateScreens",
    "RangeTransport",
    "RemoteFile",
    "S3Transport",
    "TableLocator",
    "TransferOptions",
    "Transport",
    "TransportChain",
    "TransportDownloader",
    "Ways",
    "as_downloader",
    "make_downloader",
    "tell_frames_needed",
    "transport_for",
]
