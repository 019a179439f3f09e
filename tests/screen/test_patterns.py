"""Patterns stand for the files that Bio-Formats' FilePattern says."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from movie_files import bioformats_jar  # noqa: F401, a fixture

from idrstream.screen.study.pattern import expand_pattern

KNOWN = {
    "red_<dapi, gfp>.tif": ["red_dapi.tif", "red_ gfp.tif"],
    "<1,2,5-7>": ["1", "2", "5-7"],
    "<001-010:3>": ["001", "004", "007", "010"],
    "<8-11>": ["8", "9", "10", "11"],
    "<s1-s3>": ["s1", "s2", "s3"],
    "<S01-S03>": ["S01", "S02", "S03"],
    "<A-c>": ["A", "B", "C"],
    "<a-c:2>": ["a", "c"],
    "<8-c>": ["8", "9", "A", "B", "C"],
    "< a>": [" a"],
    "<1-2,>": ["1-2", ""],
}
# Bio-Formats fails on these, or makes nonsense of them; they are single values here.
NAMES = ["<DAPI-2>", "<1F04-773C-AA>", "<1->", "<a_b-a_d>", "<>"]


@pytest.mark.parametrize("pattern", KNOWN)
def test_blocks(pattern):
    assert [file.path for file in expand_pattern(pattern)] == KNOWN[pattern]


@pytest.mark.parametrize("pattern", NAMES)
def test_a_name_with_a_dash_is_one_value(pattern):
    assert [file.path for file in expand_pattern(pattern)] == [pattern[1:-1]]


@pytest.mark.parametrize("pattern", ["<10-1>", "<z-a>", "<1-2:0>", "<1-999999>", "a<b", "<1-zzzz>"])
def test_refused(pattern):
    with pytest.raises(ValueError, match=r"inverted|step 0|more than|partner"):
        expand_pattern(pattern)


SCRIPT = """
import json, sys
import jpype
jpype.startJVM("-Xmx512m", classpath=[sys.argv[1]])
pattern = jpype.JClass("loci.formats.FilePattern")
texts = json.load(sys.stdin)
json.dump([[str(file) for file in pattern(text).getFiles()] for text in texts], sys.stdout)
"""


@pytest.mark.java
def test_every_pattern_of_the_studies_is_that_of_bio_formats(bioformats_jar, shared_data):  # noqa: F811
    texts = list(KNOWN)
    for path in sorted((shared_data / "idr" / "studies").rglob("*.screen")):
        texts += re.findall(r"(?m)^Field_\d+ *= *(.*<.*\S)", path.read_text())
    texts = [text if text.startswith("/") else f"/{text}" for text in texts]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(bioformats_jar)],
        input=json.dumps(texts), capture_output=True, text=True, check=True,
    )  # fmt: skip
    for text, theirs in zip(texts, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert [file.path for file in expand_pattern(text)] == theirs, text
