"""What a call of `run_stream` is made of: where, with what parts, and what is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from idrstream.errors import ConfigError
from idrstream.folder.plans import Modes
from idrstream.schedule.options import LaneOptions
from idrstream.text import parse_size

if TYPE_CHECKING:
    from idrstream.download import Downloader
    from idrstream.preprocess.base import BasePreprocessor
    from idrstream.profile import DeepProfilerProject, Engine
    from idrstream.segment import Segmentor
    from idrstream.stream.stream import IdrStream


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a stream, all there."""

    downloader: Downloader
    preprocessor: BasePreprocessor
    segmentor: Segmentor
    project: DeepProfilerProject
    engine: Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a call of `run_stream` asks for; see there."""

    batch_size: int = 10
    start_batch: int = 0
    batch_nums: Literal["all"] | tuple[int, ...] = "all"
    extra_metadata: tuple[str, ...] = ()
    output_format: Literal["csv.gz", "parquet"] = "csv.gz"
    share_gpu: bool = False
    disk_budget: str | int | None = None
    pictures: str | int | None = "50MB"
    lanes: LaneOptions = field(default_factory=LaneOptions)
    modes: Modes = field(default_factory=Modes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a stream works, and what of it changes no result.

    Attributes
    ----------
    study : str
        Accession of the study.
    folder : Path
        Output folder.
    tmp_dir : Path
        Folder for intermediates.
    log : Path or None
        The log file.
    settings : Mapping or None
        All settings, when the stream was built from settings.
    complete_timeout_s : float
        See `IdrStream`.
    plate_wells : int
        See `IdrStream`.
    """

    study: str
    folder: Path
    tmp_dir: Path
    log: Path | None = None
    settings: Mapping[str, Any] | None = None
    complete_timeout_s: float = 60.0
    plate_wells: int = 12


def request_of(**options: Any) -> Request:
    """Return what options of `IdrStream.run_stream` ask for.

    Raises
    ------
    ConfigError
        Naming an option that there is not.
    """
    known = {item.name for item in fields(Request)} - {"modes"}
    modes = {item.name for item in fields(Modes)}
    unknown = [name for name in options if name not in known | modes]
    if unknown:
        msg = f"{', '.join(unknown)}: no such option; there are {', '.join(sorted(known | modes))}"
        raise ConfigError(msg)
    given = {name: value for name, value in options.items() if name in known}
    if given.get("batch_nums", "all") != "all":
        given["batch_nums"] = tuple(map(int, given["batch_nums"]))
    extra = given.get("extra_metadata", ())
    given["extra_metadata"] = (extra,) if isinstance(extra, str) else tuple(extra)
    given["lanes"] = given.get("lanes") or LaneOptions()
    chosen = {name: value for name, value in options.items() if name in modes}
    return Request(**given, modes=Modes(**chosen))


def pictures_bytes(size: str | int | None) -> int:
    """Return what example pictures may take; 0 for none.

    Raises
    ------
    ConfigError
        When it is no size.
    """
    return 0 if size in (0, "0") else parse_size(size, "pictures") or 0


def place_of(stream: IdrStream) -> Place:
    """Return where a stream works."""
    from idrstream.config import as_json

    return Place(
        study=stream.idr_id,
        folder=stream.final_data_dir,
        tmp_dir=stream.tmp_dir,
        log=stream.log_path,
        settings=as_json(stream.settings) if stream.settings is not None else None,
        complete_timeout_s=stream.complete_timeout_s,
        plate_wells=stream.plate_wells,
    )


def parts_of(stream: IdrStream) -> Parts:
    """Return the parts of a stream.

    Raises
    ------
    ConfigError
        If one is missing; the message names the call that makes it.
    """
    made = {
        "downloader": (stream.downloader, "init_downloader"),
        "preprocessor": (stream.preprocessor, "init_preprocessor"),
        "segmentor": (stream.segmentor, "init_segmentor"),
        "project": (stream.project, "copy_DP_files"),
        "engine": (stream.engine, "copy_DP_files"),
    }
    missing = dict.fromkeys(call for part, call in made.values() if part is None)
    if missing:
        msg = f"call {', '.join(missing)} before the stream is run"
        raise ConfigError(msg)
    parts: dict[str, Any] = {name: part for name, (part, _) in made.items()}
    return Parts(**parts)


def identity_of(place: Place, parts: Parts, request: Request) -> dict[str, Any]:
    """Return the settings that change a result, JSON-ready; see `idrstream.folder.identity`."""
    from idrstream.folder.identity import describe_stream

    identity = describe_stream(
        place.study,
        {
            "preprocessor": parts.preprocessor,
            "segmentor": parts.segmentor,
            "profiler": parts.project,
            "engine": parts.engine,
        },
        extra_metadata=request.extra_metadata,
        output_format=request.output_format,
    )
    if identity["preprocessor"].get("illumination", {}) == {"context": "plate"}:
        identity["preprocessor"]["plate_wells"] = place.plate_wells
    return identity
