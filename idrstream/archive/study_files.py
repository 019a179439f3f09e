"""The files of a screen: in its study's repository, and what they name in the archive."""

from __future__ import annotations

import posixpath
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from idrstream.archive.plates import archive_plate
from idrstream.archive.published import Published
from idrstream.archive.screens import Route, ScreenFacts
from idrstream.errors import DownloadError, TableError
from idrstream.screen.study.archive_paths import in_metadata, under_archive
from idrstream.screen.study.field_rows import ARCHIVE, OpenedPlate, OpenPlate

PUBLIC = "https://ftp.ebi.ac.uk/pub/databases/IDR"
"""Address of IDR's public archive."""

_ANNOTATIONS = (".csv", ".csv.gz", ".csv.zip", ".tsv")


@dataclass(frozen=True, slots=True)
class StudyFiles:
    """The files of a screen in its study's repository."""

    published: Published
    facts: ScreenFacts

    def _path(self, ending: str) -> str:
        screen = self.facts.screen
        return f"{self.facts.study}/{screen}/{self.facts.accession}-{screen}-{ending}"

    def required(self, ending: str) -> Path:
        """Return a file that every study has.

        Raises
        ------
        TableError
            If it has not.
        """
        path = self.published.file("studies", self._path(ending))
        if path is None:
            msg = (
                f"{self.facts.study} has no {self.facts.accession}-{self.facts.screen}-{ending} at "
                f"{self.published.address('studies', self._path(ending))}"
            )
            raise TableError(msg)
        return path

    def annotation(self) -> Path | None:
        """Return the annotation, if there is one."""
        for ending in _ANNOTATIONS:
            found = self.published.file("studies", self._path(f"annotation{ending}"))
            if found is not None:
                return found
        return None

    def named(self, target: str) -> Path | None:
        """Return the file that a plates file or ``.screen`` file names."""
        inside = in_metadata(target)
        if inside is not None:
            return self.published.file("studies", f"{self.facts.study}/{inside}")
        if (below := under_archive(target)) is not None:
            return self.published.file("archive", below)
        if target.startswith("/"):
            return None
        folder = f"{self.facts.study}/{self.facts.screen}"
        path = posixpath.normpath(f"{folder}/{target}")
        if not path.startswith(f"{self.facts.study}/"):
            return None
        return self.published.file("studies", path)

    def opener(self, way: Route, with_zarr: Collection[str]) -> OpenPlate:
        """Return what reads the index or folder that the plates file names.

        Parameters
        ----------
        way : Route
            What paths of the study are in the public archive.
        with_zarr : collection of str
            What stands for plates that have an OME-Zarr: they need no index, only the annotation.
        """

        def open_plate(target: str) -> OpenedPlate | None:
            try:
                return archive_plate(self.published, public_path(target, way))
            except DownloadError:
                if target in with_zarr:
                    return None
                raise

        return open_plate


def public_path(path: str, way: Route) -> str:
    """Return a path on IDR's servers as one of the public archive, as its routes say."""
    inside = path.lstrip("/")
    if under_archive(path) is not None or not way.by.startswith(PUBLIC) or not way.replace:
        return path
    if not inside.startswith(f"{way.replace}/"):
        return path
    there = way.by.removeprefix(PUBLIC).strip("/")
    rest = inside.removeprefix(way.replace).strip("/")
    return ARCHIVE + (f"{there}/{rest}" if there else rest)
