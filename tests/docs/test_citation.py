"""CITATION.cff is valid, of this version, and names what docs/cite.md names."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

import idrstream

PROJECT = Path(__file__).resolve().parents[2]
# The Citation File Format's own schema (CC-BY-4.0), as cffconvert 2.0.0 carries it.
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "cff-1.2.0.json").read_text("utf-8"))
DOI = re.compile(r"https://doi\.org/(10\.\d{4,}/[^\s)\]]+)")


@pytest.fixture
def citation():
    return yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))


def test_it_is_valid(citation):
    jsonschema.Draft7Validator(SCHEMA).validate(citation)


@pytest.mark.parametrize("field", ["title", "authors", "message", "cff-version"])
def test_the_schema_misses_what_must_be_there(citation, field):
    del citation[field]
    assert not jsonschema.Draft7Validator(SCHEMA).is_valid(citation)


def test_it_is_of_this_version(citation):
    assert citation["version"] == idrstream.__version__


def test_the_page_and_the_file_name_the_same_works(citation):
    page = (PROJECT / "docs" / "cite.md").read_text(encoding="utf-8")
    in_file = {reference["doi"] for reference in citation["references"]}
    assert set(DOI.findall(page)) == in_file
    assert len(in_file) >= 9
