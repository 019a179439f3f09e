"""The status of a stream as text and as HTML, from made-up states."""

import io
import re
from html.parser import HTMLParser

import pytest

from idrstream.folder.journal.records import Failure
from idrstream.folder.live import LaneNow, Live
from idrstream.folder.locks import Holder
from idrstream.folder.status import Status
from idrstream.folder.status_text import one_line, status_lines, wants_colour
from idrstream.watch.status_html import status_html

LIVE = Live(
    holder=Holder(7, "here", 0.0), time=1.0, phase="running", under_way=3,
    lanes=(LaneNow("download", 4, 9, 0.1), LaneNow("segment", 1, 9, 0.93), LaneNow("x", 1, 0, 0)),
    disk_bytes=2_000_000, disk_peak_bytes=5_000_000, disk_limit_bytes=10_000_000,
)  # fmt: skip
STATUS = Status(
    folder="/data/<b>features</b>", state="running", holder=LIVE.holder, batches=10,
    batches_done=4, batches_failed=1, batches_running=2, images=100, images_done=38,
    images_failed=2, nuclei=4321, bytes=7_000_000, images_per_hour=120.0, left_s=3700.0,
    failures={"DownloadError": 2}, live=LIVE,
)  # fmt: skip
FAILURES = [
    Failure(
        batch=3, plate="P1", well="A4", frame=5, stage="download", kind="DownloadError",
        reason="no <file>\x1b[2J", site=1, attempt=1, time=1.0, log="", log_end=None,
    )
]  # fmt: skip


def test_has_all_that_is_known():
    text = "\n".join(status_lines(STATUS, FAILURES))
    for part in (
        "running (process 7 on here", "4 of 10 done, 2 running, 1 failed",
        "38 of 100 done, 3 finished in running batches, 2 left out", "4,321",
        "120 images an hour, 1 h 2 min left", "download 10%, segment 93%",
        "2.0 MB now, at most 5.0 MB of 10.0 MB", "DownloadError 2", "batch 3 P1 A4 frame 5",
    ):  # fmt: skip
        assert part in text
    assert "x 0%" not in text


def test_lines_are_cut_and_hold_nothing_that_a_terminal_obeys():
    lines = status_lines(STATUS, FAILURES, width=40)
    assert max(map(len, lines)) == 40
    assert not re.search(r"[\x00-\x1f]", "".join(status_lines(STATUS, FAILURES, width=500)))
    coloured = status_lines(STATUS, FAILURES, width=40, colour=True)
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == lines


def test_one_line_tells_the_same():
    line = one_line(STATUS)
    assert "running, batches 4/10, images 38/100 + 3 in progress, nuclei 4321" in line
    assert "1 h 2 min left, 2 failures" in line


@pytest.mark.parametrize(
    ("phase", "said"),
    [("pausing", "images in progress are finished"), ("starting", "starting"), ("running", "runn")],
)
def test_what_is_being_done_about_a_request_is_told(phase, said):
    live = Live(holder=LIVE.holder, time=1.0, phase=phase)
    status = Status(folder="out", state="running", live=live)
    assert said in status_lines(status)[0]
    assert said in status_html(status)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colour_is_for_terminals_of_people_who_want_it(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colour(Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.labels = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.append(tag)
        self.labels += [value for name, value in attrs if name == "aria-label"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


class TestHtml:
    def test_is_whole_escaped_and_without_scripts_or_requests(self):
        text = status_html(STATUS, FAILURES)
        tags = Tags(text)
        assert tags.open == []
        assert not {"script", "img", "link", "iframe", "b"} & set(tags.seen)
        assert "&lt;b&gt;features" in text
        assert "no &lt;file&gt;" in text
        assert "http" not in text
        assert "url(" not in text

    def test_bars_have_text_alternatives_and_tables_have_heads(self):
        text = status_html(STATUS, FAILURES)
        assert Tags(text).labels[1:] == [
            "batches: 40%", "images: 41%", "download: 10%", "segment: 93%", "Latest failures",
        ]  # fmt: skip
        assert text.count('scope="col"') == 5
        assert "<caption>" in text

    @pytest.mark.parametrize("background", [1.0, 0.006])  # white, and #111
    def test_bars_stand_out(self, background):
        from idrstream.watch.status_html import _AMBER, _BLUE

        for colour in (_BLUE, _AMBER):
            light = _luminance(colour)
            high, low = max(light, background), min(light, background)
            assert (high + 0.05) / (low + 0.05) >= 3


def _luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
