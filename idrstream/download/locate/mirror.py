"""Where a mirror of the archive keeps idr0013's movies."""

from __future__ import annotations

from pathlib import Path

from idrstream.errors import ConfigError, DownloadError, RemoteFileNotFoundError
from idrstream.records import ImageTask
from idrstream.screen.study.archive_paths import check_name
from idrstream.screen.study.idr0013 import (
    ANALYSIS_FOLDER,
    Idr0013Locator,
    PlateScreens,
    movie_name,
)


def is_study_folder(root: Path, study: str) -> bool:
    """Return whether `root` is the study's own folder rather than the one above it."""
    return root.name == study or ((root / ANALYSIS_FOLDER).is_dir() and not (root / study).is_dir())


class MirrorLocator:
    """Finds the movies of idr0013 in a mirror, at or below its root.

    Parameters
    ----------
    root : Path
        The folder above the study's, the study's folder, or the one that contains
        ``20150916-mitocheck-analysis``.
    screens : PlateScreens, optional
        The study's plates file; without it the folder of a plate is found by its name.
    study : str
        Name of the study's folder.
    """

    def __init__(self, root: Path, screens: PlateScreens | None, study: str) -> None:
        self.root = root
        self.screens = screens
        self.study = study

    def movie_path(self, task: ImageTask) -> str:
        """Return the path of the task's movie under the root; see `Locator.movie_path`."""
        folder = self._study_folder()
        if self.screens is None:
            path = f"{_plate_folder(folder, task)}/hdf5/{movie_name(task)}"
        else:
            path = Idr0013Locator(self.screens, self.study).movie_path(task)
        return (folder.relative_to(self.root) / path).as_posix()

    def _study_folder(self) -> Path:
        tried = [self.root / self.study, self.root]
        for folder in tried:
            if (folder / ANALYSIS_FOLDER).is_dir():
                return folder
        names = " and ".join(str(folder / ANALYSIS_FOLDER) for folder in tried)
        msg = f"no movies of {self.study} under {self.root}: tried {names}"
        raise ConfigError(msg)


def _plate_folder(study_folder: Path, task: ImageTask) -> str:
    """Return the one folder that is named after the task's plate."""
    if (problem := check_name(task.plate)) is not None:
        msg = f"the plate name {task.plate!r} {problem}"
        raise DownloadError(msg)
    parents = [f"{ANALYSIS_FOLDER}/mitocheck", f"{ANALYSIS_FOLDER}/analysis/mitocheck"]
    found = [
        f"{parent}/{folder.name}"
        for parent in parents
        for folder in sorted(_folders(study_folder / parent))
        if folder.name == task.plate or folder.name.startswith(f"{task.plate}--")
    ]
    if len(found) != 1:
        names = ", ".join(found) or "none"
        searched = " and ".join(str(study_folder / parent) for parent in parents)
        msg = (
            f"{task.name}: expected one folder named {task.plate} or {task.plate}--... in "
            f"{searched}, found {names}; give the study's plates file to say which"
        )
        raise DownloadError(msg) if found else RemoteFileNotFoundError(msg)
    return found[0]


def _folders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        msg = f"the folder {parent} cannot be read: {error.strerror}"
        raise DownloadError(msg) from error
