"""A small screen and parts that are quick, deterministic, and otherwise like the real ones.

Movies, projects, tables, journal and files are real. Only what needs a neural network is replaced:
nuclei are found by a threshold, features are a fixed projection of each nucleus's surroundings,
the illumination of a plate is a smoothed mean.
"""

from __future__ import annotations

import csv

import numpy as np
from scipy import ndimage

from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen
from idrstream.demo import config_for
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.preprocess import Preprocessor
from idrstream.preprocess.illumination import PerPlate
from idrstream.preprocess.plate_model import IlluminationModel
from idrstream.profile import Engine
from idrstream.profile.deepprofiler.outputs import check_features
from idrstream.records import Nuclei
from idrstream.segment import Segmentor

HEIGHT, WIDTH = 96, 128


def make_screen(folder, plates=2, wells=6):
    spec = ScreenSpec(
        plates=plates, wells_per_plate=wells, frames=3, height=HEIGHT, width=WIDTH,
        nuclei_per_frame=6, invalid_frames=(3,), empty_wells=(), wanted_frames=(1, 2),
    )  # fmt: skip
    return simulate_screen(folder, spec)


class ThresholdSegmentor(Segmentor):
    def __init__(self, quantile=0.9):
        self.quantile = quantile

    def segment(self, frame, *, outlines=False):
        level = np.quantile(frame.pixels, self.quantile)
        smooth = ndimage.gaussian_filter(frame.pixels.astype(float), 2)
        labels, count = ndimage.label(smooth > level)
        points = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, count + 1)))
        shapes = None
        if outlines:
            shapes = tuple(np.argwhere(labels == number)[:4] for number in range(1, count + 1))
        return Nuclei(points.reshape(-1, 2), shapes, frame.number, frame.task, 17.0)


class ProjectionEngine(Engine):
    """Writes features as DeepProfiler does, from the pixels in the project."""

    def __init__(self, seed=1):
        self.seed = seed

    def profile(self, project):
        import tifffile

        project.write_index()
        rng = np.random.default_rng(self.seed)
        projection = rng.normal(size=(5, project.feature_count)).astype(np.float32)
        for image in project.images:
            if not image.nuclei:
                continue
            pixels = tifffile.imread(project.image_path(image)).astype(np.float32)
            with project.locations_path(image).open(newline="") as lines:
                points = np.array([line[:2] for line in list(csv.reader(lines))[1:]], dtype=float)
            seen = np.array([_look(pixels, x, y) for x, y in points], dtype=np.float32)
            path = project.features_path(image)
            path.parent.mkdir(parents=True, exist_ok=True)
            row = {**project.index_row(image), "Metadata_Model": "efficientnet"}
            if "Metadata_Plate" not in row:
                row = {f"Metadata_{name}": value for name, value in row.items()}
            row = {
                name if name.startswith("Metadata_") else f"Metadata_{name}": value
                for name, value in row.items()
            }
            np.savez_compressed(path, features=seen @ projection, metadata=row, locations=points)
        check_features(project)

    def close(self):
        pass


def _look(pixels, x, y):
    row, column = round(y), round(x)
    crop = pixels[max(0, row - 8) : row + 9, max(0, column - 8) : column + 9]
    return crop.mean(), crop.std(), crop.min(), crop.max(), x * y / 1000


class MeanOfPlate(PerPlate):
    """A plate's illumination without BaSiC: its mean frame, smoothed."""

    def fit(self, plate, stack, *, wells=()):
        mean = ndimage.gaussian_filter(stack.mean(axis=0), 20)
        field = (mean / mean.mean()).astype(np.float32)
        model = IlluminationModel(field, np.zeros_like(field), len(stack), "plate", plate)
        model.save(self.path(plate))
        self._models[plate] = model
        return model


def make_stream(screen, folder, *, tmp=None, out=None, quantile=0.9, plate_model=True):
    folder.mkdir(parents=True, exist_ok=True)
    out = out or folder / "out"
    stream = IdrStream("idr0013", tmp or folder / "tmp", out, log=folder / "stream.log")
    stream.init_downloader(
        make_downloader(method="local", root=screen.folder, screens_path=screen.screens_path)
    )
    illumination = MeanOfPlate(out / "illumination")
    if not plate_model:
        from idrstream.preprocess.illumination import NoIllumination

        illumination = NoIllumination()
    stream.init_preprocessor(Preprocessor(CellH5Reader(), illumination))
    stream.init_segmentor(ThresholdSegmentor(quantile))
    stream.copy_DP_files(config_for(HEIGHT, WIDTH, folder), engine=ProjectionEngine())
    return stream


def table_of(screen):
    return read_table(screen.table_path)


def files_below(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def results(folder):
    """Return the bytes of everything that is a result."""
    places = ("batch_*", "cells/*", "illumination/*", "qc/*", "pictures/*")
    wanted = [path for place in places for path in folder.glob(place)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in wanted}
