"""Nuclei by Cellpose, with one model for the whole stream."""

from __future__ import annotations

import copy
import logging
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from idrstream.config import SegmentSettings, described_options
from idrstream.errors import ConfigError, SegmentationError
from idrstream.models import model_digest
from idrstream.records import Frame, Objects
from idrstream.segment.cellpose.diameters import diameter_of
from idrstream.segment.cellpose.groups import (
    Prepared,
    Stages,
    check_pixels,
    named,
    one_frames_errors,
    side_by_side,
)
from idrstream.segment.cellpose.lazy_model import LazyModel
from idrstream.segment.cellpose.models import model_files
from idrstream.segment.cellpose.plate_diameters import PlateDiameters
from idrstream.segment.cellpose.settings import segment_settings
from idrstream.segment.cellpose.shipped import rounded_up
from idrstream.segment.cellpose.whole_image import brightest_place, part_as_seen, whole_image
from idrstream.segment.labels import Labels, as_labels, objects_in, trace_outlines
from idrstream.segment.network.scale import smallest_diameter_px
from idrstream.segment.protocol import Segmentor
from idrstream.tiles.own import at_image_border, kept
from idrstream.workers.steps import step
from idrstream.workers.threads import all_processors, free_threads, one_thread_each

if TYPE_CHECKING:
    import pandas as pd

    from idrstream.tiles.sample import ImageSample, WholeImage

_log = logging.getLogger("idrstream.segment")

_OF_CELLS = {
    "cells", "cell_distance", "pixel_size_um", "cell_channels", "cell_model", "cell_diameter",
}  # fmt: skip


