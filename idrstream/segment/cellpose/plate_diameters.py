"""The diameter of the nuclei of each plate: estimated once, kept beside the results."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from pathlib import Path

from idrstream.errors import ConfigError
from idrstream.files import atomic_file
from idrstream.opening import inside, read_regular, refuse_links
from idrstream.text import parse_json

FORMAT = "idrstream-diameter-1"
_MOST_BYTES = 1 << 16


class PlateDiameters:
    """Diameters by plate, in memory and, if there is a folder, in ``<folder>/<plate>.json``.

    Thread-safe.

    Parameters
    ----------
    folder : Path, optional
        Where they are kept, beside the results.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: dict[str, float] = {}
        self._lock = threading.Lock()

    def find(self, plate: str) -> float | None:
        """Return the diameter in pixels; None if it is not known yet.

        Raises
        ------
        idrstream.errors.ConfigError
            When the plate's file is damaged.
        """
        with self._lock:
            if plate not in self._known and self._folder is not None:
                path = self._path(self._folder, plate)
                if path.exists():
                    self._known[plate] = _read(path)
            return self._known.get(plate)

    def keep(self, plate: str, diameter_px: float, by_well: Sequence[tuple[str, float]]) -> None:
        """Keep a diameter, and what the frames of single wells gave."""
        if self._folder is not None:
            content = {"format": FORMAT, "diameter_px": diameter_px, "wells": by_well}
            with atomic_file(self._path(self._folder, plate)) as file:
                file.write(json.dumps(content).encode())
        with self._lock:
            self._known[plate] = diameter_px

    @staticmethod
    def _path(folder: Path, plate: str) -> Path:
        refuse_links(folder.parent, folder.name)
        return inside(folder, f"{plate}.json")


def _read(path: Path) -> float:
    try:
        content = parse_json(read_regular(path, _MOST_BYTES))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError("it is of another format")
        diameter_px = float(content["diameter_px"])
        if not 0 < diameter_px < math.inf:
            raise ValueError(f"{diameter_px} px is no diameter")
    except (OSError, KeyError, TypeError, ValueError) as error:
        msg = f"{path} has no diameter of a plate ({error}); delete it to estimate it again"
        raise ConfigError(msg) from error
    return diameter_px
