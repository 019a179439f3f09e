"""Remote path to file on disk, proven complete."""

from __future__ import annotations

from idrstream.download._aspera_options import AsperaOptions
from idrstream.download._downloader import TransportDownloader, tell_frames_needed
from idrstream.download._fetched import Fetched
from idrstream.download._legacy import as_downloader
from idrstream.download._modes import FETCH_MODES, FetchMode
from idrstream.download._protocol import (
    Downloader,
    Locator,
    RangeTransport,
    RemoteFile,
    Transport,
)
from idrstream.download._superblock import hdf5_end_of_file
from idrstream.download.addresses import transport_for
from idrstream.download.aspera import AsperaDownloader, AsperaTransport
from idrstream.download.chain import TransportChain
from idrstream.download.complete import check_complete, wait_until_complete
from idrstream.download.factory import Ways, make_downloader
from idrstream.download.ftp import FtpTransport
from idrstream.download.http import HttpTransport
from idrstream.download.local import LocalDownloader, LocalTransport
from idrstream.download.locate import Idr0013Locator, PlateScreens
from idrstream.download.omezarr import OmeZarrDownloader
from idrstream.download.s3 import S3Transport
from idrstream.download.table_locator import TableLocator
from idrstream.download.transfer import TransferOptions

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
    "check_complete",
    "hdf5_end_of_file",
    "make_downloader",
    "tell_frames_needed",
    "transport_for",
    "wait_until_complete",
]
