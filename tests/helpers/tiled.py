"""A segmentor and an engine that are quick, for streams of tiles."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from idrstream.profile.protocol import FeatureEngine
from idrstream.records import Features, Frame, GreyLevels, Objects
from idrstream.segment import Segmentor, objects_in
from idrstream.tiles.sample import ImageSample, WholeImage

COLUMNS = ("Nuclei_Intensity_Mean", "Nuclei_Area")


class Threshold(Segmentor):
    """What is brighter than a grey level, in connected parts."""

    def __init__(self, level: float = 600.0, diameter_px: float = 12.0) -> None:
        self.level = level
        self.diameter_px = diameter_px

    def whole_image(self, sample: ImageSample) -> WholeImage:
        low = float(min(window.min() for window in sample.windows))
        return WholeImage(GreyLevels(low, self.level, self.level), self.diameter_px)

    def segment(self, frame: Frame, *, outlines: bool = False) -> Objects:
        level = self.level if frame.tile is None else frame.tile.levels.high  # type: ignore[union-attr]
        labels = ndimage.label(frame.plane(self.channel) > level)[0].astype(np.int32)
        return objects_in(labels, outlines=outlines, diameter_px=self.diameter_px)


class Means(FeatureEngine):
    """Mean grey level of the first channel and area of each object."""

    def profile(self, frames: Sequence[Frame], objects: Sequence[Objects]) -> list[Features]:
        found = []
        for frame, of in zip(frames, objects, strict=True):
            means = ndimage.mean(frame.plane(), of.labels, of.table["label"]) if len(of) else []
            values = np.column_stack([means, of.table["area"]]).astype(np.float32).reshape(-1, 2)
            found.append(Features(of.name, COLUMNS, values))
        return found
