"""A small screen and parts that are quick, deterministic, and otherwise like the real ones.

Movies, projects, tables, journal and files are real. Only what needs a neural network is replaced:
nuclei are found by a threshold, features are a fixed projection of each nucleus's surroundings,
the illumination of a plate is a smoothed mean.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from scipy import ndimage

from idrstream import IdrStream, ScreenSpec, make_downloader, read_table, simulate_screen
from idrstream.demo import config_for
from idrstream.formats.cellh5.reader import CellH5Reader
from idrstream.preprocess import Preprocessor
from idrstream.preprocess.illumination import PerPlate
from idrstream.preprocess.plate_model import IlluminationModel
from idrstream.profile import FeatureEngine
from idrstream.records import Features
from idrstream.segment import Segmentor, objects_in

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
        self._before = None

    def segment(self, frame, *, outlines=False):
        if self._before is not None:
            self._before(frame)
        pixels = frame.plane()
        smooth = ndimage.gaussian_filter(pixels.astype(float), 2)
        labels, _ = ndimage.label(smooth > np.quantile(pixels, self.quantile))
        return objects_in(labels.astype(np.int32), outlines=outlines, diameter_px=17.0)


class ProjectionEngine(FeatureEngine):
    """A fixed projection of a few numbers of each nucleus."""

    def __init__(self, seed=1, count=1280):
        self.seed = seed
        self.columns = tuple(f"efficientnet_{number}" for number in range(count))

    def describe(self):
        return {"seed": self.seed}

    def profile(self, frames, objects):
        rng = np.random.default_rng(self.seed)
        projection = rng.normal(size=(5, len(self.columns))).astype(np.float32)
        return [
            Features(of.name, self.columns, self._seen(frame, of) @ projection)
            for frame, of in zip(frames, objects, strict=True)
        ]

    def _seen(self, frame, objects):
        pixels = frame.plane().astype(np.float32)
        seen = [_look(pixels, x, y) for y, x in objects.locations]
        return np.array(seen, dtype=np.float32).reshape(-1, 5)


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


def make_worker_stream(
    tmp_dir,
    final_data_dir,
    screen,
    poison="",
    slow_s=0.0,
    once="",
    made="",
    quantile=0.9,
    deaths="",
):
    """Make the stream of a worker; see `idrstream.cluster.Recipe`.

    Its process is killed at images whose names begin with `poison`, if that is given; only the
    first time if there is a file `once`, which is made then. `made` gets a line for every call.
    """
    if made:
        _note(made)
    root = Path(screen)
    place = SimpleNamespace(folder=root, screens_path=root / "idr0013-screenA-plates.tsv")
    stream = make_stream(
        place, Path(tmp_dir) / "models", tmp=tmp_dir, out=final_data_dir, quantile=quantile
    )

    def before(frame):
        time.sleep(slow_s)
        if poison and frame.name.startswith(poison) and not (once and Path(once).exists()):
            Path(once or os.devnull).touch()
            _note(deaths or os.devnull)
            os.kill(os.getpid(), 9)

    stream.segmentor._before = before
    return stream


def _note(path):
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
