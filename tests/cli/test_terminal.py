"""What a shell shows of every command: its warnings, and nothing of Python when it is stopped."""

import errno
import logging
import signal
import sys

import pandas as pd
import pytest

from idrstream.cli import main as cli
from idrstream.errors import ConfigError
from idrstream.screen.study.balance import Balance, Images, Lines, Plates
from idrstream.screen.study.study_table import StudyTable
from idrstream.stream import IdrStream


@pytest.fixture
def during(monkeypatch, tmp_path):
    """Run ``idrstream table`` with something else in the place of its work."""

    def run(work):
        monkeypatch.setattr("idrstream.archive.table.described_table", work)
        return cli.main(["table", "plates.tsv", "--out", str(tmp_path / "table.tsv")])

    return run


def one_row(*_, **__):
    names = ["Plate", "Well", "Frames", "Path", "Source"]
    table = pd.DataFrame([["P", "A1", "1", "a.ch5", "layout"]], columns=names)
    return StudyTable(table, Balance(Plates(), Lines(), Images()))


def test_warnings_are_shown_once_and_without_secrets(during, capsys):
    log = logging.getLogger("idrstream.screen")

    def work(*_, **__):
        log.warning("3 of 4 plates have no annotation: https://me:secret@host/x")
        log.warning("told at the end", extra={"in_result": True})
        log.info("not a warning")
        return one_row()

    assert during(work) == 0
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line.startswith("idrstream: warning: 3 of 4 plates have no annotation")
    assert "secret" not in line
    assert "1 image " in told.out
    log.warning("of another time")
    assert capsys.readouterr().err.count("idrstream: warning") == 0


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ImportError])
def test_ctrl_c_in_the_middle_of_an_import(during, capsys, kind):
    def work(*_, **__):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:  # some libraries turn it into an error of their own
            raise kind("cannot import name 'x' from partially initialized module") from None

    before = signal.getsignal(signal.SIGINT)
    assert during(work) == cli.EXIT_INTERRUPTED
    assert "Traceback" not in (told := capsys.readouterr().err)
    assert told.count("interrupted") == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_the_command_is_chosen(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    assert cli.main(["table", "--help"]) == cli.EXIT_INTERRUPTED


def test_ctrl_c_while_the_package_is_imported(monkeypatch, capsys):
    from idrstream.__main__ import main

    class Interrupted:
        def find_spec(self, name, *_):
            if name == "idrstream.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "idrstream.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert main() == cli.EXIT_INTERRUPTED
    assert capsys.readouterr().err == "idrstream: interrupted\n"


def test_a_full_disk_leaves_no_half_table(during, tmp_path, monkeypatch, capsys):
    out = tmp_path / "table.tsv"
    out.write_text("an earlier one")

    def full(self, file, **_):
        file.write(b"Plate\tWe")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    assert during(one_row) == 5
    assert "No space left" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["table.tsv"]
    assert out.read_text() == "an earlier one"


def test_a_table_is_packed_as_its_name_says(tmp_path, monkeypatch):
    monkeypatch.setattr("idrstream.archive.table.described_table", one_row)
    out = tmp_path / "table.csv.gz"
    assert cli.main(["table", "plates.tsv", "--out", str(out)]) == 0
    assert out.read_bytes()[:2] == b"\x1f\x8b"
    assert pd.read_csv(out)["Well"].tolist() == ["A1"]


@pytest.mark.parametrize("final", ["{0}/one", "{0}/two/../one", "{0}/link"])
def test_one_folder_for_both_is_refused(tmp_path, final):
    (tmp_path / "link").symlink_to(tmp_path / "one")
    with pytest.raises(ConfigError, match=r"same folder, .*give tmp_dir one of its own"):
        IdrStream("idr0013", tmp_path / "one", final.format(tmp_path))
    assert not (tmp_path / "one").exists()
