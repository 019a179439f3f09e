"""The components of a stream, and the calls that make them from a user's values."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.config import (
    DownloadSettings,
    PreprocessSettings,
    ProfileSettings,
    SegmentSettings,
    absolute_path,
    checked,
    takes_options,
)
from idrstream.errors import ConfigError

if TYPE_CHECKING:
    from idrstream.config import Settings
    from idrstream.download import Downloader
    from idrstream.formats import MovieReader
    from idrstream.preprocess import BasePreprocessor
    from idrstream.profile import DeepModel, FeatureEngine
    from idrstream.run.components import Components
    from idrstream.segment import Segmentor

log = logging.getLogger(__name__)

PathLike = str | Path


def refuse_one_folder(tmp_dir: PathLike, final_data_dir: PathLike) -> None:
    """Raise if intermediate files and results were to lie in one folder.

    Raises
    ------
    ConfigError
        Names the folder.
    """
    if Path(tmp_dir).resolve() == Path(final_data_dir).resolve():
        msg = (
            f"tmp_dir and final_data_dir are the same folder, {final_data_dir}: give tmp_dir one "
            "of its own, which the stream fills and empties"
        )
        raise ConfigError(msg)


def stream_path(given: PathLike, name: str) -> Path:
    """Return a path that stays the same whatever becomes the working folder.

    Raises
    ------
    ConfigError
        If it cannot be one; names the parameter.
    """
    try:
        return absolute_path(given)
    except ValueError as error:
        msg = f"{name}: {error}"
        raise ConfigError(msg) from error


class StreamParts:
    """The components of a stream object: none at first; the ``init_`` calls set them.

    Parameters
    ----------
    idr_id : str
        Accession of the study.
    tmp_dir, final_data_dir : path
        Folders for intermediate files and for the results.
    """

    def __init__(self, idr_id: str, tmp_dir: PathLike, final_data_dir: PathLike) -> None:
        self.idr_id = idr_id
        self.tmp_dir = stream_path(tmp_dir, "tmp_dir")
        self.final_data_dir = stream_path(final_data_dir, "final_data_dir")
        refuse_one_folder(self.tmp_dir, self.final_data_dir)
        self.complete_timeout_s = DownloadSettings().complete_timeout_s
        self.plate_wells = PreprocessSettings().plate_wells
        self.downloader: Downloader | None = None
        self.preprocessor: BasePreprocessor | None = None
        self.segmentor: Segmentor | None = None
        self.model: DeepModel | None = None
        self.engine: FeatureEngine | None = None
        self.settings: Settings | None = None

    @property
    def DP_project_path(self) -> Path:  # noqa: N802, the first IDR_stream's name
        """Folder of index and locations of a batch in progress, in DeepProfiler's layout."""
        from idrstream.run.components import PROJECT, WORK

        return self.tmp_dir / WORK / PROJECT

    @takes_options(DownloadSettings)
    def init_downloader(
        self,
        aspera_path: PathLike | DownloadSettings | Downloader | None = None,
        aspera_key_path: PathLike | None = None,
        screens_path: PathLike | None = None,
        idr_index_name: str | None = None,
        **options: Any,
    ) -> None:
        """Set where movies come from: the public archive over HTTPS and FTP by default.

        Parameters
        ----------
        aspera_path : path, DownloadSettings or Downloader, optional
            The ``ascp`` program, for downloads by Aspera; all settings at once; or any object with
            ``download(task, folder)`` or the first IDR_stream's
            ``download_image(plate, well_num, save_dir)``.
        aspera_key_path : path, optional
            Private key for Aspera.
        screens_path : path, optional
            idr0013's ``plates.tsv``; not needed when every row of the table has its ``Path``.
        idr_index_name : str, optional
            Folder of the study in the archive, for example ``idr0013-neumann-mitocheck``.
        **options
            The options of `DownloadSettings`.

        Raises
        ------
        ConfigError
            If an option is missing or wrong.
        MissingToolError
            If the program is missing.

        Examples
        --------
        >>> stream.init_downloader(screens_path="plates.tsv")  # doctest: +SKIP
        >>> stream.init_downloader(method="local", root="/mnt/idr")  # doctest: +SKIP
        >>> stream.init_downloader("/opt/ascp", "key", "plates.tsv")  # doctest: +SKIP
        """
        from idrstream.download import as_downloader, make_downloader

        settings = DownloadSettings()
        if isinstance(aspera_path, DownloadSettings):
            settings = aspera_path
            self.downloader = make_downloader(settings)
        elif aspera_path is None or isinstance(aspera_path, (str, Path)):
            if aspera_path is not None:
                options = {"method": "aspera", **options}
            if idr_index_name is None and self.idr_id != "idr0013":
                idr_index_name = self.idr_id
            given = {
                "aspera_path": aspera_path,
                "aspera_key_path": aspera_key_path,
                "screens_path": screens_path,
                "idr_index_name": idr_index_name,
            }
            options |= {name: value for name, value in given.items() if value is not None}
            settings = checked(DownloadSettings, options, "init_downloader")
            self.downloader = make_downloader(settings)
        else:
            self.downloader = as_downloader(aspera_path)
        self.complete_timeout_s = settings.complete_timeout_s
        self._set("Downloader", self.downloader)

    @takes_options(PreprocessSettings)
    def init_preprocessor(
        self,
        fiji_path: PathLike | PreprocessSettings | BasePreprocessor | None = None,
        perform_illumination_correction: bool = True,
        *,
        reader: MovieReader | str | None = None,
        **options: Any,
    ) -> None:
        """Set how movies are read and corrected.

        Parameters
        ----------
        fiji_path : path, PreprocessSettings, BasePreprocessor or None
            A Fiji.app or Maven coordinate for ImageJ; all settings at once; a preprocessor or any
            object with ``process(movie)``; or None for the built-in CellH5 reader.
        perform_illumination_correction : bool
            Whether to correct the illumination with BaSiC.
        reader : MovieReader or str, optional
            A reader to use instead, or the name of one.
        **options
            The options of `PreprocessSettings`.

        Raises
        ------
        ConfigError
            If an option is missing or wrong.
        """
        from idrstream.preprocess import as_preprocessor, make_preprocessor

        settings, own = PreprocessSettings(), None
        if isinstance(fiji_path, PreprocessSettings):
            settings = fiji_path
        elif fiji_path is None or isinstance(fiji_path, (str, Path)):
            options["perform_illumination_correction"] = perform_illumination_correction
            if fiji_path is not None:
                options["fiji_path"] = str(fiji_path)
            if isinstance(reader, str):
                options["reader"] = reader
            else:
                own = reader
            settings = checked(PreprocessSettings, options, "init_preprocessor")
        else:
            self.preprocessor = as_preprocessor(fiji_path)
            self._set("Preprocessor", self.preprocessor)
            return
        self.preprocessor = make_preprocessor(
            settings, self.final_data_dir / "illumination", reader=own
        )
        self.plate_wells = settings.plate_wells
        self._set("Preprocessor", self.preprocessor)

    def init_segmentor(self, model_specs: SegmentSettings | Mapping[str, Any] | Segmentor) -> None:
        """Set how nuclei are found.

        Parameters
        ----------
        model_specs : SegmentSettings, mapping or Segmentor
            The settings of ``[segment]`` by name: ``model_type`` (a Cellpose name, a model file or
            ``idrstream-nuclei``), ``channels``, ``diameter`` (pixels; 0 or None: estimated),
            ``flow_threshold``, ``cellprob_threshold``, ``remove_edge_masks`` and others; or an
            object with ``segment(frame)``.

        Raises
        ------
        ConfigError
            Naming an unknown key or wrong value.
        """
        from idrstream.segment import make_segmentor

        self.segmentor = make_segmentor(model_specs, self.final_data_dir / "diameters")
        self._set("Segmentor", self.segmentor)

    @takes_options(ProfileSettings)
    def copy_DP_files(  # noqa: N802, the first IDR_stream's name
        self,
        config_path: PathLike | None = None,
        checkpoint_path: PathLike | None = None,
        *,
        engine: FeatureEngine | str | None = None,
        **options: Any,
    ) -> None:
        """Set DeepProfiler's configuration and checkpoint, checked, and what computes the features.

        Parameters
        ----------
        config_path, checkpoint_path : path, optional
            The files; by default those that ship with idrstream.
        engine : {"torch", "deepprofiler", "model"}, other text or FeatureEngine
            What computes the features: PyTorch, DeepProfiler itself, the network in
            ``model_folder``, or an installed plug-in of that name; or an object that does.
        **options
            The options of `ProfileSettings`.

        Raises
        ------
        ConfigError
            Naming the key of the configuration that is missing or wrong.
        """
        from idrstream import models
        from idrstream.profile import DeepModel, make_engine
        from idrstream.run.components import ENGINE, WORK

        given = {"dp_config": config_path, "dp_checkpoint": checkpoint_path, "engine": engine}
        own = engine if engine is not None and not isinstance(engine, str) else None
        options |= {k: v for k, v in given.items() if v is not None and v is not own}
        settings = checked(ProfileSettings, options, "copy_DP_files")
        self.model = DeepModel.read(
            settings.dp_config or models.profiler_config_path(),
            settings.dp_checkpoint or models.profiler_checkpoint_path(),
        )
        self.engine = make_engine(own or settings, self.model, self.tmp_dir / WORK / ENGINE)
        self._set("Engine", self.engine)

    def components(self, *, extract: bool = False) -> Components:
        """Return the components of the stream.

        Parameters
        ----------
        extract : bool
            Whether planes are extracted: what finds and measures objects need not be set then.

        Raises
        ------
        ConfigError
            If one is missing; the message names the call that makes it.
        """
        from idrstream.download.large import LargeImages, ReferenceDownloader
        from idrstream.preprocess.tiles import TilePreprocessor
        from idrstream.run.components import Components

        if extract and self.segmentor is None:
            self.init_segmentor(SegmentSettings())
        if extract and self.engine is None:
            self.copy_DP_files()
        made = {
            "downloader": (self.downloader, "init_downloader"),
            "preprocessor": (self.preprocessor, "init_preprocessor"),
            "segmentor": (self.segmentor, "init_segmentor"),
            "model": (self.model, "copy_DP_files"),
            "engine": (self.engine, "copy_DP_files"),
        }
        missing = dict.fromkeys(call for part, call in made.values() if part is None)
        if missing:
            msg = f"call {', '.join(missing)} before the stream is run"
            raise ConfigError(msg)
        components: dict[str, Any] = {name: component for name, (component, _) in made.items()}
        if isinstance(self.preprocessor, TilePreprocessor):  # it reads images where they are
            self.preprocessor.images = LargeImages(
                components["downloader"], z=self.preprocessor.settings.z
            )
            components["downloader"] = ReferenceDownloader(components["downloader"])
        return Components(**components)

    def _set(self, what: str, part: object) -> None:
        from idrstream.describe import describe_part

        self.settings = None  # of another part; build_stream sets them when all is done
        log.info("%s initialized: %s", what, describe_part(part))
