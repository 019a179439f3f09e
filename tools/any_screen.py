"""Write the table at the end of ``docs/any-screen.md``: what each study in the data folder has.

python tools/any_screen.py ../shared/data/idr docs/any-screen.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from idrstream.archive.published import Published
from idrstream.errors import UserError
from idrstream.screen.study.archive_paths import in_metadata
from idrstream.screen.study.field_rows import WHOLE_PLATES
from idrstream.screen.study.plates_file import read_plates_file
from idrstream.screen.study.study_table import study_table

HEADER = "| screen | plates | images | to be read | channels | what is missing |"


def rows(studies: Path) -> Iterator[str]:
    """Yield a row of the table for each plates file."""
    for plates in sorted(studies.rglob("*-plates.tsv"), key=lambda path: path.name):
        name = plates.name.removesuffix("-plates.tsv").replace("-screen", " ")
        n_plates = len(read_plates_file(plates).entries)
        annotation = sorted(plates.parent.glob("*-annotation.*"))
        try:
            study = study_table(plates, annotation[0] if annotation else None)
        except UserError as error:  # .screen files that are not here
            inside = in_metadata(str(error).partition(", column 2: ")[2].partition(" is not")[0])
            study_name = plates.parents[1].name
            address = Published().address("studies", f"{study_name}/{inside}")
            yield f"| {name} | {n_plates} | 0 | {n_plates}, `{address}` | | |"
            continue
        unread = study.balance.plates.unread
        missing = [] if annotation else ["no annotation here"]
        missing += [
            sentence.partition(":")[0]
            for sentence in study.balance.gaps()
            if "has to be read" not in sentence
        ]
        asked = f"{len(unread)}, `{Path(next(iter(unread.values()))).name}`" if unread else ""
        images = int((~study.table["Source"].isin(WHOLE_PLATES)).sum())
        cells = (name, n_plates, images, asked, ", ".join(study.channels), "; ".join(missing))
        yield f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    data, page = Path(sys.argv[1]), Path(sys.argv[2])
    text = page.read_text(encoding="utf-8").partition(HEADER)[0]
    lines = [HEADER, "|---|---|---|---|---|---|", *rows(data / "studies")]
    page.write_text(text + "\n".join(lines) + "\n", encoding="utf-8")
