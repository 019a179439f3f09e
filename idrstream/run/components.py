"""What a stream is made of: its folders and its components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.config import DownloadSettings, described_options

if TYPE_CHECKING:
    from idrstream.config import RunOptions
    from idrstream.download import Downloader
    from idrstream.preprocess import BasePreprocessor
    from idrstream.profile import DeepModel, FeatureEngine
    from idrstream.segment import Segmentor


WORK = "idrstream_work"
"""Folder in ``tmp_dir`` that a stream makes, marks as its own and empties."""
PROJECT = "DP_project"
"""Folder in it for the index and locations of batches in progress."""
ENGINE = "DP_engine"
"""Folder in it for the project that DeepProfiler works in."""


_NAMES_CHANNELS = ("classical", "several")
"""Engines whose columns are in the order of the channels of the frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The components of a stream, all of them set."""

    downloader: Downloader
    preprocessor: BasePreprocessor
    segmentor: Segmentor
    model: DeepModel
    engine: FeatureEngine

    def check_channels(self) -> None:
        """Check that the channels that are read are those that segmentor and engine need.

        Raises
        ------
        idrstream.errors.ConfigError
            When one lacks.
        """
        if names := self.preprocessor.channel_names:
            self.segmentor.check_channels(names)
            self.engine.check_channels(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPaths:
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
        See `DownloadSettings`.
    plate_wells : int
        See `PreprocessSettings`.
    """

    study: str
    folder: Path
    tmp_dir: Path
    log: Path | None = None
    settings: Mapping[str, Any] | None = None
    complete_timeout_s: float
    plate_wells: int

    @property
    def work_dir(self) -> Path:
        """The folder that the stream makes and empties."""
        return self.tmp_dir / WORK

    @property
    def project_dir(self) -> Path:
        """Where index and locations of the first batch in progress are."""
        return self.work_dir / PROJECT


def identity_of(paths: StreamPaths, components: Components, options: RunOptions) -> dict[str, Any]:
    """Return the settings that change a result, JSON-ready; see `idrstream.folder.identity`."""
    from idrstream.folder.identity import describe_stream
    from idrstream.run.extracting import for_extraction

    components = for_extraction(components, options)
    identity = describe_stream(
        paths.study,
        {
            "preprocessor": components.preprocessor,
            "segmentor": components.segmentor,
            **({} if options.extract else {"profiler": components.model}),
            "engine": components.engine,
        },
        extra_metadata=options.extra_metadata,
        output_format=options.output_format,
    )
    if identity["engine"].get("name") in _NAMES_CHANNELS:
        identity["engine"]["channels"] = list(components.preprocessor.channel_names)
    if described := described_options(options):
        identity["options"] = described
    settings = getattr(components.downloader, "settings", None)
    known = settings if isinstance(settings, DownloadSettings) else DownloadSettings()
    identity["download"] = described_options(known)
    if _is_by_plate(identity["preprocessor"]):
        identity["preprocessor"]["plate_wells"] = paths.plate_wells
    if identity["segmentor"].get("diameter") == "plate":
        identity["segmentor"]["plate_wells"] = paths.plate_wells
    return identity


def _is_by_plate(preprocessor: Mapping[str, Any]) -> bool:
    """Return whether a preprocessor, as it describes itself, fits models of plates."""
    several = preprocessor.get("channels")
    found = several.values() if isinstance(several, Mapping) else (preprocessor,)
    illuminations = [one.get("illumination") for one in found]
    return any(isinstance(one, Mapping) and one.get("context") == "plate" for one in illuminations)
