from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from idrstream.folder import identity
from idrstream.folder.identity import (
    describe_part,
    describe_stream,
    differences,
    image_digest,
    image_lines,
    images_sha256,
    result_columns,
)
from idrstream.records import ImageTask


class Plain:
    def __init__(self, threshold, folder=None):
        self.threshold = threshold
        self.folder = folder
        self._cache = object()


@dataclass
class Fields:
    channel: int = 0
    size: tuple = (3, 4)


class Said(Plain):
    def describe(self):
        return {"kind": "said", "inner": Fields(), "threshold": self.threshold}


def line(columns=(), **changes):
    given = {"plate": "P", "well": "A4", "well_number": 4, "frames": (50,), **changes}
    return image_lines([ImageTask(**given)], columns)[0]


def test_the_order_of_keys_is_no_difference():
    """The journal keeps them sorted, also those of several engines."""
    now = {"engines": [{"name": "classical", "features": ["intensity"]}]}
    before = {"engines": [{"features": ["intensity"], "name": "classical"}]}
    assert differences(before, now) == []
    assert len(differences({"engines": [{**before["engines"][0], "name": "torch"}]}, now)) == 1


def test_a_part_that_describes_itself_is_asked():
    assert describe_part(Said(2)) == {"kind": "said", "inner": "Fields", "threshold": 2}


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        (Plain(2, Path("x")), {"threshold": 2, "folder": "x"}),
        (Fields(1), {"channel": 1, "size": [3, 4]}),
    ],
)
def test_other_parts_are_their_class_and_public_values(part, settings):
    described = describe_part(part)
    assert described.pop("class").endswith(type(part).__name__)
    assert described == settings


def test_differences_say_what_was_and_what_is():
    parts = {"segmentor": Plain(2)}
    before = describe_stream("idr0013", parts, extra_metadata=["b", "a"], output_format="csv.gz")
    same = describe_stream("idr0013", parts, extra_metadata=["a", "b"], output_format="csv.gz")
    assert differences(before, same) == []
    now = describe_stream(
        "idr0013", {"segmentor": Plain(3)}, extra_metadata=[], output_format="parquet"
    )
    assert differences(before, now) == [
        "segmentor.threshold was 2, is 3",
        'table.extra_metadata was ["a", "b"], is []',
        'table.format was "csv.gz", is "parquet"',
    ]
    # An option that did not exist when the folder was started had its default.
    assert differences({"segmentor": {}}, {"segmentor": {"min_size": 15}}) == []
    assert differences({"segmentor": {}}, {"segmentor": {"min_size": 9}}) == [
        "segmentor.min_size was 15, is 9"
    ]
    assert differences({"a": 1}, {"b": 2}) == ["a was 1, is gone", "b was not there, is 2"]


def test_what_changes_a_result_changes_the_image():
    columns = result_columns(["Control Type", "object_outlines"])
    assert columns == ("Control Type", "Gene_Replicate", "Original Gene Target", "Plate_Map_Name")
    lines = [
        line(columns),
        line(columns, plate="Q"),
        line(columns, well_number=5),
        line(columns, site=2),
        line(columns, frames=(50, 51)),
        line(columns, metadata={"Control Type": "x"}),
        line(columns, metadata={"Gene_Replicate": "x"}),
        line(columns, metadata={"Path": "/a/b.ch5"}),
        line(columns, metadata={"URL": "https://host/a/c.ch5"}),
    ]
    assert len({image_digest(item) for item in lines}) == len(lines)


def test_what_changes_no_result_does_not():
    columns = result_columns([])
    same = [line(columns), line(columns, well="a04", row=7, metadata={"Note": "seen"})]
    assert len({image_digest(item) for item in same}) == 1
    places = [{"Path": "/mnt/a/b.ch5"}, {"URL": "https://host/b.ch5"}, {"Path": "b.ch5"}]
    moved = [line(columns, metadata=place) for place in places]
    assert len({image_digest(item) for item in moved}) == 1


def test_digests_are_those_of_every_version():
    """Journals hold them: a change here would make every folder look as of another plan."""
    known = line(result_columns(["Control Type"]), metadata={"Control Type": "ä"})
    assert image_digest(known).hex() == "409ac58e4f9ca924548d6bda824f42d6"
    assert images_sha256([known, known])[:16] == "3d7ad66fd0a9618a"


METADATA = st.dictionaries(
    st.sampled_from(["Gene", "URL", "Path", "x"]), st.sampled_from(["", "a", "s3://b/c/d.ch5"])
)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.tuples(st.sampled_from("PQ"), st.integers(1, 3), METADATA), max_size=9),
    columns=st.sampled_from([(), ("Gene",), ("Gene", "x")]),
)
def test_lines_are_those_of_row_after_row(rows, columns):
    """They are compared with what journals of years ago hold: their form must never change."""
    tasks = [
        ImageTask(plate, "A1", number, (number, 7), number % 2, values)
        for plate, number, values in rows
    ]
    wanted = []
    for plate, number, values in rows:
        name = (values.get("URL") or values.get("Path") or "").rpartition("/")[2]
        cells = "\x1f".join(values.get(column, "") for column in columns)
        fields = (plate, number, number % 2, f"{number},7", cells, name)
        wanted.append("\x1f".join(map(str, fields)))
    whole = image_lines(tasks, columns)
    block, identity._BLOCK = identity._BLOCK, 2
    try:
        assert whole == image_lines(tasks, columns) == wanted
    finally:
        identity._BLOCK = block
