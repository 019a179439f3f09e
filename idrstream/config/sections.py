"""The sections of the settings: every option of idrstream, declared once.

The TOML file, environment variables, command-line options and their help, keyword arguments, the
journal, provenance and the reference page of the documentation all come from these classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, AllowInfNan, BeforeValidator
from typing_extensions import Doc

from idrstream.config.options import (
    Option,
    Scope,
    as_batch_numbers,
    as_tuple,
    options_in,
    valid_size,
    valid_size_or_zero,
)

Channel = Annotated[int, Ge(0), Le(3)]

_STRICT = {"extra": "forbid", "str_strip_whitespace": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What one call of `IdrStream.run_stream` takes beside its table."""

    __pydantic_config__ = _STRICT

    batch_size: Annotated[int, Ge(1), Doc("Images per batch."), Scope.PLAN] = 10
    start_batch: Annotated[int, Ge(0), Doc("First batch to run, counted from 0."), Scope.CALL] = 0
    batch_nums: Annotated[
        Literal["all"] | tuple[int, ...],
        BeforeValidator(as_batch_numbers),
        Doc(
            'Batches to run: "all" or a list of numbers, on the command line also 3-17. Those '
            "named that failed or lack images are run again; complete ones are left alone."
        ),
        Scope.CALL,
    ] = "all"
    extra_metadata: Annotated[
        tuple[str, ...],
        BeforeValidator(as_tuple),
        Doc("Extra columns of the output, for example object_outlines."),
        Scope.PLAN,
    ] = ()
    output_format: Annotated[
        Literal["csv.gz", "parquet"], Doc("Format of the batch tables."), Scope.PLAN
    ] = "csv.gz"
    progress: Annotated[bool, Doc("Show progress bars."), Scope.LOCAL] = True
    replan: Annotated[
        bool,
        Doc("Cut the images that are not done into new batches; finished batches stay."),
        Scope.CALL,
    ] = False
    force: Annotated[
        bool,
        Doc(
            "Use this table and these settings whatever the output folder was started with: "
            "results that do not belong to them are deleted and computed again."
        ),
        Scope.CALL,
    ] = False
    force_recompute: Annotated[
        bool, Doc("Compute the chosen batches again even if they are done."), Scope.CALL
    ] = False
    ignore_invalid_inputs: Annotated[
        bool, Doc("Leave out unusable rows of the table instead of refusing it.")
    ] = False
    ignore_failed_outputs: Annotated[bool, Doc("Skip batches that failed before."), Scope.CALL] = (
        False
    )
    share_gpu: Annotated[bool, Doc("Use a GPU that another stream on this machine uses.")] = False
    disk_budget: Annotated[
        str | int | None,
        AfterValidator(valid_size),
        Doc("Hard limit on everything under tmp_dir, such as 20GB; none by default."),
    ] = None
    pictures: Annotated[
        str | int | None,
        AfterValidator(valid_size_or_zero),
        Doc("Space for example images of the report in the output folder; 0: none."),
    ] = "50MB"
    batches_in_flight: Annotated[int, Ge(1), Doc("Batches in progress at once.")] = 3
    downloads_at_once: Annotated[int, Ge(1), Doc("Movies downloaded at once.")] = 4
    prefetch: Annotated[
        int, Ge(1), Doc("Downloaded movies that may wait to be read, within disk_budget.")
    ] = 8
    preprocess_workers: Annotated[
        int | None, Ge(1), Doc("Movies read and corrected at once; chosen for the machine.")
    ] = None
    cores: Annotated[
        int | None,
        Ge(0),
        Doc(
            "Processor cores shared by correction, segmentation and profiling; 0: no limit; by "
            "default all when there is no GPU."
        ),
    ] = None
    frames_at_once: Annotated[
        int | None, Ge(1), Doc("Frames segmented together; chosen for the machine.")
    ] = None


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Accept text that a regular expression matches as a whole."""

    regex: str

    def __get_pydantic_core_schema__(self, _kind: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.str_schema(pattern=self.regex, strip_whitespace=True)


# Values that become words of ascp's command line: never an option, never a second address.
_AscpWord = Annotated[str, _Pattern(r"^[^\s@:-][^\s@:]*$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings(RunOptions):
    """``[stream]``: what to process, how, and where results go."""

    table: Annotated[Path, Doc("Table to process, tab- or comma-separated."), Scope.LOCAL]
    final_data_dir: Annotated[Path, Doc("Output folder."), Scope.LOCAL]
    tmp_dir: Annotated[
        Path, Doc("Folder for intermediate files, emptied after every batch."), Scope.LOCAL
    ]
    idr_id: Annotated[str, Doc("Accession of the study.")] = "idr0013"
    log: Annotated[Path | None, Doc("Log file, appended to; none by default."), Scope.LOCAL] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadSettings:
    """``[download]``: where the movies come from."""

    __pydantic_config__ = _STRICT

    method: Annotated[
        Literal["aspera", "auto", "ftp", "https", "local", "omezarr", "s3"],
        Doc(
            "auto: the sources of chain, one after another; aspera, https, ftp, s3: the archive; "
            "local: a mirror; omezarr: OME-Zarr on the web, S3 or a disk."
        ),
    ] = "auto"
    chain: Annotated[
        tuple[Literal["local", "https", "aspera", "ftp", "s3"], ...],
        BeforeValidator(as_tuple),
        Doc(
            "auto: the sources in order, for example aspera,https; by default local, https, "
            "aspera, ftp, s3, as far as they are set."
        ),
    ] = ()
    https_root: Annotated[str, Doc("https: address of the folder above all studies.")] = (
        "https://ftp.ebi.ac.uk/pub/databases/IDR/"
    )
    ftp_root: Annotated[str, Doc("ftp: address of the folder above all studies.")] = (
        "ftp://ftp.ebi.ac.uk/pub/databases/IDR/"
    )
    s3_root: Annotated[str, Doc("s3: s3://bucket/prefix above all studies.")] = ""
    s3_endpoint: Annotated[str, Doc("s3: address of its server; Amazon's by default.")] = ""
    s3_anonymous: Annotated[bool, Doc("s3: the bucket is public; nothing is signed.")] = True
    connect_timeout_s: Annotated[float, Gt(0), Doc("Time limit of a connection.")] = 15.0
    stall_timeout_s: Annotated[float, Gt(0), Doc("Time limit without a byte.")] = 60.0
    total_timeout_s: Annotated[float, Gt(0), Doc("Time limit of a movie, attempts included.")] = (
        3600.0
    )
    download_attempts: Annotated[
        int, Ge(1), Doc("Attempts in a row without new bytes before a movie is given up.")
    ] = 5
    retry_wait_s: Annotated[
        float, Ge(0), Doc("Pause before the second attempt; it doubles. A mirror gets a fifth.")
    ] = 1.0
    longest_retry_wait_s: Annotated[float, Ge(0), Doc("Longest pause between two attempts.")] = 60.0
    connections_per_host: Annotated[int, Ge(1), Doc("Connections to one server at a time.")] = 4
    cool_down_s: Annotated[
        float, Ge(0), Doc("auto: seconds for which a source that failed is tried last.")
    ] = 600.0
    deep_verify: Annotated[bool, Doc("Decode every downloaded frame before it is used.")] = False
    sidecar: Annotated[
        bool, Doc("Write <movie>.source.json: address, size, version, SHA-256, time, source.")
    ] = True
    root: Annotated[str, Doc("local: folder or file:// address of the mirror.")] = ""
    fetch: Annotated[
        Literal["auto", "frames", "file"],
        Doc("auto: whichever moves fewer bytes; frames: only the needed frames; file: the movie."),
    ] = "auto"
    aspera_path: Annotated[Path | None, Doc("aspera: the ascp program.")] = None
    aspera_key_path: Annotated[
        Path | tuple[Path, ...] | None,
        Doc("aspera: its private key, or several, of which the next is tried if one is refused."),
    ] = None
    screens_path: Annotated[
        Path | None, Doc("The study's plates.tsv, which names the screen of each plate.")
    ] = None
    idr_index_name: Annotated[str, Doc("Folder of the study in the archive.")] = (
        "idr0013-neumann-mitocheck"
    )
    aspera_user: Annotated[_AscpWord, Doc("aspera: user at the server.")] = "fasp-public"
    aspera_host: Annotated[_AscpWord, Doc("aspera: the server.")] = "fasp.ebi.ac.uk"
    aspera_port: Annotated[int, Ge(1), Doc("aspera: its TCP and UDP port.")] = 33001
    aspera_rate: Annotated[_AscpWord, Doc("aspera: target rate, 300m for 300 Mb/s.")] = "300m"
    aspera_attempts: Annotated[int, Ge(1), Doc("aspera: attempts for one movie.")] = 5
    omezarr_plates: Annotated[
        Path | None, Doc("omezarr: table of plates with columns Plate and UUID, URL or Path.")
    ] = None
    omezarr_roots: Annotated[
        tuple[str, ...],
        BeforeValidator(as_tuple),
        Doc("omezarr: addresses to look under, in turn; by default idr0013's."),
    ] = ()
    omezarr_pattern: Annotated[
        str, Doc("omezarr: path of a plate under a root, with columns in braces.")
    ] = "{UUID}/{UUID}.zarr"
    omezarr_endpoint_url: Annotated[str, Doc("omezarr: server of s3:// addresses.")] = ""
    complete_timeout_s: Annotated[
        float, Gt(0), Doc("Seconds without growth after which an incomplete movie is given up.")
    ] = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessSettings:
    """``[preprocess]``: how frames are read and corrected."""

    __pydantic_config__ = _STRICT

    reader: Annotated[
        Literal["cellh5", "imagej", "bioformats"],
        Doc("Reader of the movies; imagej is chosen when fiji_path is given."),
    ] = "cellh5"
    fiji_path: Annotated[str, Doc("imagej: a Fiji.app folder or a Maven coordinate.")] = ""
    bioformats_jar: Annotated[Path | None, Doc("bioformats: the bioformats_package.jar.")] = None
    perform_illumination_correction: Annotated[
        bool, Doc("Correct the illumination with BaSiC.")
    ] = True
    illumination_context: Annotated[
        Literal["frames", "movie", "plate"],
        Doc("What BaSiC is fitted on: three frames, the whole movie, or many wells of the plate."),
    ] = "frames"
    channel: Annotated[int, Ge(0), Doc("Channel of the movie, counted from 0.")] = 0
    z: Annotated[
        int | None, Ge(0), Doc("z-plane, counted from 0; needed when there are several.")
    ] = None
    plate_wells: Annotated[
        int, Ge(1), Doc("plate: largest number of wells that a plate's model is fitted on.")
    ] = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSettings:
    """``[segment]``: how nuclei are found; the keys of the first IDR_stream's model_specs."""

    __pydantic_config__ = _STRICT

    model_type: Annotated[
        str,
        Doc("A Cellpose model name, a model file, or idrstream-nuclei (shipped)."),
        Scope.RESULT,
    ] = "idrstream-nuclei"
    channels: Annotated[
        tuple[Channel, Channel],
        BeforeValidator(as_tuple),
        Doc("Cellpose channels; [0, 0] for one grey channel."),
        Scope.RESULT,
    ] = (0, 0)
    diameter: Annotated[
        float,
        Ge(0),
        AllowInfNan(False),
        Doc("Nucleus diameter in pixels; 0: estimated for every frame."),
        Scope.RESULT,
    ] = 0.0
    flow_threshold: Annotated[
        float,
        Ge(0),
        AllowInfNan(False),
        Doc("Largest flow error of a mask; 0 keeps all."),
        Scope.RESULT,
    ] = 0.8
    cellprob_threshold: Annotated[
        float, AllowInfNan(False), Doc("Smallest nucleus score of a pixel."), Scope.RESULT
    ] = 0.0
    remove_edge_masks: Annotated[
        bool, Doc("Leave out nuclei that touch the image border."), Scope.RESULT
    ] = True
    min_size: Annotated[
        int, Ge(-1), Doc("Leave out masks of fewer pixels; -1 keeps all."), Scope.RESULT
    ] = 15
    tile_batch_size: Annotated[int, Ge(1), Doc("Tiles that a GPU takes together.")] = 32
    size_model: Annotated[Path | None, Doc("Size model of a Cellpose model file.")] = None
    gpu: Annotated[Literal["auto"] | bool, Doc("Cellpose on a GPU: auto, true or false.")] = "auto"
    precision: Annotated[
        Literal["auto", "single", "bfloat16"],
        Doc("Of Cellpose's network; auto takes bfloat16 where the hardware computes in it."),
        Scope.RESULT,
    ] = "auto"
    threads: Annotated[
        int | None, Ge(1), Doc("Threads of segmentation; by default those that PyTorch may use.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSettings:
    """``[profile]``: DeepProfiler's configuration; empty paths mean the shipped files."""

    __pydantic_config__ = _STRICT

    engine: Annotated[
        Literal["torch", "deepprofiler"],
        Doc("torch: PyTorch, in this process; deepprofiler: DeepProfiler, in one of its own."),
    ] = "torch"
    profile_device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], Doc("torch: where to compute.")
    ] = "auto"
    profile_precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Doc("torch: of the network; only float32 equals DeepProfiler."),
    ] = "float32"
    crops_at_once: Annotated[
        int | None, Ge(1), Doc("torch: crops that go through the network together.")
    ] = None
    dp_gpu: Annotated[str, Doc("Number of the GPU to profile on; -1 for none.")] = "0"
    dp_config: Annotated[Path | None, Doc("DeepProfiler configuration (JSON).")] = None
    dp_checkpoint: Annotated[Path | None, Doc("DeepProfiler checkpoint (.h5 or .hdf5).")] = None
    profile_timeout_s: Annotated[
        float, Gt(0), Doc("Seconds after which a DeepProfiler run of one batch is given up.")
    ] = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a stream, checked."""

    __pydantic_config__ = _STRICT

    stream: StreamSettings
    download: DownloadSettings = field(default_factory=DownloadSettings)
    preprocess: PreprocessSettings = field(default_factory=PreprocessSettings)
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    profile: ProfileSettings = field(default_factory=ProfileSettings)


SECTIONS: Mapping[str, type[Any]] = {
    "stream": StreamSettings,
    "download": DownloadSettings,
    "preprocess": PreprocessSettings,
    "segment": SegmentSettings,
    "profile": ProfileSettings,
}
"""The sections of a TOML file by name."""


def all_options() -> dict[str, Option]:
    """Return every option of every section by name."""
    return {
        option.name: option for name, kind in SECTIONS.items() for option in options_in(kind, name)
    }
