"""Cellpose's model, loaded when it is needed."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from idrstream.segment.cellpose.diameters import check_smallest
from idrstream.segment.cellpose.models import LoadedModel, load_model

if TYPE_CHECKING:
    from idrstream.config import SegmentSettings

_log = logging.getLogger("idrstream.segment")


class LazyModel:
    """The model, loaded once at first use, however many threads and segmentors ask for it.

    Parameters
    ----------
    settings : SegmentSettings
        Which model.
    """

    def __init__(self, settings: SegmentSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._loaded: LoadedModel | None = None

    def get(self) -> LoadedModel:
        """Return the model; see `load_model`."""
        with self._lock:
            if self._loaded is None:
                loaded = load_model(self._settings)
                given = self._settings.diameter
                check_smallest(0.0 if given == "plate" else given, loaded)
                self._loaded = loaded
                _log.info(
                    "Cellpose model %s loaded on %s", self._settings.model_type, loaded.model.device
                )
                if given in (0, "plate") and loaded.estimator is None:
                    _log.warning(
                        "No size model for %s: taking the mean diameter it was trained on, "
                        "%.1f px, for every frame; set diameter or size_model to change that",
                        self._settings.model_type,
                        loaded.usual_diameter_px,
                    )
            return self._loaded
