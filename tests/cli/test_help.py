"""Help fits a screen; a wrong word is answered with the nearest right one; errors are explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from idrstream.cli.main import main
from idrstream.config import all_options
from idrstream.doctor import Finding, verdict

SCREEN_LINES = 56
COMMANDS = (
    "run", "plan", "resume", "rerun", "segment", "simulate", "table", "settings", "demo", "collect",
)  # fmt: skip


@pytest.fixture
def told(monkeypatch, capsys):
    """Run a command in a terminal of 80 columns and return its code and what it wrote."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words):
        try:
            code = main(list(words))
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen(told, command):
    code, text, _ = told(command, "--help")
    lines = text.splitlines()
    assert code == 0
    assert len(lines) <= SCREEN_LINES
    assert max(map(len, lines)) <= 80
    if command != "demo":
        assert lines[0].startswith(f"usage: idrstream {command} ")
        assert lines[0].endswith(" [options]")
        assert not lines[1]


def test_the_rest_is_in_help_all(told):
    short, long = told("run", "--help")[1], told("run", "--help-all")[1]
    for option in all_options().values():
        assert re.search(rf"^  {option.flag}\b", long, re.MULTILINE), option.flag
    assert "--cells none|expand|propagate|cellpose" in short
    assert "[10]" in short
    assert "--stall-timeout-s" not in short
    assert "--help-all" in short


def test_alone_it_shows_what_there_is(told):
    code, text, err = told()
    assert (code, err) == (0, "")
    assert text.startswith("usage: idrstream COMMAND [options]")
    assert "idrstream explain" in text
    assert len(text.splitlines()) <= 34


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("rnu",), "there is no command rnu; did you mean run?"),
        (("run", "s.toml", "--batchsize", "3"),
         "there is no option --batchsize; did you mean --batch-size?"),
        (("run", "s.toml", "--diametre=3"),
         "there is no option --diametre; did you mean --diameter?"),
        (("cluster", "submit", "d", "--partitoin", "x"),
         "there is no option --partitoin; did you mean --partition?"),
        (("status", "one", "two"), "one argument too many: two"),
        (("status", "one", "--zzz"), "there is no option --zzz\n"),
    ],
)  # fmt: skip
def test_the_nearest_word(told, words, answer):
    code, out, err = told(*words)
    assert (code, out) == (2, "")
    assert answer in err
    assert "--help" in err
    assert len(err.splitlines()) == 2


def test_explain(told):
    code, text, _ = told("explain", "missingtoolerror")
    assert code == 0
    assert text.startswith("MissingToolError\n  Cause. ascp, Java, Fiji")
    assert "Cure." in text
    assert not re.search(r"[*`#]|\]\(|\.md", text)
    code, text, _ = told("explain")
    assert code == 0
    assert "        4  MissingToolError\n" in text
    assert "CompileError" in text
    code, _, err = told("explain", "ConfgError")
    assert code == 2
    assert "there is no error ConfgError; did you mean ConfigError?" in err


def test_the_doctors_verdict():
    here = Finding("computes on", "ok", "processor, 2 cores")
    absent = Finding("ascp", "missing")
    web, ftp = Finding("https ftp.ebi.ac.uk", "ok"), Finding("ftp ftp.ebi.ac.uk", "failed")
    assert verdict([here, absent, web]) == (
        "Ready: processor, HTTPS; optional parts absent: ascp (Aspera)"
    )
    assert verdict([here, web, ftp]) == "Ready: processor, HTTPS; no answer: ftp ftp.ebi.ac.uk"
    assert "servers not asked (--network)" in verdict([here])
    lacks = verdict([here, Finding("cellpose", "missing"), absent])
    assert lacks == "Not ready: cellpose (see above)"


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        *((command, "file") for command in (
            "status file", "stop file", "pause file", "resume file", "report file", "verify file",
            "collect file", "tracks file", "cluster info file --job 1", "simulate file",
            "demo file", "collect dir --out file", "step segment s.toml --out file",
        )),
        *((command, "folder") for command in (
            "report dir --out dir", "run --from dir", "table x.tsv --out dir",
            "table x.tsv --annotation dir", "settings --table dir",
        )),
    ],
)  # fmt: skip
def test_a_folder_where_a_file_belongs_is_said_so_and_the_other_way_round(
    told, tmp_path, monkeypatch, words, wrong
):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("dir").mkdir()
    code, _, err = told(*words.split())
    assert code == 2
    said = "file is a file; name a folder" if wrong == "file" else "dir is a folder; name a file"
    assert said in err
