"""Which screens there are: IDR's own table of studies, and how each study is downloaded."""

from __future__ import annotations

import csv
import difflib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from idrstream.archive.published import Published
from idrstream.errors import ConfigError, TableError
from idrstream.screen.study.plate_names import match_names
from idrstream.text import format_size, shorten_list

_ACCESSION = re.compile(r"idr\d{4}", flags=re.IGNORECASE)
_ZARR = re.compile(r"\.(?:ome\.)?zarr$", flags=re.IGNORECASE)
_AXES = ("X", "Y", "Z", "C", "T")


@dataclass(frozen=True, slots=True)
class ScreenFacts:
    """What IDR's table of studies says of a screen.

    Attributes
    ----------
    study : str
        For example ``idr0036-gustafsdottir-cellpainting``.
    screen : str
        For example ``screenA``.
    plates, wells, images : int or None
        How many there are, where the table says it.
    size_bytes : int or None
        Of all files.
    dimensions : tuple of str
        Mean size of an image in X, Y, Z, C and T, as the table has it.
    """

    study: str
    screen: str
    plates: int | None = None
    wells: int | None = None
    images: int | None = None
    size_bytes: int | None = None
    dimensions: tuple[str, ...] = ()

    @property
    def accession(self) -> str:
        """For example ``idr0036``."""
        return self.study[:7]

    def __str__(self) -> str:
        """Return it in one line."""
        counts = [
            f"{count:,} {what}"
            for count, what in (
                (self.plates, "plates"), (self.wells, "wells"), (self.images, "images"),
            )
            if count
        ]  # fmt: skip
        if len(self.dimensions) == len(_AXES):
            sizes = zip(_AXES, self.dimensions, strict=True)
            counts.append(", ".join(f"{axis} {size}" for axis, size in sizes))
        if self.size_bytes:
            counts.append(format_size(self.size_bytes))
        return f"{self.study} {self.screen}: {'; '.join(counts) or 'no figures'}"


@dataclass(frozen=True, slots=True)
class Route:
    """How a study's images are downloaded.

    Attributes
    ----------
    address : str
        Where its files are, or the page of its OME-Zarr.
    is_zarr : bool
        Whether IDR's own copy is OME-Zarr.
    replace, by : str
        What stands in the paths of its metadata, and the address that takes its place.
    """

    address: str = ""
    is_zarr: bool = False
    replace: str = ""
    by: str = ""


def is_accession(text: str) -> bool:
    """Return whether a text is an accession such as ``idr0036``, or begins with one."""
    return re.fullmatch(r"idr\d{4}(?:-[\w-]+)?", text.strip(), flags=re.IGNORECASE) is not None


def find_screen(published: Published, study: str, screen: str | None = None) -> ScreenFacts:
    """Return the screen of a study.

    Parameters
    ----------
    published : Published
        Where IDR's table of studies is.
    study : str
        Accession, ``idr0036``, or the study's whole name.
    screen : str, optional
        ``A`` or ``screenA``; needed when the study has several.

    Raises
    ------
    ConfigError
        If there is no such study or screen, or several; says which there are.
    DownloadError, TableError
        If the table cannot be had or read.
    """
    path = published.file("website", "studies.tsv")
    if path is None:
        msg = f"there is no {published.address('website', 'studies.tsv')}: IDR's table of studies"
        raise ConfigError(msg)
    rows = _rows(path, ("Study", "Container"))
    wanted = study.strip().casefold()
    known = {row["Study"] for row in rows}
    names = [name for name in known if wanted in (name.casefold(), name[:7].casefold())]
    if not names and "-" in wanted:  # a study's whole name needs no table
        newer = ScreenFacts(study.strip(), f"screen{(screen or 'A')[-1].upper()}")
        if published.file("studies", _plates_path(newer)) is not None:
            return newer
    if not names:
        near = difflib.get_close_matches(wanted, known | {name[:7] for name in known}, n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        hint += " A study newer than that table is found by its whole name"
        msg = f"IDR's table of studies has no {study}{hint}"
        raise ConfigError(msg)
    here = [row for row in rows if row["Study"] in names]
    screens = {row["Container"]: row for row in here if row["Container"].startswith("screen")}
    if not screens:
        kinds = ", ".join(row["Container"] for row in here)
        msg = f"{names[0]} has no screen, only {kinds}: images without plates and wells"
        raise ConfigError(msg)
    if screen is None and len(screens) == 1:
        return _facts(next(iter(screens.values())))
    letter = (screen or "").strip().casefold().removeprefix("screen")
    chosen = [row for name, row in screens.items() if name.casefold() == f"screen{letter}"]
    if not chosen and letter:
        facts = ScreenFacts(names[0], f"screen{letter.upper()}")
        if published.file("studies", _plates_path(facts)) is not None:
            return facts  # newer than IDR's table
    if not chosen:
        which = f"no screen {screen}" if screen else "several screens"
        msg = f"{names[0]} has {which}: choose one of {', '.join(screens)} (screen, --screen)"
        raise ConfigError(msg)
    return _facts(chosen[0])


def _plates_path(facts: ScreenFacts) -> str:
    return f"{facts.study}/{facts.screen}/{facts.accession}-{facts.screen}-plates.tsv"


def find_route(published: Published, facts: ScreenFacts) -> Route:
    """Return how a study is downloaded, as far as IDR's table of routes says it."""
    path = published.file("website", "download_urls.tsv")
    if path is None:
        return Route()
    for row in _rows(path, ("idrid",)):
        if row["idrid"].casefold() == facts.accession.casefold():
            return Route(
                row.get("download_url", ""),
                row.get("is_zarr", "").casefold() == "true",
                row.get("replace_this", "").strip("/"),
                row.get("with_this", "").rstrip("/"),
            )
    return Route()


def zarr_addresses(
    published: Published, facts: ScreenFacts, plates: dict[str, str]
) -> dict[str, str]:
    """Return the OME-Zarr address of each plate that IDR's lists of them have.

    Parameters
    ----------
    published : Published
        Where the lists are.
    facts : ScreenFacts
        The screen.
    plates : dict
        Each plate, and its name as the study writes it.
    """
    path = published.file("ngff", f"{facts.accession}_samples.csv")
    if path is None:
        return {}
    addresses: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        address = line.split(",", 1)[0].strip().strip('"').rstrip("/")
        if "://" in address and _ZARR.search(address):
            addresses.setdefault(_ZARR.sub("", PurePosixPath(address).name), address)
    return {plate: addresses[name] for plate, name in match_names(plates, addresses).items()}


def _facts(row: dict[str, str]) -> ScreenFacts:
    sizes = tuple(size.strip() for size in row.get("Avg. Image Dim (XYZCT)", "").split(" x "))
    return ScreenFacts(
        row["Study"],
        row["Container"],
        _number(row.get("Sets", "")),
        _number(row.get("Wells", "")),
        _number(row.get("5D Images", "")),
        _number(row.get("Size", "")),
        sizes if len(sizes) == len(_AXES) else (),
    )


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _rows(path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    rows = list(csv.reader(lines, delimiter="\t"))
    header = [cell.strip() for cell in rows[0]] if rows else []
    if any(name not in header for name in needed):
        msg = f"{path}, line 1: lacks {', '.join(needed)}; it has {shorten_list(header, 6)}"
        raise TableError(msg)
    return [
        dict(zip(header, (cell.strip() for cell in row), strict=False))
        for row in rows[1:]
        if len(row) > max(header.index(name) for name in needed)
    ]