class CellPoseSegmentor(Segmentor):
    """Finds nuclei with Cellpose 3.

    The settings are checked at once; Cellpose is imported and its model loaded at the first
    frame or by `load`, once for the whole stream. The nuclei of a frame are listed in the order
    of their labels in Cellpose's masks, located at the centroids of their masks. Same pixels,
    same machine, same nuclei.

    Parameters
    ----------
    settings : SegmentSettings or Mapping
        ``[segment]`` of the settings, or the first IDR_stream's ``model_specs``, in which
        ``model_type`` is required.
    diameters : Path, optional
        Folder where the diameters of plates are kept, if ``diameter`` is ``plate``.

    Raises
    ------
    idrstream.errors.ConfigError
        When a setting is unknown, missing or does not fit.

    Examples
    --------
    >>> segmentor = CellPoseSegmentor({"model_type": "nuclei", "diameter": 0})
    >>> segmentor.settings.min_size
    15
    """

    def __init__(
        self, settings: SegmentSettings | Mapping[str, Any], diameters: Path | None = None
    ) -> None:
        self.settings = segment_settings(settings)
        self.channel = self.settings.segment_channel
        self.other_channels = tuple(filter(None, [self.settings.second_channel]))
        self._model = LazyModel(self.settings)
        self._plates = PlateDiameters(diameters)

    def describe(self) -> dict[str, object]:
        """Return what changes a result: settings without those of speed, digests of the model.

        Raises
        ------
        idrstream.errors.MissingToolError
            When the model's file cannot be read.
        """
        digests = [model_digest(path) for path in model_files(self.settings)]
        # Of a file it is the content that counts, not where it lies.
        described = {**described_options(self.settings), "diameter": self.settings.diameter or None}
        described["model_type"] = Path(self.settings.model_type).name
        described["cell_model"] = Path(self.settings.cell_model).name
        if self.settings.cells == "none":  # nothing of them changes a result
            described = {k: v for k, v in described.items() if k not in _OF_CELLS}
        if not self.settings.second_channel:  # as before there was the option
            del described["second_channel"]
        return {"name": "cellpose", **described, "model_sha256": digests}

    def gpus(self) -> list[str]:
        """Return the GPU that the model is on, when it is on one, such as ``cuda:0``."""
        device = self._model.get().model.device
        return [] if device.type == "cpu" else [str(device)]

    def load(self) -> None:
        """Load the model now, so that what is missing shows before the first download.

        Raises
        ------
        idrstream.errors.MissingToolError
            When Cellpose, a GPU that was insisted on, or the model's file cannot be had.
        idrstream.errors.ConfigError
            When the file is not a model.
        """
        self._model.get()

    def check_channels(self, names: Sequence[str]) -> None:
        """Check that the channels to segment are among some names.

        Raises
        ------
        idrstream.errors.ConfigError
            When one is not, or both are the same.
        """
        for option in ("segment_channel", "second_channel"):
            wanted = getattr(self.settings, option)
            if wanted and wanted not in names:
                raise ConfigError(
                    f"{option} is {wanted!r}, but the frames have the channels {', '.join(names)}"
                )
        first = self.settings.segment_channel or names[0]
        if self.settings.second_channel == first:
            raise ConfigError(
                f"second_channel is {first!r}, which is the channel that is segmented; leave it "
                "out, or name another"
            )

    def segment(self, frame: Frame, *, outlines: bool = False) -> Objects:
        """Return the nuclei of one frame.

        Parameters
        ----------
        frame : Frame
            Pixels of any integer or floating dtype, of which one channel is segmented; not changed.
        outlines : bool, default: False
            Add the outlines.

        Returns
        -------
        Objects
            The nuclei, with outlines when asked for, and the diameter that was given or estimated.
            Of length zero when there is no nucleus.

        Raises
        ------
        idrstream.errors.SegmentationError
            When this frame cannot be segmented; the message names plate, well and frame.
        idrstream.errors.UserError
            When the model cannot be loaded, see `load`.
        """
        try:
            if frame.tile is not None:
                return self._tile(frame, outlines=outlines)
            given = self._of_plate(frame)
            labels, diameter_px = self.masks(self._channels_of(frame), diameter_px=given)
        except SegmentationError as error:
            raise named(error, frame) from error
        return self._objects(labels, diameter_px, outlines=outlines)

    def whole_image(self, sample: ImageSample) -> WholeImage:
        """Return grey levels and diameter for all tiles of an image; see `Segmentor`."""
        given = self.settings.diameter
        with one_thread_each(free_threads(self.settings.threads)):
            return whole_image(sample, self._model.get(), 0.0 if given == "plate" else given)

    def segment_many(
        self, frames: Sequence[Frame], *, outlines: bool = False
    ) -> list[Objects | SegmentationError]:
        """Return the nuclei of several frames, or the error of each that cannot be segmented.

        On a GPU the tiles of all frames go through the network together, while the processor makes
        masks in parallel. On a processor the frames are segmented side by side, each by one
        thread, with the same result to the bit as one by one.

        Parameters
        ----------
        frames : sequence of Frame
            As of `segment`; sizes and diameters may differ. The flows of all of them are in memory
            at once on a GPU, about 20 bytes a pixel.
        outlines : bool, default: False
            As of `segment`.

        Raises
        ------
        idrstream.errors.UserError
            When the model cannot be loaded, see `load`.
        """
        if self._model.get().model.pools and not self.settings.second_channel:
            finish = partial(self._finish, outlines=outlines)
            stages = Stages(self._prepare, self._run_network, finish)
            return stages.run(frames, self.settings.threads or all_processors())
        segment = partial(self.segment, outlines=outlines)
        return side_by_side(segment, frames, free_threads(self.settings.threads))

    def _channel_of(self, frame: Frame) -> NDArray[Any]:
        """Return the pixels that are segmented, shape ``(Y, X)``."""
        self.check_channels(frame.channels)
        return frame.plane(self.settings.segment_channel)

    def _channels_of(self, frame: Frame) -> NDArray[Any]:
        """Return what the model sees: ``(Y, X)``, or ``(2, Y, X)`` with a second channel."""
        first = self._channel_of(frame)
        if not self.settings.second_channel:
            return first
        return np.stack([first, frame.plane(self.settings.second_channel)])

    def _objects(self, labels: Labels, diameter_px: float, *, outlines: bool) -> Objects:
        return objects_in(
            labels,
            outlines=outlines,
            diameter_px=diameter_px,
            channel=self.settings.segment_channel,
        )

    def masks(
        self, pixels: NDArray[Any], *, diameter_px: float | None = None
    ) -> tuple[Labels, float]:
        """Return the label image of one frame, for evaluation and quality control.

        Parameters
        ----------
        pixels : NDArray
            Shape ``(Y, X)``, or ``(2, Y, X)`` for a model of two channels, such as Cellpose's of
            cells, whose second channel shows the nuclei; not changed.
        diameter_px : float, optional
            Diameter of the nuclei, in the place of that of the settings.

        Returns
        -------
        masks : NDArray of int32
            Shape ``(Y, X)``; 0 is background, nuclei are numbered from 1 without gaps. Without
            those at the border when ``remove_edge_masks`` is set.
        diameter_px : float
            Diameter that was given or estimated.

        Raises
        ------
        idrstream.errors.SegmentationError
            When the image cannot be segmented.
        idrstream.errors.UserError
            When the model cannot be loaded, see `load`.
        """
        first = pixels[0] if pixels.ndim == 3 and len(pixels) == 2 else pixels
        check_pixels(first)
        loaded = self._model.get()
        with one_frames_errors(), one_thread_each(free_threads(self.settings.threads)):
            diameter_px = diameter_of(first, loaded, self.settings.diameter, diameter_px)
            found = loaded.model.eval(
                np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else pixels,
                diameter=diameter_px,
                channels=[1, 2] if pixels.ndim == 3 else list(self.settings.channels),
                batch_size=self.settings.tile_batch_size,
                **self._mask_options(),
            )[0]
            # Cellpose squeezes what it returns; a frame one pixel wide would lose an axis.
            masks = np.reshape(found, first.shape)
        return as_labels(masks, drop_edge=self.settings.remove_edge_masks), diameter_px

    def _tile(self, frame: Frame, *, outlines: bool) -> Objects:
        """Return the objects of a tile, by what holds for its whole image."""
        prepared = self._prepare(frame)
        (flows,) = self._run_network([prepared], free_threads(self.settings.threads))
        return self._finish(prepared, flows, outlines=outlines)

    def _mask_options(self) -> dict[str, Any]:
        return {
            "flow_threshold": self.settings.flow_threshold,
            "cellprob_threshold": self.settings.cellprob_threshold,
            "min_size": self.settings.min_size,
        }

    def _prepare(self, frame: Frame) -> Prepared:
        """Do what comes before the network: diameter and grey levels of a frame."""
        pixels, tile = self._channel_of(frame), frame.tile
        check_pixels(pixels)
        loaded = self._model.get()
        with one_frames_errors(), step("scale"):
            if tile is not None and np.isfinite(tile.diameter_px):
                diameter_px = tile.diameter_px
            else:
                given, place = self.settings.diameter, pixels
                if tile is not None:
                    place = brightest_place(pixels)
                diameter_px = diameter_of(place, loaded, given, self._of_plate(frame))
                smallest = smallest_diameter_px(loaded.model.diam_mean, pixels.shape)
                diameter_px = max(diameter_px, smallest)  # the tile may be larger than the place
            if tile is None:
                return Prepared(frame, loaded.model.normalised(pixels), diameter_px)
            planes = [pixels, *map(frame.plane, self.other_channels)]
            return Prepared(frame, part_as_seen(planes, loaded, tile, diameter_px), diameter_px)

    def _run_network(self, group: Sequence[Prepared], threads: int | None = None) -> list[Any]:
        """Return the flows of each of a group of frames."""
        # Where the GPU's memory is exhausted, the processor takes over.
        threads = threads or self.settings.threads or all_processors()
        with one_frames_errors(), one_thread_each(threads), step("network"):
            model = self._model.get().model
            flows: list[Any] = model.pooled_flows(
                [one.image for one in group], [one.diameter_px for one in group]
            )
        return flows

    def _finish(self, prepared: Prepared, flows: Any, *, outlines: bool) -> Objects:
        """Do what comes after the network: masks and nuclei of a frame."""
        frame, diameter_px = prepared.frame, prepared.diameter_px
        with one_frames_errors(), step("masks"):
            model = self._model.get().model
            masks = model.masks_of(flows, frame.shape, diameter_px, **self._mask_options())
        drop_edge, tile = self.settings.remove_edge_masks, frame.tile
        labels = as_labels(masks, drop_edge=drop_edge and tile is None)
        objects = self._objects(labels, diameter_px, outlines=outlines)
        if drop_edge and tile is not None:  # its own border is not the image's
            return kept(objects, ~at_image_border(objects.table, tile))
        return objects

    def get_object_locations(self, image: NDArray[Any], *, outlines: bool = False) -> pd.DataFrame:
        """Return the nuclei of an image as the first IDR_stream did.

        Parameters
        ----------
        image : NDArray
            Shape ``(Y, X)``.
        outlines : bool, default: False
            Add the outlines.

        Returns
        -------
        pandas.DataFrame
            Columns ``Location_Center_X`` and ``Location_Center_Y`` in pixels, float64, and
            ``object_outline`` (arrays of ``[x, y]`` points) when outlines are asked for.
        """
        import pandas as pd

        labels, _ = self.masks(image)
        points = objects_in(labels).locations
        table = pd.DataFrame({"Location_Center_X": points[:, 1], "Location_Center_Y": points[:, 0]})
        if outlines:
            table["object_outline"] = pd.Series(
                [outline[:, ::-1] for outline in trace_outlines(labels)], dtype=object
            )
        return table

    def needs_plate(self, plate: str) -> bool:
        """Return whether the diameter of a plate's nuclei is still to be estimated."""
        return self.settings.diameter == "plate" and self._plates.find(plate) is None

    def fit_plate(self, plate: str, frames: Sequence[Frame]) -> None:
        """Estimate and keep the diameter of a plate's nuclei: the median of some frames.

        It is rounded up to a power of 1.05 times the diameter that the network works at, so that
        it is the same on every machine.

        Raises
        ------
        idrstream.errors.SegmentationError
            When none of the frames gives a diameter.
        idrstream.errors.UserError
            When the model cannot be loaded, see `load`.
        """
        loaded = self._model.get()

        def estimate(frame: Frame) -> tuple[str, float]:
            pixels = self._channel_of(frame)
            check_pixels(pixels)
            with one_frames_errors():
                return frame.task.well, diameter_of(pixels, loaded, self.settings.diameter)

        threads = free_threads(self.settings.threads)
        found = side_by_side(estimate, frames, threads)
        by_well = [one for one in found if isinstance(one, tuple)]
        for error in found:
            if isinstance(error, SegmentationError):
                _log.warning("left out of the diameter of plate %s: %s", plate, error)
        if not by_well:
            raise SegmentationError(f"plate {plate}: no frame of it gives a diameter; set diameter")
        median = statistics.median_high(diameter for _, diameter in by_well)
        diameter_px = rounded_up(median, loaded.model.diam_mean)
        self._plates.keep(plate, diameter_px, by_well)
        _log.info(
            "Diameter of the nuclei of plate %s: %.1f px, of %d wells",
            plate, diameter_px, len(by_well),
        )  # fmt: skip

    def for_dry_run(self, folder: Path) -> CellPoseSegmentor:
        """Return a segmentor with the same model that keeps diameters of plates in `folder`."""
        twin = copy.copy(self)
        twin._plates = PlateDiameters(folder)
        return twin

    def _of_plate(self, frame: Frame) -> float | None:
        """Return the diameter of a frame's plate, if that is what the settings ask for."""
        if self.settings.diameter != "plate" or frame.tile is not None:
            return None  # a tile has the diameter of its whole image
        found = self._plates.find(frame.task.plate)
        if found is None:
            raise ConfigError(
                f"plate {frame.task.plate} has no diameter yet; call fit_plate with frames of some "
                "of its wells first"
            )
        return found
