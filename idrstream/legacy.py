"""Names and calls of the first IDR_stream, for its notebooks and scripts.

With ``from idrstream.legacy import ...`` (or ``from idrstream import ...``) they work unchanged:
``DeepProfilerRun`` with ``run_dp_stream``, ``BasicpyPreprocessor`` with ``save_frames``,
``AsperaDownloader`` with ``download_image``. ``CellPoseSegmentor`` kept its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from idrstream.errors import FrameError
from idrstream.formats.make import make_reader
from idrstream.preprocess.factory import IlluminationName, make_illumination
from idrstream.preprocess.preprocessor import Preprocessor
from idrstream.records import Frame, ImageTask, Movie, Skipped
from idrstream.stream import IdrStream


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
                tifffile.imwrite(paths[-1], frame.pixels)
        skipped = [result.reason for result in results if isinstance(result, Skipped)]
        if skipped:
            raise FrameError("; ".join(skipped))
        return paths

    save_corrected_frames = save_frames
