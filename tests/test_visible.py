"""What comes from strangers is shown, never obeyed: errors, log lines, terminals."""

from __future__ import annotations

import logging
import unicodedata

import pytest

from idrstream.cli.terminal import say, say_aside, warnings_shown
from idrstream.errors import DownloadError
from idrstream.folder.status import Status, StreamState
from idrstream.folder.status_text import one_line
from idrstream.folder.verify import Problem, Verified
from idrstream.run.log import StreamLog
from idrstream.visible import visible, visible_line

EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202egnp.exe\u2066\u200b\x00\ud800"
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
SHOWN = r"\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202egnp.exe\u2066\u200b\x00\ud800"


def test_every_control_character_and_mark_is_an_escape():
    assert visible(EVIL) == SHOWN
    assert visible(SHOWN) == SHOWN
    harmless = "Müller\t37 °C, 細胞 🔬\nsecond line"
    assert visible(harmless) == harmless
    assert visible_line("a\nb\tc") == r"a\nb\tc"
    everything = visible("".join(map(chr, range(0x110000))))
    assert len(everything.splitlines()) == 2
    assert not any(
        unicodedata.category(letter) in ("Cc", "Cs") for letter in set(everything) - {*"\t\n"}
    )
    assert not any(unicodedata.bidirectional(letter) in BIDI for letter in set(everything))


def test_errors_say_what_a_server_said_visibly():
    error = DownloadError(f"the server answered 404 {EVIL}", ("plate", EVIL), 3)
    assert error.args[0] == f"the server answered 404 {SHOWN}"
    assert error.args[2] == 3


def test_a_name_cannot_write_a_line_of_its_own_into_the_log(tmp_path):
    path = tmp_path / "stream.log"
    forged = "A1\n2026-01-01 00:00:00,000 - INFO - All is well"
    with StreamLog(path):
        logging.getLogger("idrstream").info("Processing %s %s", forged, EVIL)
        try:
            raise ValueError(forged)
        except ValueError:
            logging.getLogger("idrstream").exception("Failed")
    text = path.read_text(encoding="utf-8")
    assert SHOWN in text
    records = [line for line in text.splitlines() if not line.startswith("  ")]
    assert [line.split(" - ", 1)[1].split(" A1")[0] for line in records[:2]] == [
        "INFO - Processing", "ERROR - Failed",
    ]  # fmt: skip
    assert not any("All is well" in line for line in records)


def test_nothing_moves_the_cursor_of_a_terminal(capsys):
    say(f"{EVIL}\n")
    say_aside(f"{EVIL}\n")
    with warnings_shown():
        logging.getLogger("idrstream").warning("plate %s", EVIL)
    status = Status(EVIL, StreamState.STOPPED, stopped_by=EVIL, bottleneck=EVIL)
    found = Verified("out", 1, 0, (), 0, (Problem(EVIL, "changed", EVIL),), (EVIL,))
    for shown in (repr(status), one_line(status), str(found)):
        say(f"{shown}\n")
        assert visible(shown) == shown
    out, err = capsys.readouterr()
    assert SHOWN in out
    assert err.count(SHOWN) == 2
    assert not set(out + err) & set("\x1b\r\x07\x9b\u202e\u2066\u200b\x00")


@pytest.mark.parametrize("letter", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\ufeff"])
def test_other_line_ends_are_escapes_too(letter):
    assert len(visible(f"a{letter}b").splitlines()) == 1
