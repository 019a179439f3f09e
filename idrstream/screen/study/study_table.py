"""The table to process of a study's own files, and the balance of what is in it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idrstream.errors import ConfigError, TableError
from idrstream.screen.columns import FRAMES, GENE, PLATE, SOURCE
from idrstream.screen.study.annotation import choose_rows, read_annotation
from idrstream.screen.study.balance import Balance, Plates
from idrstream.screen.study.channel_files import wanted_channels
from idrstream.screen.study.choices import frames_text, wanted_plane, wanted_sites
from idrstream.screen.study.field_rows import (
    WHOLE_PLATES,
    Choice,
    FieldRow,
    KnownRows,
    OpenedPlate,
    OpenPlate,
)
from idrstream.screen.study.index_rows import rows_of_index
from idrstream.screen.study.join import Annotated, Joined, wells_of_annotation, wells_of_files
from idrstream.screen.study.manifest import Fetch, Finder, name_channels, rows_of
from idrstream.screen.study.plate_names import file_name, match_names, unlike
from idrstream.screen.study.plates_file import PlateEntry, read_plates_file
from idrstream.text import shorten_list

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("idrstream.screen")

_SHOWN = 12

PLATE_NAME = "Plate Name"
"""Column with the name of a plate as its study writes it, where files cannot have that name."""


@dataclass(frozen=True, slots=True)
class StudyTable:
    """A table to process, and what became of everything that the study has.

    Attributes
    ----------
    table : pandas.DataFrame
        See `table_from_idr`; may have no rows.
    balance : Balance
        Every plate, line of the annotation and image, counted once.
    channels : tuple of str
        Names of the images' channels, as far as the study's files have them.
    channels_differ : bool
        Whether not all images have all of them, in this order.
    names : dict
        Each plate, and its name as the study writes it.
    """

    table: pd.DataFrame
    balance: Balance
    channels: tuple[str, ...] = ()
    channels_differ: bool = False
    names: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the files of a study name.

    Attributes
    ----------
    path : Path
        Where that stands, for messages.
    entries, chosen : sequence of PlateEntry
        All plates, and those that are wanted.
    rows : list of FieldRow
        Images of the wanted plates.
    notes : tuple of str
        What is worth knowing.
    unread : mapping of str to str
        Why the index or folder of a plate could not be read.
    """

    path: Path
    entries: Sequence[PlateEntry]
    chosen: Sequence[PlateEntry]
    rows: list[FieldRow]
    notes: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict)


def study_table(
    plates_tsv: Path | str,
    annotation_csv: Path | str | None = None,
    screen_files: Path | str | Iterable[Path | str] = (),
    *,
    plates: Iterable[str] | None = None,
    pattern_values: Sequence[str] = (),
    channels: str | Iterable[str] = (),
    plane: int | None = None,
    fetch: Fetch | None = None,
    open_plate: OpenPlate | None = None,
    **options: Any,
) -> StudyTable:
    """Return the table of a study's own files, with the balance of what is in it and what is not.

    Parameters
    ----------
    plates_tsv : path
        The study's plates file.
    fetch : callable, optional
        Returns a ``.screen`` or ``.pattern`` file that is not here, by what names it.
    open_plate : callable, optional
        Reads the index or folder of a plate, by what names it.
    annotation_csv, screen_files, plates, pattern_values, channels, plane
        As for `idrstream.table_from_idr`.
    **options
        Its frames, movie_frames, where, sites and gene_column.

    Raises
    ------
    TableError, ConfigError
        As `table_from_idr`, but for a table without rows, whose balance says why.
    """
    plates_tsv = Path(plates_tsv)
    listed = read_plates_file(plates_tsv)
    chosen = _chosen_plates(listed.entries, plates, plates_tsv)
    choice = Choice(tuple(pattern_values), wanted_channels(channels), wanted_plane(plane))
    finder = Finder(plates_tsv, screen_files, fetch, open_plate)
    rows = [row for entry in chosen for row in rows_of(entry, finder, choice)]
    notes = (*listed.notes, *finder.notes)
    found = _Found(plates_tsv, listed.entries, chosen, rows, notes, finder.unread)
    return _table_of(found, annotation_csv, **options)


