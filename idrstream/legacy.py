"""Names and calls of the first IDR_stream, for its notebooks and scripts.

With ``from idrstream.legacy import ...`` (or ``from idrstream import ...``) they work unchanged:
``DeepProfilerRun`` with ``run_dp_stream``, ``BasicpyPreprocessor`` with ``save_frames``,
``AsperaDownloader`` with ``download_image``. ``CellPoseSegmentor`` kept its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from idrstream.config import DownloadSettings, checked
from idrstream.download.downloader import TransportDownloader
from idrstream.download.factory import build_locator, build_transport
from idrstream.download.fetch import fetch_movie
from idrstream.errors import FrameError
from idrstream.formats.make import make_reader
from idrstream.preprocess.factory import IlluminationName, make_illumination
from idrstream.preprocess.preprocessor import Preprocessor
from idrstream.records import Frame, ImageTask, Movie, Skipped
from idrstream.screen.study.idr0013 import IDR0013_STUDY
from idrstream.stream import IdrStream

_STUDIES = {"idr0013": IDR0013_STUDY}


class DeepProfilerRun(IdrStream):
    """`IdrStream` under the first IDR_stream's name."""

    run_dp_stream = IdrStream.run_stream


class BasicpyPreprocessor(Preprocessor):
    """The first IDR_stream's preprocessor: a reader and BaSiC.

    Parameters
    ----------
    fiji_path : Path, str or None
        A Fiji.app folder or Maven coordinate to read with ImageJ; None for the built-in CellH5
        reader.
    perform_illumination_correction : bool
        Whether frames are corrected.
    illumination : {"frames", "movie", "plate"}
        What the correction is fitted on; see `make_illumination`.
    models_folder : Path, optional
        For ``plate``: where the models are kept.
    """

    def __init__(
        self,
        fiji_path: Path | str | None = None,
        perform_illumination_correction: bool = True,
        *,
        illumination: IlluminationName = "frames",
        models_folder: Path | None = None,
    ) -> None:
        name: IlluminationName = illumination if perform_illumination_correction else "off"
        super().__init__(make_reader(fiji_path), make_illumination(name, models_folder))

    def save_frames(
        self,
        plate: str,
        well_num: int,
        movie_load_path: Path | str,
        frames_save_path: Path | str,
        frame_nums: Sequence[int],
    ) -> list[Path]:
        """Write corrected frames as ``<plate>_<well_num>_<frame>.tif``.

        Parameters
        ----------
        plate : str
            Plate name, for the file names.
        well_num : int
            Well number, for the file names.
        movie_load_path : Path or str
            The movie; it stays where it is.
        frames_save_path : Path or str
            Folder for the frames; created if missing.
        frame_nums : sequence of int
            Wanted frames, counted from 1.

        Returns
        -------
        list of Path
            The files, in the order requested.

        Raises
        ------
        FrameError
            If frames have no pixels; the others are written before.
        MovieError
            If the movie as a whole cannot be read.
        """
        import tifffile

        task = ImageTask(plate, str(well_num), int(well_num), tuple(map(int, frame_nums)))
        results = self.process(Movie(Path(movie_load_path), task, "file"))
        folder = Path(frames_save_path)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for frame in results:
            if isinstance(frame, Frame):
                paths.append(folder / f"{plate}_{well_num}_{frame.number}.tif")
                tifffile.imwrite(paths[-1], frame.plane())
        skipped = [result.reason for result in results if isinstance(result, Skipped)]
        if skipped:
            raise FrameError("; ".join(skipped))
        return paths

    save_corrected_frames = save_frames


class AsperaDownloader(TransportDownloader):
    """The first IDR_stream's downloader: idr0013's movies by Aspera.

    New code calls ``make_downloader(method="aspera", ...)``, which takes every option.

    Parameters
    ----------
    aspera_path : Path or str
        The ``ascp`` program.
    aspera_key_path : Path or str
        The archive's private key.
    screens_path : Path or str, optional
        idr0013's plates file; not needed if every row of the table has its ``Path``.
    idr_index_name : str
        Name of the study's folder in the archive, or ``idr0013``.

    Raises
    ------
    MissingToolError, ConfigError, TableError
        If ascp, the key or the plates file is missing or wrong.
    """

    def __init__(
        self,
        aspera_path: Path | str,
        aspera_key_path: Path | str,
        screens_path: Path | str | None = None,
        idr_index_name: str = IDR0013_STUDY,
    ) -> None:
        values = {
            "method": "aspera",
            "aspera_path": aspera_path,
            "aspera_key_path": aspera_key_path,
            "screens_path": screens_path,
            "idr_index_name": _STUDIES.get(idr_index_name, idr_index_name),
        }
        settings = checked(DownloadSettings, values)
        super().__init__(build_transport(settings), build_locator(settings), settings)

    def download_image(self, plate: str, well_num: int, save_dir: Path | str) -> Path:
        """Download the movie of one well.

        Parameters
        ----------
        plate : str
            Plate name, for example ``LT0001_02``.
        well_num : int
            Well number, counted from 1 along the rows.
        save_dir : Path or str
            Folder for the movie; made if need be.

        Returns
        -------
        Path
            The movie, for example ``save_dir/00004_01.ch5``.

        Raises
        ------
        DownloadError, IncompleteFileError, MovieError
            If the movie did not arrive.
        """
        task = ImageTask(plate, well=str(well_num), well_number=int(well_num), frames=())
        transport, remote, name = self.resolve(task)
        return fetch_movie(transport, remote, task, Path(save_dir) / name).path
