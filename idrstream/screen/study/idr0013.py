"""Paths of idr0013's movies.

Layout of the study as its plates files and its public archive show it: screen A under
``20150916-mitocheck-analysis/mitocheck/<screen>/hdf5/NNNNN_SS.ch5``; screen B has one more
folder, ``analysis``, before ``mitocheck``. The screen's folder is looked up in the plates file,
never built from the plate's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from idrstream.errors import ConfigError, DownloadError, RemoteFileNotFoundError, TableError
from idrstream.records import ImageTask
from idrstream.screen.study.archive_paths import check_name
from idrstream.screen.study.plates_file import PlateEntry, read_plates

IDR0013_STUDY = "idr0013-neumann-mitocheck"
ANALYSIS_FOLDER = "20150916-mitocheck-analysis"
PLATE_WELLS = 384

_SCREEN_FILE = re.compile(r"(?:\.\./screens/)?(?P<screen>[^/\\]+)\.screen")
_SCREEN_LETTER = re.compile(r"screen([AB])(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class PlateScreens:
    """The screen folder of each plate, read from a study's plates file.

    Attributes
    ----------
    screens : Mapping[str, str]
        Screen name of each plate, for example
        ``LT0001_02--ex2005_11_16--sp2005_02_17--tt17--c3`` for ``LT0001_02``.
    path : Path
        The file they were read from, for messages.
    """

    screens: Mapping[str, str]
    path: Path

    @classmethod
    def read(cls, plates_tsv: Path | str) -> PlateScreens:
        """Read ``<plate> TAB ../screens/<screen>.screen`` lines.

        Parameters
        ----------
        plates_tsv : Path or str
            For example ``idr0013-screenA-plates.tsv``; no header.

        Returns
        -------
        PlateScreens
            In the order of the file.

        Raises
        ------
        ConfigError
            If the file does not exist.
        TableError
            If a line is not of that form or a plate is repeated; names file and line.
        """
        path = Path(plates_tsv).expanduser()
        if not path.is_file():
            msg = f"the plates file {path} cannot be read: No such file"
            raise ConfigError(msg)
        return cls({entry.plate: _screen_of(entry, path) for entry in read_plates(path)}, path)

    def screen(self, plate: str) -> str:
        """Return the screen name of a plate.

        Raises
        ------
        DownloadError
            If the plates file does not have the plate.
        """
        try:
            return self.screens[plate]
        except KeyError:
            msg = f"plate {plate} is not in the plates file {self.path}"
            raise RemoteFileNotFoundError(msg) from None


class Idr0013Locator:
    """Finds the movies of idr0013, screens A and B.

    Parameters
    ----------
    screens : PlateScreens
        The plates file of the screen.
    study : str
        Name of the study's folder; for messages, the paths are relative to it.
    screen : {"A", "B"}, optional
        Which of the two screens the plates belong to; by default as the name of the plates
        file says (``idr0013-screenB-plates.tsv``), and A if it says nothing.
    """

    def __init__(
        self,
        screens: PlateScreens,
        study: str = IDR0013_STUDY,
        *,
        screen: Literal["A", "B"] | None = None,
    ) -> None:
        if screen not in (None, "A", "B"):
            msg = f"screen must be 'A' or 'B', not {screen!r}"
            raise ConfigError(msg)
        self.screens = screens
        self.study = study
        self.screen: str = screen or _screen_letter(screens.path)

    def movie_path(self, task: ImageTask) -> str:
        """Return the path of the task's movie under the study's folder.

        Raises
        ------
        DownloadError
            If the plate is not in the plates file or the plate has no such well.
        """
        folders = [ANALYSIS_FOLDER, "analysis"] if self.screen == "B" else [ANALYSIS_FOLDER]
        screen = self.screens.screen(task.plate)
        return "/".join([*folders, "mitocheck", screen, "hdf5", movie_name(task)])


def movie_name(task: ImageTask) -> str:
    """Return the file name of a well's movie: ``00004_01.ch5`` for well 4, site 1.

    Raises
    ------
    DownloadError
        If a 384-well plate has no such well, or the site is not 1 to 99.
    """
    if not 1 <= task.well_number <= PLATE_WELLS:
        msg = f"{task.name}: well number {task.well_number} is outside 1 to {PLATE_WELLS}"
        raise DownloadError(msg)
    if not 1 <= task.site <= 99:
        msg = f"{task.name}: site {task.site} is outside 1 to 99"
        raise DownloadError(msg)
    return f"{task.well_number:05d}_{task.site:02d}.ch5"


def _screen_of(entry: PlateEntry, path: Path) -> str:
    if entry.plate != entry.name:
        why = check_name(entry.name) or "is already in an earlier line"
        msg = f"{path}, line {entry.line}: the plate name {entry.name!r} {why}"
        raise TableError(msg)
    where = f"{path}, line {entry.line}, column 2"
    match = _SCREEN_FILE.fullmatch(entry.target)
    if match is None:
        msg = (
            f"{where}: {entry.target!r} is not '../screens/<screen>.screen', as idr0013 has it; "
            "for another study build a table with paths (idrstream table), and leave out "
            "screens_path"
        )
        raise TableError(msg)
    if (problem := check_name(match["screen"])) is not None:
        msg = f"{where}: the screen name {match['screen']!r} {problem}"
        raise TableError(msg)
    return match["screen"]


def _screen_letter(path: Path) -> str:
    match = _SCREEN_LETTER.search(path.name)
    return match[1] if match else "A"
