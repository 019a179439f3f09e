"""Which file has which image of a plate: the same as Bio-Formats says, for each index."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import tifffile
from movie_files import bioformats_jar  # noqa: F401, a fixture
from plates import WRITERS, columbus

from idrstream.archive.plates import place_of

SCRIPT = """
import json, sys
import jpype
jpype.startJVM("-Xmx512m", "-Djava.awt.headless=true", classpath=[sys.argv[1]])
java = jpype.JClass
java("loci.common.DebugTools").setRootLevel("OFF")
factory = java("loci.common.services.ServiceFactory")()
service = factory.getInstance(java("loci.formats.services.OMEXMLService"))

def read(path):
    reader = java("loci.formats.ImageReader")()
    store = service.createOMEXMLMetadata()
    reader.setMetadataStore(store)
    reader.setGroupFiles(True)
    reader.setId(path)
    places = {}
    for well in range(store.getWellCount(0)):
        row, column = (
            int(str(get(0, well).getValue())) for get in (store.getWellRow, store.getWellColumn)
        )
        for sample in range(store.getWellSampleCount(0, well)):
            image = str(store.getWellSampleImageRef(0, well, sample))
            places[image] = (row, column, sample + 1)
    found = []
    for series in range(reader.getSeriesCount()):
        reader.setSeries(series)
        place = places.get(str(store.getImageID(series)))
        if place is None:
            continue
        order = "little" if reader.isLittleEndian() else "big"
        for t in range(reader.getSizeT()):
            for z in range(reader.getSizeZ()):
                for c in range(reader.getSizeC()):
                    pixels = bytes(reader.openBytes(reader.getIndex(z, c, t)))
                    value = int.from_bytes(pixels[:2], order)
                    if value:  # blank where a plate has no such image
                        found.append([*place, c, z, t, value])
    kind = str(reader.getFormat())
    reader.close()
    return [kind, sorted(found)]

answers = {}
for name, path in json.load(sys.stdin).items():
    try:
        answers[name] = read(path)
    except Exception as error:
        answers[name] = [None, str(error)]
print("ANSWER" + json.dumps(answers))
"""


@pytest.mark.java
def test_the_same_file_for_every_image_as_bio_formats(bioformats_jar, tmp_path):  # noqa: F811
    """One process for all formats: Java takes most of the time."""
    writers = {**WRITERS, "Columbus pages": partial(columbus, paged=True)}
    indexes = {
        kind: str(tmp_path / kind / write(tmp_path / kind)) for kind, write in writers.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(bioformats_jar)],
        input=json.dumps(indexes), capture_output=True, text=True, check=True,
    )  # fmt: skip
    theirs = json.loads(done.stdout.partition("ANSWER")[2])
    for kind, path in indexes.items():
        opened = place_of(path)
        ours = [
            [*file[:6], int(tifffile.imread(Path(opened.folder) / file.path, key=file.page)[0, 0])]
            for file in opened.index.files
        ]
        reader, images = theirs[kind]
        assert reader is not None, f"{kind}: {images}"
        assert images == sorted(ours), f"{kind} by {reader}"
