"""The components of a stream, and the calls that make them from a user's values."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from idrstream.config import (
    DownloadSettings,
    PreprocessSettings,
    ProfileSettings,
    SegmentSettings,
    checked,
    takes_options,
)
from idrstream.errors import ConfigError

if TYPE_CHECKING:
    from idrstream.config import Settings
    from idrstream.download import Downloader
    from idrstream.formats import MovieReader
    from idrstream.preprocess import BasePreprocessor
    from idrstream.profile import DeepProfilerProject, Engine
    from idrstream.run.components import Components
    from idrstream.segment import Segmentor

log = logging.getLogger(__name__)

PathLike = str | Path
IlluminationContext = Literal["frames", "movie", "plate"]


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
        self.tmp_dir = Path(tmp_dir)
        self.final_data_dir = Path(final_data_dir)
        self.complete_timeout_s = DownloadSettings().complete_timeout_s
        self.plate_wells = PreprocessSettings().plate_wells
        self.downloader: Downloader | None = None
        self.preprocessor: BasePreprocessor | None = None
        self.segmentor: Segmentor | None = None
        self.project: DeepProfilerProject | None = None
        self.engine: Engine | None = None
        self.settings: Settings | None = None

    @property
    def DP_project_path(self) -> Path:  # noqa: N802, the first IDR_stream's name
        """Folder of the DeepProfiler project."""
        return self.tmp_dir / "DP_project"

    def init_downloader(
        self,
        aspera_path: PathLike | Downloader,
        aspera_key_path: PathLike | None = None,
        screens_path: PathLike | None = None,
        idr_index_name: str | None = None,
    ) -> None:
        """Set where movies come from.

        Parameters
        ----------
        aspera_path : path or Downloader
            The ``ascp`` program, or any object with ``download(task, folder)`` or the first
            IDR_stream's ``download_image(plate, well_num, save_dir)``; then nothing else is
            needed.
        aspera_key_path : path
            Private key of the archive.
        screens_path : path, optional
            idr0013's ``plates.tsv``; not needed when every row of the table has its ``Path``.
        idr_index_name : str, optional
            Folder of the study in the archive, for example ``idr0013-neumann-mitocheck``.

        Raises
        ------
        ConfigError
            If a path is missing.
        MissingToolError
            If the program is not there.
        """
        from idrstream.download import AsperaDownloader, as_downloader

        if not isinstance(aspera_path, (str, Path)):
            self.downloader = as_downloader(aspera_path)
        else:
            if aspera_key_path is None:
                msg = "init_downloader needs aspera_key_path beside aspera_path"
                raise ConfigError(msg)
            study = idr_index_name or self.idr_id
            self.downloader = AsperaDownloader(
                Path(aspera_path), Path(aspera_key_path), screens_path, study
            )
        self._set("Downloader", self.downloader)

    def init_preprocessor(
        self,
        fiji_path: PathLike | BasePreprocessor | None = None,
        perform_illumination_correction: bool = True,
        *,
        reader: MovieReader | None = None,
        illumination_context: IlluminationContext = "frames",
    ) -> None:
        """Set how movies are read and corrected.

        Parameters
        ----------
        fiji_path : path, BasePreprocessor or None
            A Fiji.app or Maven coordinate for ImageJ, a preprocessor or any object with
            ``process(movie)``, or None for the built-in CellH5 reader.
        perform_illumination_correction : bool
            Whether to correct the illumination with BaSiC.
        reader : MovieReader, optional
            A reader to use instead, for example `BioFormatsReader`.
        illumination_context : {"frames", "movie", "plate"}
            What BaSiC is fitted on: the frame and two neighbours (the whole movie when several
            frames are wanted), always the whole movie, or frames of many wells of the plate.
        """
        from idrstream.formats import make_reader
        from idrstream.preprocess import Preprocessor, as_preprocessor, make_illumination

        if fiji_path is not None and not isinstance(fiji_path, (str, Path)):
            self.preprocessor = as_preprocessor(fiji_path)
        else:
            name = illumination_context if perform_illumination_correction else "off"
            self.preprocessor = Preprocessor(
                make_reader(reader if reader is not None else fiji_path),
                make_illumination(name, self.final_data_dir / "illumination"),
            )
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
        from idrstream.segment import CellPoseSegmentor, as_segmentor

        if isinstance(model_specs, (SegmentSettings, Mapping)):
            self.segmentor = CellPoseSegmentor(model_specs)
        else:
            self.segmentor = as_segmentor(model_specs)
        self._set("Segmentor", self.segmentor)

    @takes_options(ProfileSettings)
    def copy_DP_files(  # noqa: N802, the first IDR_stream's name
        self,
        config_path: PathLike | None = None,
        checkpoint_path: PathLike | None = None,
        *,
        engine: Engine | str | None = None,
        **options: Any,
    ) -> None:
        """Set DeepProfiler's configuration and checkpoint, checked, in the project folder.

        Parameters
        ----------
        config_path, checkpoint_path : path, optional
            The files; by default those that ship with idrstream.
        engine : {"torch", "deepprofiler"} or Engine
            What computes the features: PyTorch, or DeepProfiler itself; or an object that does.
        **options
            The options of `ProfileSettings`.

        Raises
        ------
        ConfigError
            Naming the key of the configuration that is missing or wrong.
        """
        from idrstream import models
        from idrstream.profile import DeepProfilerProject, make_engine

        given = {"dp_config": config_path, "dp_checkpoint": checkpoint_path, "engine": engine}
        own = engine if engine is not None and not isinstance(engine, str) else None
        options |= {k: v for k, v in given.items() if v is not None and v is not own}
        settings = checked(ProfileSettings, options, "copy_DP_files")
        config = settings.dp_config or models.profiler_config_path()
        checkpoint = settings.dp_checkpoint or models.profiler_checkpoint_path()
        project = DeepProfilerProject(self.DP_project_path, config, checkpoint)
        project.prepare()
        self.project = project
        self.engine = make_engine(own or settings)
        self.settings = None
        log.info("Copied Deep Profiler config and checkpoint files")

    def components(self) -> Components:
        """Return the components of the stream.

        Raises
        ------
        ConfigError
            If one is missing; the message names the call that makes it.
        """
        from idrstream.run.components import Components

        made = {
            "downloader": (self.downloader, "init_downloader"),
            "preprocessor": (self.preprocessor, "init_preprocessor"),
            "segmentor": (self.segmentor, "init_segmentor"),
            "project": (self.project, "copy_DP_files"),
            "engine": (self.engine, "copy_DP_files"),
        }
        missing = dict.fromkeys(call for part, call in made.values() if part is None)
        if missing:
            msg = f"call {', '.join(missing)} before the stream is run"
            raise ConfigError(msg)
        components: dict[str, Any] = {name: component for name, (component, _) in made.items()}
        return Components(**components)

    def _set(self, what: str, part: object) -> None:
        from idrstream.describe import describe_part

        self.settings = None  # of another part; build_stream sets them when all is done
        log.info("%s initialized: %s", what, describe_part(part))
