"""Nuclei with their cells and cytoplasm, for the settings that ask for them."""

from __future__ import annotations

import copy
import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from idrstream.config import SHIPPED, SegmentSettings, parse_distance
from idrstream.errors import ConfigError, SegmentationError, UserError
from idrstream.models import model_digest
from idrstream.packages import require_extra
from idrstream.records import OBJECT_KINDS, Frame, Objects
from idrstream.segment.cellpose.models import model_files
from idrstream.segment.cellpose.segmentor import CellPoseSegmentor
from idrstream.segment.cells import (
    FoundCells,
    expanded,
    grey_levels_of_cells,
    matched,
    objects_of,
    propagated,
)
from idrstream.segment.protocol import Segmentor
from idrstream.tiles.own import at_image_border, kept
from idrstream.tiles.sample import ImageSample, WholeImage
from idrstream.workers.threads import free_threads, in_threads

_log = logging.getLogger("idrstream.segment")

_EXPANSION_PX = 10.0


class CellSegmentor(Segmentor):
    """Finds nuclei with Cellpose, and the cells and cytoplasms that belong to them.

    `Objects` are the nuclei, in ascending order of their labels, with ``Cells`` and
    ``Cytoplasm`` as related kinds. Cells grow from all nuclei; only then are those left out whose
    nucleus touches the border, if ``remove_edge_masks`` says so.

    Parameters
    ----------
    settings : SegmentSettings
        With ``cells`` other than ``none``.
    diameters : Path, optional
        As of `CellPoseSegmentor`.

    Raises
    ------
    idrstream.errors.ConfigError
        When a setting does not fit.
    """

    def __init__(self, settings: SegmentSettings, diameters: Path | None = None) -> None:
        self.settings = settings
        all_nuclei = dataclasses.replace(settings, cells="none", remove_edge_masks=False)
        self._nuclei = CellPoseSegmentor(all_nuclei, diameters)
        self.channel = self._nuclei.channel
        self._cells: CellPoseSegmentor | None = None
        self._distance_px = _distance_px(settings)
        _check_channels(settings)
        self._planes = settings.cell_channels or ("",) if settings.cells != "expand" else ()
        if settings.cells == "cellpose":
            self._cells = CellPoseSegmentor(
                dataclasses.replace(
                    all_nuclei, model_type=settings.cell_model, diameter=settings.cell_diameter,
                    size_model=None, channels=(0, 0), segment_channel=self._planes[0],
                    second_channel=self._planes[1] if len(self._planes) == 2 else "",
                )
            )  # fmt: skip
        self.other_channels = (*self._nuclei.other_channels, *self._planes)

    def describe(self) -> dict[str, object]:
        """Return what changes a result: settings, digests of the models."""
        nuclei = CellPoseSegmentor(self.settings).describe()
        if self._cells is None:
            return nuclei
        files = model_files(self._cells.settings)
        return {**nuclei, "cell_model_sha256": [model_digest(path) for path in files]}

    def whole_image(self, sample: ImageSample) -> WholeImage:
        """Return grey levels and diameters of nuclei and cells for all tiles of an image."""
        n_nuclei = len(self._nuclei.other_channels)
        of_cells = sample.others[n_nuclei:]
        nuclei = self._nuclei.whole_image(
            dataclasses.replace(sample, others=sample.others[:n_nuclei])
        )
        if self._cells is not None:
            first, *others = of_cells
            cells = self._cells.whole_image(dataclasses.replace(first, others=tuple(others)))
            return nuclei._replace(
                others=(*nuclei.others, cells.levels, *cells.others),
                cell_diameter_px=cells.diameter_px,
            )
        found = tuple(grey_levels_of_cells(other.windows) for other in of_cells)
        return nuclei._replace(others=(*nuclei.others, *found))

    def kinds(self) -> tuple[str, ...]:
        """Return ``Nuclei``, ``Cells`` and ``Cytoplasm``."""
        return OBJECT_KINDS

    def needs_plate(self, plate: str) -> bool:
        """Return whether the diameter of a plate's nuclei is still to be estimated."""
        return self._nuclei.needs_plate(plate)

    def fit_plate(self, plate: str, frames: Sequence[Frame]) -> None:
        """Estimate and keep the diameter of a plate's nuclei; see `CellPoseSegmentor`."""
        self._nuclei.fit_plate(plate, frames)

    def for_dry_run(self, folder: Path) -> CellSegmentor:
        """Return a segmentor with the same models that keeps diameters of plates in `folder`."""
        twin = copy.copy(self)
        twin._nuclei = self._nuclei.for_dry_run(folder)
        return twin

    def gpus(self) -> list[str]:
        """Return the GPU that the models are on."""
        return self._nuclei.gpus()

    def load(self) -> None:
        """Load the models; see `CellPoseSegmentor.load`.

        Raises
        ------
        idrstream.errors.MissingToolError
            When propagate lacks its package, too.
        """
        if self.settings.cells == "propagate":
            require_extra("centrosome", "classical", 'cells = "propagate"')
        self._nuclei.load()
        if self._cells is not None:
            self._cells.load()

    def check_channels(self, names: Sequence[str]) -> None:
        """Check that the channels of nuclei and cells are among some names.

        Raises
        ------
        idrstream.errors.ConfigError
            When one is not, or cell_channels must choose.
        """
        self._nuclei.check_channels(names)
        missing = [name for name in self.settings.cell_channels if name not in names]
        if missing:
            raise ConfigError(
                f"cell_channels names {', '.join(missing)}, but the frames have the channels "
                f"{', '.join(names)}"
            )
        if self.settings.cells != "expand" and not self.settings.cell_channels and len(names) > 1:
            raise ConfigError(
                f"cells = {self.settings.cells!r} needs cell_channels: which of "
                f"{', '.join(names)} shows the cells?"
            )

    def segment(self, frame: Frame, *, outlines: bool = False) -> Objects:
        """Return the nuclei of one frame with their cells and cytoplasms.

        Raises
        ------
        idrstream.errors.SegmentationError
            When this frame cannot be segmented; the message names plate, well and frame.
        idrstream.errors.UserError
            When a model cannot be loaded, see `load`.
        """
        return self._with_cells(frame, self._nuclei.segment(frame), outlines=outlines)

    def segment_many(
        self, frames: Sequence[Frame], *, outlines: bool = False
    ) -> list[Objects | SegmentationError]:
        """Return what `segment` does for several frames, or the error of each; side by side."""

        def add(pair: tuple[Frame, Objects | SegmentationError]) -> Objects | SegmentationError:
            frame, nuclei = pair
            if isinstance(nuclei, SegmentationError):
                return nuclei
            try:
                return self._with_cells(frame, nuclei, outlines=outlines)
            except SegmentationError as error:
                return error

        pairs = zip(frames, self._nuclei.segment_many(frames), strict=True)
        return in_threads(add, pairs, free_threads(self.settings.threads))

    def _with_cells(self, frame: Frame, nuclei: Objects, *, outlines: bool) -> Objects:
        try:
            found = self._find(frame, nuclei)
            drop_edge, tile = self.settings.remove_edge_masks, frame.tile
            objects = objects_of(
                found,
                drop_edge=drop_edge and tile is None,
                outlines=outlines,
                diameter_px=nuclei.diameter_px,
                channel=nuclei.channel,
            )
            if drop_edge and tile is not None:  # its own border is not the image's
                return kept(objects, ~at_image_border(objects.table, tile))
            return objects
        except UserError:
            raise
        except Exception as error:  # of this frame only, whatever a library raised
            raise SegmentationError(
                f"{frame.name}: its cells cannot be found: {type(error).__name__}: {error}"
            ) from error

    def _find(self, frame: Frame, nuclei: Objects) -> FoundCells:
        if self.settings.cells == "expand":
            return expanded(nuclei.labels, self._distance_px)
        planes = [frame.plane(name) for name in self._planes]
        of_cells = frame.tile.others[len(self._nuclei.other_channels) :] if frame.tile else ()
        if self._cells is None:
            levels = of_cells[0] if of_cells else None
            return propagated(nuclei.labels, planes[0], self._distance_px, levels)
        if frame.tile is None or not of_cells:
            cells, _ = self._cells.masks(planes[0] if len(planes) == 1 else np.stack(planes))
            return matched(nuclei.labels, cells)
        tile = dataclasses.replace(
            frame.tile, levels=of_cells[0], others=of_cells[1:],
            diameter_px=frame.tile.cell_diameter_px,
        )  # fmt: skip
        found = self._cells.segment(dataclasses.replace(frame, tile=tile))
        return matched(nuclei.labels, found.labels)


def _distance_px(settings: SegmentSettings) -> float:
    if settings.cell_distance:
        try:
            return parse_distance(settings.cell_distance, settings.pixel_size_um)
        except ValueError as error:
            raise ConfigError(f"segmentor: cell_distance: {error}") from error
    return _EXPANSION_PX if settings.cells == "expand" else math.inf


def _check_channels(settings: SegmentSettings) -> None:
    """Check that there are not more channels than the method looks at."""
    most = {"expand": 0, "propagate": 1, "cellpose": 2}[settings.cells]
    channels = settings.cell_channels
    if len(channels) > most:
        raise ConfigError(
            f"segmentor: cells = {settings.cells!r} looks at {most or 'no'} "
            f"channel{'s' if most > 1 else ''}, but cell_channels names "
            f"{', '.join(settings.cell_channels)}"
        )
    if settings.cells == "cellpose" and settings.cell_model == SHIPPED and len(channels) == 2:
        raise ConfigError(f"segmentor: cell_model {SHIPPED} takes one channel; name one only")
    if settings.cells == "cellpose" and settings.cell_distance:
        raise ConfigError('segmentor: cell_distance has no meaning with cells = "cellpose"')
