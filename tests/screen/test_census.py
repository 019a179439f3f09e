"""Every study in the data folder: what goes in is counted out, none is refused for its form."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from pathlib import Path

import pytest

from idrstream.errors import TableError
from idrstream.screen import tasks_from_table
from idrstream.screen.columns import channel_columns
from idrstream.screen.indexes import index_kind
from idrstream.screen.study.field_rows import WHOLE_PLATES
from idrstream.screen.study.plates_file import plate_kind, read_plates_file
from idrstream.screen.study.study_table import study_table


def _annotation_of(plates: Path) -> Path | None:
    stem = plates.name.replace("-plates.tsv", "-annotation.csv")
    found = sorted(plates.parent.glob(f"{stem}*"))
    return found[0] if found else None


def _lines_of(annotation: Path | None) -> int:
    """Lines below the header, read by Python's own csv module."""
    if annotation is None:
        return 0
    content = annotation.read_bytes()
    if annotation.suffix == ".zip":
        with zipfile.ZipFile(annotation) as archive:
            content = archive.read(archive.namelist()[0])
    text = content.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return sum(any(row) for row in csv.reader(io.StringIO(text))) - 1


def _screen_fields(screens: list[Path]) -> int:
    return sum(len(re.findall(r"(?m)^Field_\d+\s*=\s*\S", path.read_text())) for path in screens)


@pytest.fixture
def studies(shared_data) -> Path:
    folder = shared_data / "idr" / "studies"
    if not folder.is_dir():
        pytest.skip("no studies")
    return folder


def test_every_plate_line_and_image_of_every_study_is_counted_once(studies):
    usable: set[str] = set()
    for plates in sorted(studies.rglob("*plates.tsv")):
        annotation = _annotation_of(plates)
        listed = read_plates_file(plates)
        text_lines = [line for line in re.split(r"[\r\n]+", plates.read_text()) if line.strip()]
        assert len(listed.entries) + listed.no_plate == len(text_lines), plates.name
        here = [
            path
            for entry in listed.entries
            if entry.kind == "screen"
            for path in studies.rglob(Path(entry.target).name)
        ]
        folders = [path.parent for path in here]
        if len(here) < sum(entry.kind == "screen" for entry in listed.entries):
            with pytest.raises(TableError, match=r"\.screen is not here; get it from the study's"):
                study_table(plates, annotation, folders)
            continue
        study = study_table(plates, annotation, folders)
        balance, table = study.balance, study.table
        assert balance.plates.listed == len(listed.entries), plates.name
        assert balance.lines.read == _lines_of(annotation), plates.name
        streamed = table[~table["Source"].isin(WHOLE_PLATES)]
        assert balance.images.used == len(streamed), plates.name
        if here:
            assert balance.images.named == _screen_fields(here), plates.name
        for plate, address in balance.plates.unread.items():
            assert plate
            assert address.startswith("/"), plates.name
            # What the archive is asked for: an index that is read, a folder, or OME-Zarr.
            read = index_kind(address) or plate_kind(address) in ("directory", "zarr")
            assert read, f"{plates.name}: {address}"
        if len(streamed):
            assert len(tasks_from_table(streamed)) == len(streamed)
            located = streamed["Path"].ne("")
            for column in channel_columns(streamed.columns).values():
                located |= streamed[column].ne("")
            assert located.all(), plates.name
            usable.add(plates.name)
        else:
            assert balance.plates.unread, plates.name
        assert table["Plate"].nunique() + len(balance.plates.unread) >= 1
    assert len(usable) >= 12
