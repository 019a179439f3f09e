"""Write ``docs/any-screen.md``: what a table of each study in the data folder has.

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

HEAD = r"""# Any screen

| what you have | what to do |
|---|---|
| an accession of IDR | `idrstream table idr0036`, see [a real screen](real-screen.md#a-screen-by-its-accession) |
| a study's own plates file and annotation | `idrstream table plates.tsv --annotation annotation.csv` |
| a plate's folder | `idrstream table --files /data/plate1`: read by the index in it, else by how Opera Phenix, ImageXpress, CellVoyager, IN Cell and ScanR call their files |
| a plate's index | `idrstream table --files /data/plate1/Images/Index.idx.xml` |
| any folders of images | `idrstream table --files "/data/{plate}/r{row:02}c{column:02}f{site}p{z}-ch{channel}*.tiff"` |
| a LoadData CSV of CellProfiler | `idrstream table --files load_data.csv` |

All of them print what was found, what is missing and what was left out, write a table with `--out`, take `--channel DNA=4`,
`--site`, `--plate`, `--frames`, and a table of wells by `--annotation`. In Python: `table_from_idr`, `table_from_files`.
Folders may be on this machine, `https://` (a page of links), `ftp://` or `s3://`.

## A pattern of your own

`{plate}`, `{well}` (or `{row}` and `{column}`, letters or numbers), `{site}`, `{channel}`, `{z}` and `{time}` stand for what is in
the path; `{site:03}` has three digits, `{channel:2}` two signs. `*` is anything in a name, `?` one sign, `**` any folders. Files that
look like images and do not fit are counted. A regular expression with named groups does the same:
`"/data/(?P<plate>[^/]+)/.*_(?P<well>[A-P]\d\d)_w(?P<channel>\d)\.tif"`.

Channels are called by what stands in the name. Where the planes of a stack are in files of their own, `--plane 1` takes one of
them; without it the path names all (`p<01,02>`), and `Planes` says how many there are.

## Indexes

| index | microscope | what it needs beside it |
|---|---|---|
| `Index.idx.xml`, `Index.xml`, `Index.ref.xml` | Harmony: Operetta, Opera Phenix | |
| `MeasurementIndex.ColumbusIDX.xml` | Columbus | the image indexes that it names |
| `.HTD` | MetaXpress: ImageXpress | the names of the files in its folder, `TimePoint_1`, `ZStep_1` |
| `.wpi` | Yokogawa CellVoyager | `MeasurementData.mlf`; channels from the `.mes` |
| `.xdce` | IN Cell | |
| `experiment_descriptor.xml` | ScanR | the names of the files in `data` |
| `.companion.ome` | OME-TIFF | |

For a study of IDR they are read from the archive and kept in the cache. An index that is missing, cut, leads out of its folder,
or declares entities is not used: the balance says so, and the other plates go on.

## Studies of IDR

What comes out of the metadata of real studies, each cut to up to three plates a screen. Made by
`tools/any_screen.py` of the files in IDR's metadata repositories.

*Images* are rows that a stream takes. *To be read* are plates whose index or folder in the archive lists their images; for
these studies it was not asked.

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
    page.write_text(HEAD + "\n".join(rows(data / "studies")) + "\n", encoding="utf-8")
