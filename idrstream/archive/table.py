"""The table to process of a screen, by its accession or from a study's own files.

A row of the table is a field of a well. Several rows may share a file, which is then downloaded
once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from idrstream.archive.plates import place_of
from idrstream.archive.published import Published, Sources
from idrstream.archive.screens import (
    Route,
    ScreenFacts,
    find_route,
    find_screen,
    is_accession,
    zarr_addresses,
)
from idrstream.archive.study_files import PUBLIC, StudyFiles, public_path
from idrstream.errors import ConfigError, TableError
from idrstream.screen.columns import CHANNEL_NAMES, PAGES, PLANES, PLATE, SOURCE, channel_columns
from idrstream.screen.study.archive_paths import under_archive
from idrstream.screen.study.balance import Balance
from idrstream.screen.study.field_rows import WHOLE_PLATES, OpenedPlate
from idrstream.screen.study.plates_file import read_plates_file
from idrstream.screen.study.study_table import StudyTable, no_image, study_table
from idrstream.text import counted

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("idrstream.screen")

Route_: TypeAlias = Literal["auto", "zarr", "files"]
_ROUTES = ("auto", "zarr", "files")


@dataclass(frozen=True, slots=True)
class ScreenTable:
    """A screen as IDR publishes it, and the table to process that is made of it.

    Attributes
    ----------
    facts : ScreenFacts
        What IDR's table of studies says of it.
    study : StudyTable
        The table, the balance and the channels.
    route : str
        How the images are downloaded, as a sentence.
    missing : tuple of str
        What is not published or was not found.
    """

    facts: ScreenFacts
    study: StudyTable
    route: str
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return what there is to know before anything is downloaded."""
        table = self.study.table[~self.study.table[SOURCE].isin(WHOLE_PLATES)]
        wells = len(table.drop_duplicates([PLATE, "Well"]))
        fields = int(table.groupby([PLATE, "Well"]).size().max()) if len(table) else 0
        here = [(table[PLATE].nunique(), "plate"), (wells, "well"), (len(table), "image")]
        what = ", ".join(counted(number, noun) for number, noun in here)
        lines = [str(self.facts), f"table: {what}, up to {counted(fields, 'field')} of a well"]
        lines.append(f"channels: {', '.join(self.study.channels) or self._stated_channels()}")
        lines.append(f"route: {self.route}")
        lines += [f"missing: {what}" for what in self.missing]
        return "\n".join((*lines, str(self.study.balance)))

    def _stated_channels(self) -> str:
        """Return what the annotation says of the channels."""
        stated = set(self.study.table.get("Channels", ())) - {""}
        return f"as the annotation says: {min(stated)}" if stated else "not named"


