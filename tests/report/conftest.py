"""A simulated screen with and without planted problems, streamed for real.

Movies, projects, tables, journal, quality measures and pictures are real. Only what needs a neural
network is replaced: nuclei are found by a threshold, features are a fixed projection.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from scipy import ndimage

from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen
from idrstream.demo import config_for
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.preprocess import Preprocessor
from idrstream.segment import Segmentor, objects_in

HEIGHT, WIDTH = 192, 256
PLATES, WELLS = 5, 6
BLURRED, VIGNETTED = 1, 2  # plates
EMPTY, SATURATED, MISSING = 1, 3, 4  # wells of the first plate


class LevelSegmentor(Segmentor):
    """Finds what is brighter than the frame's median by a fixed amount."""

    def segment(self, frame, *, outlines=False):
        smooth = ndimage.gaussian_filter(frame.plane().astype(float), 1.5)
        labels, count = ndimage.label(smooth > np.median(smooth) + 12)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        labels[np.isin(labels, np.flatnonzero(sizes < 40) + 1)] = 0
        return objects_in(labels.astype(np.int32), outlines=outlines, diameter_px=17.0)


def spec_of(**changes):
    values = {
        "plates": PLATES, "wells_per_plate": WELLS, "frames": 1, "height": HEIGHT, "width": WIDTH,
        "nuclei_per_frame": 22, "seed": 3,
    }  # fmt: skip
    return ScreenSpec(**{**values, **changes})


def plant(screen, folder):
    """Replace movies by those of screens with other specs; a well does not depend on the others."""
    plates = spec_of().plate_names
    movies = {}
    for movie in screen.movies:
        movies.setdefault(next(p for p in plates if f"/{p}--" in str(movie)), []).append(movie)

    def replace(name, plate, wells, **changes):
        spec = spec_of(plates=plate + 1, wells_per_plate=wells.stop, **changes)
        made = simulate_screen(folder / name, spec)
        for movie in movies[plates[plate]][wells]:
            shutil.copy(made.folder / movie.relative_to(screen.folder), movie)

    replace("empty", 0, slice(EMPTY, EMPTY + 1), empty_wells=spec_of().wells)
    replace("saturated", 0, slice(SATURATED, SATURATED + 1), brightness=200, background=150)
    replace("blurred", BLURRED, slice(0, WELLS), blur_px=5.0)
    replace("vignetted", VIGNETTED, slice(0, WELLS), vignetting=0.75)
    movies[plates[0]][MISSING].unlink()


def stream_of(screen, folder, **options):
    """Return the output folder of a stream over a screen."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = IdrStream("idr0013", folder / "tmp", folder / "out", log=folder / "stream.log")
    stream.init_downloader(
        make_downloader(method="local", root=screen.folder, screens_path=screen.screens_path)
    )
    illumination = pytest.quick.MeanOfPlate(folder / "out" / "illumination")
    stream.init_preprocessor(Preprocessor(CellH5Reader(), illumination))
    stream.init_segmentor(LevelSegmentor())
    engine = pytest.quick.ProjectionEngine()
    stream.copy_DP_files(config_for(HEIGHT, WIDTH, folder), engine=engine)
    stream.run_stream(read_table(screen.table_path), WELLS, progress=False, **options)
    return stream


@pytest.fixture(scope="session")
def _quick(quick):
    pytest.quick = quick
    yield quick
    del pytest.quick


@pytest.fixture(scope="session")
def clean(tmp_path_factory, _quick):
    """Return the stream of a screen without peculiarities."""
    folder = tmp_path_factory.mktemp("clean")
    stream = stream_of(simulate_screen(folder / "mirror", spec_of()), folder)
    yield stream
    stream.close()


@pytest.fixture(scope="session")
def planted(tmp_path_factory, _quick):
    """Return the stream of a screen with five planted problems."""
    folder = tmp_path_factory.mktemp("planted")
    screen = simulate_screen(folder / "mirror", spec_of())
    plant(screen, folder / "others")
    stream = stream_of(screen, folder)
    yield stream
    stream.close()
