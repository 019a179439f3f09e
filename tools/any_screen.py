"""Write ``docs/any-screen.md``: what a table of each study in the data folder has.

python tools/any_screen.py ../shared/data/idr docs/any-screen.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from idrstream.errors import UserError
from idrstream.screen.study.manifest import WHOLE_PLATES
from idrstream.screen.study.plates_file import read_plates_file
from idrstream.screen.study.study_table import study_table

HEAD = """# Any screen

What comes out of the metadata of real studies, each cut to up to three plates a screen. Made by
`tools/any_screen.py` of the files in IDR's metadata repositories.

*Images* are rows that a stream takes. *To be read* are plates whose index file or folder in the
archive lists their images: idrstream names its address, and does not read it yet.

| screen | plates | images | to be read | channels | what is missing |
|---|---|---|---|---|---|
"""


def rows(studies: Path) -> Iterator[str]:
    """Yield a row of the table for each plates file."""
    for plates in sorted(studies.rglob("*-plates.tsv"), key=lambda path: path.name):
        name = plates.name.removesuffix("-plates.tsv").replace("-screen", " ")
        n_plates = len(read_plates_file(plates).entries)
        annotation = sorted(plates.parent.glob("*-annotation.*"))
        try:
            study = study_table(plates, annotation[0] if annotation else None)
        except UserError as error:
            reason = str(error).partition(", column 2: ")[2].partition(";")[0]
            yield f"| {name} | {n_plates} | 0 | | | {reason} |"
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
    page.write_text(HEAD + "\n".join(rows(data / "studies")) + "\n", encoding="utf-8")