def table_from_idr(
    study: Path | str,
    annotation_csv: Path | str | None = None,
    screen_files: Path | str | Iterable[Path | str] = (),
    *,
    frames: str | int | Sequence[int] = 1,
    movie_frames: int | None = None,
    where: Mapping[str, str | Sequence[str]] | None = None,
    plates: Iterable[str] | None = None,
    sites: int | Iterable[int] | None = None,
    gene_column: str | None = None,
    pattern_values: Sequence[str] = (),
    channels: str | Iterable[str] = (),
    plane: int | None = None,
    screen: str | None = None,
    route: Route_ = "auto",
    idr_data: Sources | Path | str | None = None,
) -> pd.DataFrame:
    """Build the table to process of a screen, by its accession or from a study's own files.

    Parameters
    ----------
    study : path or str
        An accession such as ``"idr0036"``, whose files are then taken from where IDR publishes
        them; or the study's plates file, for example ``idr0002-screenA-plates.tsv``.
    annotation_csv : path, optional
        Its annotation, ``.csv``, ``.csv.gz`` or ``.csv.zip``; its columns are
        kept as metadata. Wells that are not in it are left out.
    screen_files : path or iterable of path
        The ``.screen`` and ``.pattern`` files that the plates file names, or folders that have
        them. Not needed for files at the paths in the plates file.
    frames : str, int or sequence of int
        Frames of every movie, from 1: ``50``, ``[1, 50]``, ``"1-93:10"``, ``"all"`` or
        ``"every 10"`` (as many as each movie has), or ``"column NAME"`` for the annotation's
        column of that name.
    movie_frames : int, optional
        Frames of the longest movie: ``"all"`` and ``"every 10"`` become ranges up to it. Frames
        beyond the end of a shorter one are skipped with that reason.
    where : mapping, optional
        Rows of the annotation to keep: column to value or values, as
        ``{"Control Type": ["positive control", "negative control"]}``.
    plates : iterable of str, optional
        Plates to keep; by default all.
    sites : int or iterable of int, optional
        Fields of a well to keep, from 1; by default all.
    gene_column : str, optional
        Column of the annotation that is the gene target, for example ``Gene Symbol``.
    pattern_values : sequence of str
        For files that belong together by a pattern: the value of each block that names the file
        with the wanted channel, for example ``["dapi"]``.
    channels : str or iterable of str
        For images whose channels are in files of their own: the wanted ones, each as ``DNA`` or
        ``DNA=Hoechst``, by name (in any case), by the value of the pattern's block, or by
        position from 0. By default all, under their own names.
    plane : int, optional
        The plane to take, from 1, where planes are in files of their own; by default all.
    screen : str, optional
        For an accession with several screens: ``"A"``.
    route : {"auto", "zarr", "files"}
        For an accession: take images from OME-Zarr, from the files, or from OME-Zarr where IDR
        has it for all plates of the table.
    idr_data : Sources, path or str, optional
        For an accession: where IDR's metadata are, by default on the web. A folder or address
        has ``website``, ``studies`` and ``ngff``; see `Sources`.

    Returns
    -------
    pandas.DataFrame
        ``Plate, Well, Frames, Well Number, Site, Path, Source`` and the annotation's columns, all
        as text, sorted as the plates file and by well and site. ``Source`` says what the path is:
        a file, or (see the docs) a key file or directory that stands for the whole plate. With
        several channels in files of their own, ``Path`` is empty and each has a column, such as
        ``Path DNA``.

    Raises
    ------
    TableError
        If a file is wrong; names file, line and column.
    ConfigError
        If an option is wrong, or there is no such study or screen.
    DownloadError
        If IDR's metadata cannot be reached.
    """
    found = described_table(
        study, annotation_csv, screen_files, screen=screen, route=route, idr_data=idr_data,
        frames=frames, movie_frames=movie_frames, where=where, plates=plates, sites=sites,
        gene_column=gene_column, pattern_values=pattern_values, channels=channels, plane=plane,
    )  # fmt: skip
    made = found.study if isinstance(found, ScreenTable) else found
    for sentence in made.balance.gaps():
        logger.warning("%s", sentence)
    if made.table.empty:
        raise TableError(f"{study}: {no_image(made.balance)}")
    return made.table


def described_table(
    study: Path | str,
    annotation_csv: Path | str | None = None,
    screen_files: Path | str | Iterable[Path | str] = (),
    *,
    screen: str | None = None,
    route: Route_ = "auto",
    idr_data: Sources | Path | str | None = None,
    **options: Any,
) -> StudyTable | ScreenTable:
    """Return what `table_from_idr` makes, with all that is known of it.

    Returns
    -------
    ScreenTable or StudyTable
        For an accession, or for a plates file. Its table may have no rows.
    """
    if not is_accession(str(study)) or Path(study).exists():
        if screen is not None or route != "auto" or idr_data is not None:
            msg = f"{study} is a plates file: screen, route and idr_data are for an accession"
            raise ConfigError(msg)
        if "://" not in str(study) and not Path(study).exists():
            msg = f"{study} is no accession, such as idr0013, and there is no file of this name"
            raise TableError(msg)
        return study_table(study, annotation_csv, screen_files, open_plate=_place_named, **options)
    if annotation_csv is not None or list(_listed(screen_files)):
        msg = f"{study} is an accession: annotation_csv and screen_files come from IDR"
        raise ConfigError(msg)
    return screen_table(str(study), screen, route=route, idr_data=idr_data, **options)


def screen_table(
    study: str,
    screen: str | None = None,
    *,
    route: Route_ = "auto",
    idr_data: Sources | Path | str | None = None,
    **options: Any,
) -> ScreenTable:
    """Return a screen by its accession, with the table to process and all that is known of it.

    Parameters
    ----------
    study, screen, route, idr_data
        As for `table_from_idr`.
    **options
        What else `table_from_idr` takes: ``frames``, ``where``, ``channels`` ...

    Returns
    -------
    ScreenTable
        Its table may have no rows; the balance says why.

    Raises
    ------
    TableError, ConfigError, DownloadError
        As `table_from_idr`.
    """
    if route not in _ROUTES:
        msg = f"route is {route!r}; it can be {', '.join(_ROUTES)}"
        raise ConfigError(msg)
    if not isinstance(idr_data, Sources):
        idr_data = Sources() if idr_data is None else Sources.at(idr_data)
    published = Published(idr_data)
    facts = find_screen(published, study, screen)
    files = StudyFiles(published, facts)
    plates_tsv = files.required("plates.tsv")
    annotation = files.annotation()
    missing: list[str] = []
    if annotation is None:
        missing.append("annotation: the wells are those that the files name")
        if options.get("where") or options.get("gene_column"):
            msg = f"{facts.study} {facts.screen} has no annotation: where and gene_column need one"
            raise ConfigError(msg)
    way = find_route(published, facts)
    entries = read_plates_file(plates_tsv).entries
    names = {entry.plate: entry.name for entry in entries}
    addresses = zarr_addresses(published, facts, names) if route != "files" else {}
    with_zarr = {entry.target for entry in entries if entry.plate in addresses}
    open_plate = files.opener(way, with_zarr)
    made = study_table(plates_tsv, annotation, fetch=files.named, open_plate=open_plate, **options)
    if not way.address:
        missing.append("route: IDR's table of routes does not have the study")
    made = replace(
        made,
        table=_with_public_paths(made.table, way),
        balance=_with_public_addresses(made.balance, way),
    )
    return _by_route(facts, made, route, way, addresses, missing)