def opened_table(
    opened: Sequence[tuple[str, OpenedPlate | KnownRows]],
    source: str,
    annotation_csv: Path | str | None = None,
    *,
    plates: Iterable[str] | None = None,
    channels: str | Iterable[str] = (),
    plane: int | None = None,
    notes: Iterable[str] = (),
    **options: Any,
) -> StudyTable:
    """Return the table of plates whose images are known.

    Parameters
    ----------
    opened : sequence of (str, OpenedPlate or KnownRows)
        Plates with their names.
    source : str
        Where they are, for messages.
    annotation_csv, plates, channels, plane, **options
        As for `study_table`.
    notes : iterable of str
        What is worth knowing.

    Raises
    ------
    TableError, ConfigError
        As for `study_table`.
    """
    choice = Choice((), wanted_channels(channels), wanted_plane(plane))
    entries: list[PlateEntry] = []
    by_plate: dict[str, OpenedPlate | KnownRows] = {}
    for number, (name, plate) in enumerate(opened, start=1):
        unique = unlike(file_name(name), by_plate)
        target = plate.address if isinstance(plate, KnownRows) else plate.folder
        entries.append(PlateEntry(unique, target, "directory", number, name))
        by_plate[unique] = plate
    chosen = _chosen_plates(entries, plates, Path(source))
    rows: list[FieldRow] = []
    said = [*notes]
    for entry in chosen:
        plate, where = by_plate[entry.plate], f"plate {entry.plate}"
        if isinstance(plate, KnownRows):
            own, worth_knowing = _known_rows(entry, plate, choice)
        else:
            index = plate.index
            own, worth_knowing = rows_of_index(entry.plate, index, entry.target, choice, where)
        rows += own
        said += [f"{where}: {note}" for note in worth_knowing]
    unread = {
        entry.plate: plate.problem
        for entry in chosen
        if isinstance(plate := by_plate[entry.plate], KnownRows) and plate.problem
    }
    found = _Found(Path(source), entries, chosen, rows, tuple(said), unread)
    return _table_of(found, annotation_csv, **options)


def _known_rows(
    entry: PlateEntry, plate: KnownRows, choice: Choice
) -> tuple[list[FieldRow], list[str]]:
    """Return the rows of a plate of OME-Zarr and what is worth knowing."""
    if plate.problem:
        return [FieldRow(entry.plate, None, 0, 1, entry.target, "zarr")], []
    notes = list(plate.notes)
    if choice.channels or choice.plane is not None:
        notes.append("its channels and planes are chosen in the stream: image_channels, z")
    return [row._replace(plate=entry.plate) for row in plate.rows], notes


def _table_of(
    files: _Found,
    annotation_csv: Path | str | None,
    *,
    frames: str | int | Sequence[int] = 1,
    movie_frames: int | None = None,
    where: Mapping[str, str | Sequence[str]] | None = None,
    sites: int | Iterable[int] | None = None,
    gene_column: str | None = None,
) -> StudyTable:
    """Join the images of a study with its annotation, and count what is left over."""
    import pandas as pd

    annotation = _annotation(annotation_csv, where, gene_column)
    chosen_sites = wanted_sites(sites)
    rows = [
        row
        for row in name_channels(files.rows)
        if row.position is None or chosen_sites is None or row.site in chosen_sites
    ]
    manifest = pd.DataFrame(rows, columns=list(FieldRow._fields))
    names = {entry.plate: entry.name for entry in files.chosen}
    all_names = {entry.plate: entry.name for entry in files.entries}
    if annotation is None:
        matched = dict(names)
        joined = wells_of_files(manifest)
    else:
        matched = match_names(all_names, annotation.table[PLATE])
        if not matched:
            some = shorten_list(annotation.table[PLATE].unique(), 3)
            msg = f"{annotation.path}, column Plate: has none of the plates, but {some}"
            raise TableError(msg)
        wanted = {plate: name for plate, name in matched.items() if plate in names}
        joined = wells_of_annotation(manifest, wanted, annotation)
        joined = _other_plates(joined, annotation, matched, wanted)
    table = _streamable(joined.table, files.unread)
    table = _finish(_with_names(table, names), frames, movie_frames, gene_column)
    left_out = len(files.rows) - len(rows)
    images = replace(joined.images, not_chosen=joined.images.not_chosen + left_out)
    groups = _plates(files, table, matched)
    if annotation is not None:
        only = set(annotation.table[PLATE]) - {""} - set(matched.values())
        groups = replace(groups, only_annotated=tuple(sorted(only)))
    balance = Balance(groups, joined.lines, images, files.notes)
    without = groups.not_annotated
    table.attrs["plates_without_annotation"] = list(without)
    if without:
        logger.warning(
            "%d of %d plates have no annotation in %s and are left out: %s",
            len(without), len(files.chosen), annotation_csv, shorten_list(without, _SHOWN),
        )  # fmt: skip
    found_channels = tuple(dict.fromkeys(name for row in rows for name in row.channels))
    differ = len({row.channels for row in rows}) > 1
    return StudyTable(table, balance, found_channels, differ, all_names)


def _streamable(table: pd.DataFrame, unread: Iterable[str]) -> pd.DataFrame:
    """Return the table without rows that stand for a whole plate, unless there are no others.

    A stream refuses such rows, and with them all others of the table; the balance counts them.
    Those of plates that could not be read are always left out.
    """
    table = table[~table[PLATE].isin(set(unread))]
    whole = table[SOURCE].isin(WHOLE_PLATES)
    return table if whole.all() else table[~whole].copy()


