"""Builds a stream and its parts from settings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.config import RunOptions, options_in
from idrstream.errors import ConfigError

if TYPE_CHECKING:
    from idrstream.config import DownloadSettings, Settings, StreamSettings
    from idrstream.download import AsperaOptions, OmeZarrDownloader, TransportDownloader
    from idrstream.schedule.result import RunResult
    from idrstream.stream.stream import IdrStream


def build_stream(kind: type[IdrStream], settings: Settings) -> IdrStream:
    """Build a stream with all its parts.

    Parameters
    ----------
    kind : type
        `IdrStream` or a subclass.
    settings : Settings
        Checked settings.

    Returns
    -------
    IdrStream
        Ready to run.

    Raises
    ------
    UserError
        If a part cannot be built.
    """
    from idrstream.preprocess import make_preprocessor

    where = settings.stream
    stream = kind(where.idr_id, where.tmp_dir, where.final_data_dir, log=where.log or "")
    stream.complete_timeout_s = settings.download.complete_timeout_s
    stream.plate_wells = settings.preprocess.plate_wells
    _init_downloader(stream, settings)
    models_folder = stream.final_data_dir / "illumination"
    stream.init_preprocessor(make_preprocessor(settings.preprocess, models_folder))
    stream.init_segmentor(settings.segment)
    stream.copy_DP_files(**asdict(settings.profile))
    stream.settings = settings
    return stream


def run_settings(stream: IdrStream, settings: Settings) -> RunResult:
    """Run the table that the settings name.

    Parameters
    ----------
    stream : IdrStream
        As `build_stream` returns it.
    settings : Settings
        The same settings.

    Returns
    -------
    RunResult
        What was done.
    """
    from idrstream.screen import read_table

    result: RunResult = stream.run_stream(
        read_table(settings.stream.table), **run_options(settings.stream)
    )
    return result


def run_options(settings: StreamSettings) -> dict[str, Any]:
    """Return the keyword arguments of `IdrStream.run_stream` for settings."""
    return {option.name: getattr(settings, option.name) for option in options_in(RunOptions)}


def _init_downloader(stream: IdrStream, settings: Settings) -> None:
    from idrstream.download import AsperaDownloader, LocalDownloader

    download = settings.download
    if download.method == "local":
        if not download.root:
            msg = "download.root is missing: the folder or file:// address of the mirror"
            raise ConfigError(msg)
        stream.init_downloader(
            LocalDownloader(
                download.root,
                download.screens_path,
                download.idr_index_name,
                fetch=download.fetch,
            )
        )
        return
    if download.method == "omezarr":
        stream.init_downloader(_omezarr(download))
        return
    if download.method != "aspera":
        stream.init_downloader(_archive(download))
        return
    if download.fetch == "frames":
        msg = 'download.fetch = "frames" cannot be done by aspera, which moves whole files'
        raise ConfigError(msg)
    given = {
        "aspera_path": download.aspera_path,
        "aspera_key_path": download.aspera_key_path,
    }
    missing = [f"download.{name}" for name, value in given.items() if value is None]
    if missing:
        msg = f'{", ".join(missing)} missing: download.method = "aspera" needs them'
        raise ConfigError(msg)
    stream.init_downloader(
        AsperaDownloader(
            Path(download.aspera_path or ""),
            Path(download.aspera_key_path or ""),
            download.screens_path,
            download.idr_index_name,
            options=_aspera_options(download),
        )
    )


def _aspera_options(download: DownloadSettings) -> AsperaOptions:
    from idrstream.download import AsperaOptions

    return AsperaOptions(
        user=download.aspera_user,
        host=download.aspera_host,
        port=download.aspera_port,
        rate=download.aspera_rate,
        attempts=download.aspera_attempts,
    )


def _archive(download: DownloadSettings) -> TransportDownloader:
    from idrstream.download import TransferOptions, Ways, make_downloader

    ways = Ways(
        aspera_path=download.aspera_path,
        aspera_key_path=download.aspera_key_path,
        aspera=_aspera_options(download),
        https_root=download.https_root,
        ftp_root=download.ftp_root,
        s3_root=download.s3_root,
        s3_endpoint=download.s3_endpoint,
        s3_anonymous=download.s3_anonymous,
        local_root=download.root,
        transfer=TransferOptions(
            connect_timeout_s=download.connect_timeout_s,
            stall_timeout_s=download.stall_timeout_s,
            total_timeout_s=download.total_timeout_s,
            attempts=download.download_attempts,
            connections_per_host=download.connections_per_host,
            deep=download.deep_verify,
        ),
        cool_down_s=download.cool_down_s,
    )
    chain = (download.chain or None) if download.method == "auto" else (download.method,)
    return make_downloader(
        ways,
        chain,
        screens_path=download.screens_path,
        idr_index_name=download.idr_index_name,
        fetch=download.fetch,
    )


def _omezarr(download: DownloadSettings) -> OmeZarrDownloader:
    from idrstream.download.omezarr import IDR0013_ROOTS, OmeZarrDownloader

    if download.fetch == "file":
        msg = 'download.fetch = "file" makes no sense for omezarr, which has no movie files'
        raise ConfigError(msg)
    return OmeZarrDownloader(
        download.omezarr_plates,
        roots=download.omezarr_roots or IDR0013_ROOTS,
        pattern=download.omezarr_pattern,
        endpoint_url=download.omezarr_endpoint_url,
    )
