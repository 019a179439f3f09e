"""Builds a stream and its parts from settings."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from idrstream.errors import ConfigError

if TYPE_CHECKING:
    from idrstream.config import Settings
    from idrstream.formats.reader import MovieReader
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
    from idrstream.download import make_downloader
    from idrstream.profile import make_engine

    where = settings.stream
    stream = kind(where.idr_id, where.tmp_dir, where.final_data_dir, log=where.log or "")
    stream.complete_timeout_s = settings.download.complete_timeout_s
    stream.plate_wells = settings.preprocess.plate_wells
    stream.init_downloader(make_downloader(settings.download))
    stream.init_preprocessor(
        None,
        settings.preprocess.perform_illumination_correction,
        reader=_reader(settings),
        illumination_context=settings.preprocess.illumination_context,
    )
    segment = settings.segment
    stream.init_segmentor(
        {
            "model_type": segment.model_type,
            "channels": list(segment.channels),
            "diameter": segment.diameter,
            "flow_threshold": segment.flow_threshold,
            "cellprob_threshold": segment.cellprob_threshold,
            "remove_edge_masks": segment.remove_edge_masks,
            "min_size": segment.min_size,
            "batch_size": segment.tile_batch_size,
            "size_model": segment.size_model,
            "gpu": segment.gpu,
            "precision": segment.precision,
            "threads": segment.threads,
        }
    )
    profile = settings.profile
    stream.copy_DP_files(
        profile.dp_config,
        profile.dp_checkpoint,
        engine=make_engine(
            profile.engine,
            gpu=profile.dp_gpu,
            timeout_s=profile.profile_timeout_s,
            device=profile.profile_device,
            precision=profile.profile_precision,
            crops_at_once=profile.crops_at_once,
        ),
    )
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
        What came of it.
    """
    from idrstream.screen import read_table

    where = settings.stream
    result: RunResult = stream.run_stream(
        read_table(where.table),
        batch_size=where.batch_size,
        start_batch=where.start_batch,
        batch_nums=where.batch_nums,
        extra_metadata=where.extra_metadata,
        output_format=where.output_format,
        **run_options(settings),
    )
    return result


def run_options(settings: Settings) -> dict[str, Any]:
    """Return the options of a run that do not belong to the folder's plan.

    Parameters
    ----------
    settings : Settings
        Checked settings.

    Returns
    -------
    dict
        Keyword arguments of `IdrStream.run_stream`.
    """
    from idrstream.schedule.options import LaneOptions

    names = (
        "progress", "replan", "force", "force_recompute", "ignore_invalid_inputs",
        "ignore_failed_outputs", "share_gpu", "disk_budget", "pictures",
    )  # fmt: skip
    lanes = {item.name: getattr(settings.stream, item.name) for item in fields(LaneOptions)}
    options = {name: getattr(settings.stream, name) for name in names}
    return {**options, "lanes": LaneOptions(**lanes)}


def _reader(settings: Settings) -> MovieReader:
    preprocess = settings.preprocess
    if preprocess.reader == "imagej" and not preprocess.fiji_path:
        msg = 'preprocess.fiji_path is missing: preprocess.reader = "imagej" needs it'
        raise ConfigError(msg)
    from idrstream.formats.cellh5.reader import CellH5Reader
    from idrstream.formats.java.bioformats import BioFormatsReader
    from idrstream.formats.java.imagej import ImageJReader

    if preprocess.fiji_path:
        return ImageJReader(preprocess.fiji_path, channel=preprocess.channel, z=preprocess.z)
    if preprocess.reader == "cellh5":
        return CellH5Reader(channel=preprocess.channel, z=preprocess.z)
    if preprocess.bioformats_jar is None:
        msg = 'preprocess.bioformats_jar is missing: preprocess.reader = "bioformats" needs it'
        raise ConfigError(msg)
    return BioFormatsReader(preprocess.bioformats_jar, channel=preprocess.channel, z=preprocess.z)