def no_image(balance: Balance) -> str:
    """Return why a table has no rows."""
    plates = balance.plates
    if plates.reasons:
        plate, reason = next(iter(plates.reasons.items()))
        return f"the index of plate {plate} cannot be used: {reason}. {balance}"
    if plates.unread:
        plate, address = next(iter(plates.unread.items()))
        return (
            f"plate {plate} has an index or folder ({address}) that does not name its wells: give "
            f"the study's annotation_csv. {balance}"
        )
    return f"none of its plates has the wanted images. {balance}"


def _annotation(
    path: Path | str | None,
    where: Mapping[str, str | Sequence[str]] | None,
    gene_column: str | None,
) -> Annotated | None:
    if path is None:
        if where or gene_column:
            msg = "where and gene_column choose by the annotation: give annotation_csv"
            raise ConfigError(msg)
        return None
    path = Path(path)
    table = read_annotation(path)
    if table.empty and not where:
        return None
    chosen = choose_rows(table, where, path) if where else table
    return Annotated(table, chosen.index, path)


def _other_plates(
    joined: Joined, annotation: Annotated, matched: Mapping[str, str], wanted: Mapping[str, str]
) -> Joined:
    """Count lines of plates that were not chosen as such, not as those of unknown plates."""
    left = set(matched.values()) - set(wanted.values())
    count = int(annotation.table[PLATE].isin(left).sum())
    lines = replace(
        joined.lines,
        not_chosen=joined.lines.not_chosen + count,
        of_other_plates=joined.lines.of_other_plates - count,
    )
    return joined._replace(lines=lines)


def _with_names(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return the table with the study's own names of plates, where files need others."""
    if all(plate == name for plate, name in names.items()):
        return table
    return table.assign(**{PLATE_NAME: [names[plate] for plate in table[PLATE]]})


def _plates(files: _Found, table: pd.DataFrame, matched: Mapping[str, str]) -> Plates:
    """Put every plate of the plates file into its group."""
    sources: dict[str, FieldRow] = {}
    for row in files.rows:
        sources.setdefault(row.plate, row)
    used, asked = set(table[PLATE]), {entry.plate for entry in files.chosen}
    groups: dict[str, list[str]] = {}
    unread: dict[str, str] = {}
    for entry in files.entries:
        first = sources.get(entry.plate)
        if first is not None and _is_unread(first, entry.plate in used):
            unread[entry.plate] = entry.target
            continue
        if entry.plate in used:
            group = "used"
        elif first is None:
            group = "without_image" if entry.plate in asked else "not_chosen"
        else:
            group = "not_chosen" if entry.plate in matched else "not_annotated"
        groups.setdefault(group, []).append(entry.plate)
    own = {entry.plate: entry.name for entry in files.entries}
    renamed = {plate: name for plate, name in matched.items() if name not in (plate, own[plate])}
    return Plates(
        **{group: tuple(plates) for group, plates in groups.items()},
        unread=unread,
        reasons={plate: files.unread[plate] for plate in unread if plate in files.unread},
        renamed=renamed,
    )


def _is_unread(row: FieldRow, used: bool) -> bool:
    """Return whether only the plate's index, folder or Zarr knows its images or its wells."""
    return row.source in WHOLE_PLATES or (row.position is None and not used)


def _chosen_plates(
    entries: Sequence[PlateEntry], plates: Iterable[str] | None, path: Path
) -> list[PlateEntry]:
    if plates is None:
        return list(entries)
    wanted = {plates} if isinstance(plates, str) else set(plates)
    known = {name for entry in entries for name in (entry.plate, entry.name)}
    unknown = sorted(wanted - known)
    if unknown:
        msg = f"{path} has no plate {', '.join(map(repr, unknown[:5]))}"
        raise TableError(msg)
    return [entry for entry in entries if {entry.plate, entry.name} & wanted]


def _finish(
    table: pd.DataFrame,
    frames: str | int | Sequence[int],
    movie_frames: int | None,
    gene_column: str | None,
) -> pd.DataFrame:
    if gene_column is not None:
        if gene_column not in table.columns:
            msg = f"gene_column is {gene_column!r}, which the annotation does not have"
            raise ConfigError(msg)
        table[GENE] = table[gene_column]
    if isinstance(frames, str) and frames.startswith("column "):
        column = frames.removeprefix("column ").strip()
        if column not in table.columns:
            msg = f"frames is {frames!r}, but the annotation has no column {column!r}"
            raise ConfigError(msg)
        table[FRAMES] = table[column]
    else:
        table[FRAMES] = frames_text(frames, movie_frames)
    return table.reset_index(drop=True)
