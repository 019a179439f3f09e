"""Which segmentor the settings mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from idrstream.config import SegmentSettings
from idrstream.plugins import load_plugin
from idrstream.segment.cellpose.segmentor import CellPoseSegmentor
from idrstream.segment.cellpose.settings import segment_settings
from idrstream.segment.protocol import Segmentor, as_segmentor
from idrstream.segment.with_cells import CellSegmentor


def make_segmentor(settings: object, diameters: Path | None = None) -> Segmentor:
    """Return the segmentor that settings mean: of nuclei, with their cells, or a plug-in.

    Parameters
    ----------
    settings : SegmentSettings, Mapping, Segmentor or object
        ``[segment]`` of the settings; the first IDR_stream's ``model_specs``; or an object with
        ``segment(frame)``.
    diameters : Path, optional
        Where the diameters of plates are kept.

    Raises
    ------
    idrstream.errors.ConfigError
        When a setting is wrong, no installed package has the segmentor, or the object is none.
    """
    if isinstance(settings, SegmentSettings) and settings.segmentor != "cellpose":
        return as_segmentor(load_plugin("segmentor", settings.segmentor, ("cellpose",)))
    if not isinstance(settings, (SegmentSettings, Mapping)):
        return as_segmentor(settings)
    found = segment_settings(settings)
    kind = CellPoseSegmentor if found.cells == "none" else CellSegmentor
    return kind(found, diameters)