def _by_route(
    facts: ScreenFacts,
    made: StudyTable,
    route: Route_,
    way: Route,
    addresses: Mapping[str, str],
    missing: list[str],
) -> ScreenTable:
    """Return the table with the images' OME-Zarr where all plates have one."""
    there = [plate for plate in dict.fromkeys(made.table[PLATE]) if plate in addresses]
    lacking = [plate for plate in dict.fromkeys(made.table[PLATE]) if plate not in addresses]
    if route == "zarr" and (lacking or not there):
        msg = f"{facts.study} {facts.screen}: IDR's lists of OME-Zarr lack {lacking[:3] or 'it'}"
        raise ConfigError(msg)
    if not there and made.table[SOURCE].eq("zarr").any():
        missing.append(
            f"OME-Zarr: the study names {made.table['Path'].iloc[0]}, a path on IDR's server; "
            "IDR's lists have no address of it, so fill in the column URL"
        )
    if there and not lacking:
        table = _from_zarr(made.table, addresses)
        if made.channels and not made.channels_differ:
            table[CHANNEL_NAMES] = ";".join(made.channels)
        return ScreenTable(facts, replace(made, table=table), _zarr_text(addresses), tuple(missing))
    return ScreenTable(facts, made, _files_text(made.table, way), tuple(missing))


def _place_named(target: str) -> OpenedPlate | None:
    """Return the plate that a plates file names by its whole path or address."""
    return place_of(target) if target.startswith("/") or "://" in target else None


def _with_public_paths(table: pd.DataFrame, way: Route) -> pd.DataFrame:
    """Return paths on IDR's servers as paths of the public archive, as its routes say."""
    if not way.replace or not way.by.startswith(PUBLIC):
        return table

    columns = ["Path", *channel_columns(table.columns).values()]
    return table.assign(
        **{name: [public_path(path, way) for path in table[name]] for name in columns}
    )


def _with_public_addresses(balance: Balance, way: Route) -> Balance:
    """Return the balance with the whole addresses of what has to be read."""
    unread: dict[str, str] = {}
    for plate, path in balance.plates.unread.items():
        inside = under_archive(public_path(path, way))
        unread[plate] = path if inside is None else f"{PUBLIC}/{inside}"
    return replace(balance, plates=replace(balance.plates, unread=unread))


def _from_zarr(table: pd.DataFrame, addresses: Mapping[str, str]) -> pd.DataFrame:
    """Return the table with the Zarr of each row's plate in the place of its files."""
    places = (*channel_columns(table.columns).values(), PLANES, PAGES)
    kept = table.drop(columns=list(places), errors="ignore")
    return kept.assign(
        **{"Path": "", SOURCE: "zarr", "URL": [addresses[plate] for plate in table[PLATE]]}
    )


def _zarr_text(addresses: Mapping[str, str]) -> str:
    return f"OME-Zarr, {next(iter(addresses.values()))} and the like"


def _files_text(table: pd.DataFrame, way: Route) -> str:
    if table.empty:
        return way.address or "unknown"
    columns = ["Path", *channel_columns(table.columns).values()]
    first = next((path for name in columns for path in table[name] if path), "")
    inside = under_archive(first)
    if inside is None:
        return f"files at {way.address or first}"
    folder = inside.partition("/")[0]
    return f"files over HTTPS or FTP, {PUBLIC}/{folder} (download.idr_index_name = {folder!r})"


def _listed(paths: Path | str | Iterable[Path | str]) -> Sequence[Path | str]:
    return [paths] if isinstance(paths, (str, Path)) else list(paths)
