"""The sections of the settings: every option of idrstream, declared once.

The TOML file, environment variables, command-line options and their help, keyword arguments, the
journal, provenance and the reference page of the documentation all come from these classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Gt, Le, Len
from pydantic import AfterValidator, AllowInfNan, BeforeValidator
from typing_extensions import Doc

from idrstream.config.cluster_section import ClusterSettings
from idrstream.config.download_section import DownloadSettings
from idrstream.config.options import (
    STRICT,
    Option,
    Power,
    Scope,
    as_batch_numbers,
    as_number,
    as_tuple,
    named_channels,
    options_in,
    valid_distance,
    valid_size,
    valid_size_or_zero,
)
from idrstream.config.paths import (
    FilePath,
    FolderPath,
    OptionalFile,
    OptionalFolder,
    PathOrCoordinate,
    PathOrModel,
    Program,
)

Channel = Annotated[int, Ge(0), Le(3)]

ClassicalFamily = Literal[
    "size_shape", "zernike", "neighbours", "intensity", "granularity", "radial_distribution",
    "texture", "colocalisation", "costes",
]  # fmt: skip
"""Families of CellProfiler's measurements."""


def as_families(value: Any) -> Any:
    """Return names of families; ``all`` for each."""
    value = as_tuple(value)
    return get_args(ClassicalFamily) if value == ("all",) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What one call of `IdrStream.run_stream` takes beside its table."""

    __pydantic_config__ = STRICT

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
    plate_format: Annotated[
        Literal[6, 12, 24, 48, 96, 384, 1536] | None,
        BeforeValidator(as_number),
        Doc(
            "Wells of a plate, where neither the table nor the study says so; needed when wells "
            "have numbers only."
        ),
    ] = None
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
    verify: Annotated[
        bool,
        Doc("Read every finished table before the start; compute changed ones again."),
        Scope.CALL,
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
    keep_masks: Annotated[
        bool,
        Doc("Keep the label images in the output folder, as OME-Zarr labels; of batches to come."),
    ] = False
    track: Annotated[
        bool, Doc("Follow the objects of each movie from frame to frame."), Scope.RESULT
    ] = False
    track_max_step: Annotated[
        float,
        Gt(0),
        Doc("How far an object moves between frames at most, in its diameters."),
        Scope.RESULT,
    ] = 1.5
    track_max_gap: Annotated[
        int, Ge(0), Doc("Frames in a row in which a tracked object may be missing."), Scope.RESULT
    ] = 2
    extract: Annotated[
        bool,
        Doc(
            "Write every plane of the images into one OME-Zarr per plate, instead of segmenting "
            "and profiling; as idrstream extract does."
        ),
        Scope.RESULT,
    ] = False
    keep_project: Annotated[
        bool,
        Doc("Keep each batch's DeepProfiler project with its images, for a look; large."),
    ] = False
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
            "default all when there is no GPU, and then some of them do two things at once."
        ),
    ] = None
    frames_at_once: Annotated[
        int | None, Ge(1), Doc("Frames segmented together; chosen for the machine.")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings(RunOptions):
    """``[stream]``: what to process, how, and where results go."""

    table: Annotated[FilePath, Doc("Table to process, tab- or comma-separated."), Scope.LOCAL]
    final_data_dir: Annotated[FolderPath, Doc("Output folder."), Scope.LOCAL, Power.WRITES]
    tmp_dir: Annotated[
        FolderPath,
        Doc("Folder for intermediate files, emptied after every batch."),
        Scope.LOCAL,
        Power.WRITES,
    ]
    idr_id: Annotated[str, Doc("Accession of the study.")] = "idr0013"
    log: Annotated[
        OptionalFile, Doc("Log file, appended to; none by default."), Scope.LOCAL, Power.WRITES
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessSettings:
    """``[preprocess]``: how frames are read and corrected."""

    __pydantic_config__ = STRICT

    preprocessor: Annotated[
        str, Doc("idrstream, which the other options are for, or an installed plug-in.")
    ] = "idrstream"
    reader: Annotated[
        str,
        Doc(
            "Reader of the movies: auto (TIFF and CellH5, without Java), cellh5, tiff, imagej, "
            "bioformats, or an installed plug-in. imagej is chosen when fiji_path is given."
        ),
    ] = "auto"
    fiji_path: Annotated[
        PathOrCoordinate, Doc("imagej: a Fiji.app folder or a Maven coordinate."), Power.RUNS
    ] = ""
    bioformats_jar: Annotated[
        OptionalFile, Doc("bioformats: the bioformats_package.jar."), Power.RUNS
    ] = None
    perform_illumination_correction: Annotated[
        bool, Doc("Correct the illumination with BaSiC.")
    ] = True
    illumination_context: Annotated[
        Literal["frames", "movie", "plate"],
        Doc("What BaSiC is fitted on: three frames, the whole movie, or many wells of the plate."),
    ] = "frames"
    illumination_darkfield: Annotated[
        bool,
        Doc(
            "Also let BaSiC estimate what the camera adds in the dark; needs many frames, best "
            "with illumination_context plate."
        ),
    ] = False
    channel: Annotated[
        int, Ge(0), Doc("Channel of the movie, counted from 0, when only one is read.")
    ] = 0
    image_channels: Annotated[
        tuple[str, ...],
        BeforeValidator(as_tuple),
        AfterValidator(named_channels),
        Doc(
            "Several channels to read, as NAME=NUMBER, counted from 0, or NAME=CHANNEL by the "
            "channel's name in the table, for example DNA=0,ER=2 or DNA=Hoechst; without numbers "
            "in this order. By default the one of channel, named DNA."
        ),
    ] = ()
    z: Annotated[
        int | None, Ge(0), Doc("z-plane, counted from 0; needed when there are several.")
    ] = None
    projection: Annotated[
        Literal["max", "mean", "sharpest"] | None,
        Doc("One image of all z-planes instead of one plane; sharpest takes the best focused."),
    ] = None
    series: Annotated[
        int | None,
        Ge(0),
        Doc(
            "tiff, bioformats: image to read of every file, counted from 0; by default the row's "
            "Site is the number of its image, where a file has several."
        ),
    ] = None
    tile_px: Annotated[
        int,
        Ge(0),
        Doc(
            "Side of the tiles that images larger than memory are cut into, overlap included, "
            "such as 3104; 0: images are read whole. Illumination is not corrected across tiles."
        ),
    ] = 0
    tile_overlap_px: Annotated[
        int | None,
        Ge(0),
        Doc(
            "By how much tiles overlap, at least: by default 8 diameters, or one window of the "
            "network if that is more."
        ),
    ] = None
    plate_wells: Annotated[
        int, Ge(1), Doc("plate: largest number of wells that a plate's estimates are made on.")
    ] = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSettings:
    """``[segment]``: how nuclei are found; the keys of the first IDR_stream's model_specs."""

    __pydantic_config__ = STRICT

    segmentor: Annotated[
        str, Doc("cellpose, which the other options are for, or an installed plug-in.")
    ] = "cellpose"
    model_type: Annotated[
        PathOrModel,
        Doc(
            "A Cellpose model name, a model file, or a shipped model: idrstream-nuclei, or "
            "idrstream-nuclei-fast, with 0.57 times its multiplications."
        ),
        Scope.RESULT,
    ] = "idrstream-nuclei"
    channels: Annotated[
        tuple[Channel, Channel],
        BeforeValidator(as_tuple),
        Doc("Cellpose channels; [0, 0] for one grey channel."),
        Scope.RESULT,
    ] = (0, 0)
    segment_channel: Annotated[
        str, Doc("Name of the channel that is segmented; by default the first."), Scope.RESULT
    ] = ""
    second_channel: Annotated[
        str,
        Doc(
            "Name of a second channel for models that take two, as Cellpose's cyto3: the nuclei, "
            "where segment_channel shows cells. By default none."
        ),
        Scope.RESULT,
    ] = ""
    diameter: Annotated[
        Annotated[float, Ge(0), AllowInfNan(False)] | Literal["plate"],
        Doc(
            "Nucleus diameter in pixels; 0: estimated for every frame; plate: once for each plate, "
            "on a frame of some of its wells."
        ),
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
    cells: Annotated[
        Literal["none", "expand", "propagate", "cellpose"],
        Doc(
            "How cells are found around the nuclei: not at all, by growing the nuclei, by a seeded "
            "watershed on a channel as CellProfiler's Propagation, or by a second Cellpose model."
        ),
        Scope.RESULT,
    ] = "none"
    cell_distance: Annotated[
        str,
        AfterValidator(valid_distance),
        Doc(
            "How far a cell reaches from its nucleus, such as 10px or 3.2um; by default 10px with "
            "expand, any distance with propagate."
        ),
        Scope.RESULT,
    ] = ""
    pixel_size_um: Annotated[
        float,
        Ge(0),
        AllowInfNan(False),
        Doc("Side of a pixel in micrometres, for distances in um; 0: unknown."),
        Scope.RESULT,
    ] = 0.0
    cell_channels: Annotated[
        tuple[str, ...],
        BeforeValidator(as_tuple),
        Doc(
            "propagate, cellpose: names of the channels that show the cells; one, or for cellpose "
            "two: the cells' and the nuclei's."
        ),
        Scope.RESULT,
    ] = ()
    cell_model: Annotated[
        PathOrModel, Doc("cellpose: model of the cells, as model_type."), Scope.RESULT
    ] = "cyto3"
    cell_diameter: Annotated[
        float,
        Ge(0),
        AllowInfNan(False),
        Doc("cellpose: diameter of the cells in pixels; 0: estimated for every frame."),
        Scope.RESULT,
    ] = 0.0
    tile_batch_size: Annotated[int, Ge(1), Doc("Tiles that a GPU takes together.")] = 32
    size_model: Annotated[OptionalFile, Doc("Size model of a Cellpose model file.")] = None
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

    __pydantic_config__ = STRICT

    engine: Annotated[
        str,
        Doc(
            "torch: DeepProfiler's network in PyTorch, in this process; deepprofiler: DeepProfiler "
            "in one of its own; classical: CellProfiler's measurements; model: the network in "
            "model_folder; or the name of an installed plug-in."
        ),
    ] = "torch"
    engines: Annotated[
        tuple[str, ...],
        BeforeValidator(as_tuple),
        Doc(
            "Several engines, whose features stand side by side in one table, for example torch, "
            "classical; by default the one of engine."
        ),
    ] = ()
    deep_objects: Annotated[
        Literal["nuclei", "cells"],
        Doc("Kind of objects that torch, deepprofiler and model cut their crops around."),
    ] = "nuclei"
    classical_features: Annotated[
        tuple[ClassicalFamily, ...],
        BeforeValidator(as_families),
        Len(min_length=1),
        Doc("classical: what is measured; all for everything."),
    ] = ("size_shape", "intensity")
    classical_processes: Annotated[
        int | None, Ge(1), Doc("classical: processes that measure; by default one per processor.")
    ] = None
    model_folder: Annotated[
        OptionalFolder,
        Doc("model: folder with model.pt2 or model.pt, which is code, and model.toml."),
        Power.RUNS,
    ] = None
    profile_device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], Doc("torch, model: where to compute.")
    ] = "auto"
    profile_precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Doc("torch, model: of the network; only float32 equals DeepProfiler."),
    ] = "float32"
    crops_at_once: Annotated[
        int | None, Ge(1), Doc("torch, model: crops that go through the network together.")
    ] = None
    dp_gpu: Annotated[str, Doc("Number of the GPU to profile on; -1 for none.")] = "0"
    dp_config: Annotated[OptionalFile, Doc("DeepProfiler configuration (JSON).")] = None
    dp_checkpoint: Annotated[OptionalFile, Doc("DeepProfiler checkpoint (.h5 or .hdf5).")] = None
    deepprofiler_python: Annotated[
        Program,
        Doc(
            "deepprofiler: the Python that DeepProfiler is installed for; by default the one that "
            "runs idrstream."
        ),
        Scope.LOCAL,
        Power.RUNS,
    ] = None
    profile_timeout_s: Annotated[
        float,
        Gt(0),
        Doc(
            "Seconds after which DeepProfiler's run of a batch, or classical's measuring of a "
            "frame, is given up."
        ),
    ] = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a stream, checked."""

    __pydantic_config__ = STRICT

    stream: StreamSettings
    download: DownloadSettings = field(default_factory=DownloadSettings)
    preprocess: PreprocessSettings = field(default_factory=PreprocessSettings)
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    profile: ProfileSettings = field(default_factory=ProfileSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)


SECTIONS: Mapping[str, type[Any]] = {
    "stream": StreamSettings,
    "download": DownloadSettings,
    "preprocess": PreprocessSettings,
    "segment": SegmentSettings,
    "profile": ProfileSettings,
    "cluster": ClusterSettings,
}
"""The sections of a TOML file by name."""


def all_options() -> dict[str, Option]:
    """Return every option of every section by name."""
    return {
        option.name: option for name, kind in SECTIONS.items() for option in options_in(kind, name)
    }
