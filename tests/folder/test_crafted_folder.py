"""Output folders made to do harm: no command touches anything outside, runs anything or hangs."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import sqlite3
import stat
import tarfile
from pathlib import Path

import pytest

from idrstream.cli.main import main

GOLDEN = Path(__file__).parent / "golden" / "folder_v1.tar.gz"
EVIL = "\x1b[2J\u202eevil\nidrstream: all is well"
LIMIT_S = 10
# What a command of idrstream opens, makes or replaces in an output folder.
OPENED = (
    ".report.html.part", "report.html", ".idrstream.live.json", ".idrstream.control.json",
    "detached.log", "provenance.json", "batch_0.csv.gz", "qc/batch_0.csv", "qc/batch_2.csv",
)  # fmt: skip
FOLDERS = ("qc", "pictures", "tables", "illumination", "cells")


class Place:
    """An output folder, what lies outside of it, and where commands may write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "features"
        self.outside = root / "outside"
        self.allowed = root / "allowed"
        self.journal = self.folder / "journal.sqlite"
        with tarfile.open(GOLDEN) as packed:
            packed.extractall(root)
        for folder in (self.outside, self.outside / "downloads", self.allowed):
            folder.mkdir()
        self.precious = self.outside / "precious"
        self.precious.write_text("keep")
        for name in ("batch_0.csv.gz", "batch_1.csv.gz", "batch_2.parquet", "batch_2.csv"):
            (self.outside / name).write_bytes(gzip.compress(b"keep"))
        (self.outside / "downloads" / "thesis.txt").write_text("keep")
        self.program = self.outside / "program"
        self.program.write_text(f"#!/bin/sh\ntouch {self.outside}/executed\n")
        self.program.chmod(0o755)

    def sql(self, statement: str, *values: object) -> None:
        connection = sqlite3.connect(self.journal)
        connection.execute("PRAGMA ignore_check_constraints=1")
        connection.execute(statement, values)
        connection.commit()
        connection.close()

    def settings(self, **changes: object) -> None:
        """Change settings in journal and provenance."""
        connection = sqlite3.connect(self.journal)
        ((text,),) = connection.execute("SELECT settings FROM runs").fetchall()
        connection.close()
        stored = json.loads(text)
        for name, value in changes.items():
            stored[name.partition("__")[0]][name.partition("__")[2]] = value
        self.sql("UPDATE runs SET settings = ?", json.dumps(stored))
        path = self.folder / "provenance.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "settings": stored}))

    def plant(self, name: str, kind: str) -> None:
        """Put something else in place of a file or folder."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if kind == "link":
            path.symlink_to(self.outside if name in FOLDERS else self.precious)
        elif kind == "hard link":
            os.link(self.precious, path)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.mkdir()

    def state(self) -> dict[str, object]:
        """Return all that is outside of the output folder and of where commands may write."""
        found: dict[str, object] = {}
        for top, folders, files in os.walk(self.root):
            if Path(top) == self.root:
                folders[:] = sorted(set(folders) - {"features", "allowed", "state"})
            for name in (*folders, *files):
                path = Path(top) / name
                status = path.lstat()
                content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
                found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
        return found


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("IDRSTREAM_DEEPPROFILER_PYTHON", raising=False)  # that of the Makefile
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return Place(tmp_path)


def hangs(number, frame):
    raise TimeoutError("the command hangs")


def commands(place):
    """Return every command that takes an output folder; those that go on get harmless options."""
    folder, allowed = str(place.folder), place.allowed
    harmless = [
        "--tmp-dir", str(allowed / "tmp"), "--log", "", "--aspera-path", "", "--aspera-key-path",
        "", "--bioformats-jar", "", "--fiji-path", "", "--deepprofiler-python", "",
        "--root", str(allowed), "--screens-path", "", "--dp-config", "", "--method", "local",
        "--engine", "torch", "--reader", "cellh5", "--progress", "false",
    ]  # fmt: skip
    again = ["run", "--from", f"{folder}/provenance.json", "--tmp-dir", str(allowed / "tmp2")]
    return [
        ["status", folder],
        ["status", folder, "--failures"],
        ["report", folder],
        ["collect", folder, "--partial", "--normalize", "none", "--out", str(allowed / "c")],
        ["verify", folder],
        ["resume", folder],
        ["rerun", folder],
        ["resume", folder, *harmless],
        ["rerun", folder, "--batch-nums", "0", *harmless],
        ["pause", folder],
        [*again, "--final-data-dir", str(allowed / "again")],
        [*again, "--final-data-dir", str(allowed / "again2"), *harmless],
    ]


def check(place, capsys):
    """Run every command; return what they said."""
    before, said = place.state(), []
    for arguments in commands(place):
        shown = " ".join(arguments[:2])
        earlier = signal.signal(signal.SIGALRM, hangs)
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            code = main(arguments)
        except SystemExit as wrong_usage:
            code = wrong_usage.code
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, earlier)
        out, err = capsys.readouterr()
        assert code in range(11), (shown, err)
        assert "Traceback" not in err, (shown, err)
        if code > 1:
            assert "idrstream: " in err or ": error: " in err, shown
        assert not set(out + err) & {"\x1b", "\u202e"}, shown
        assert place.state() == before, shown
        said.append(err)
    return "\n".join(said)


@pytest.fixture(scope="module", autouse=True)
def _imported():
    """Import what the commands need before they are timed."""
    import idrstream.collect.folder
    import idrstream.profile
    import idrstream.segment.cellpose
    import idrstream.stream.stream  # noqa: F401


def test_settings_of_a_stranger_are_listed_and_not_used(place, capsys):
    program, outside = str(place.program), str(place.outside)
    place.settings(
        download__aspera_path=program, download__aspera_key_path=str(place.precious),
        download__method="aspera", preprocess__bioformats_jar=program,
        preprocess__fiji_path=outside, preprocess__reader="bioformats",
        profile__engine="deepprofiler", profile__deepprofiler_python=program,
        stream__log=str(place.precious), stream__tmp_dir=outside, stream__force=True,
        stream__replan=True, stream__idr_id=EVIL,
    )  # fmt: skip
    said = check(place, capsys)
    for listed in (
        f'--aspera-path "{program}" (is executed)',
        f'--aspera-key-path "{place.precious}" (is used as a key)',
        f'--bioformats-jar "{program}" (is executed)',
        f'--fiji-path "{outside}" (is executed)',
        f'--deepprofiler-python "{program}" (is executed)',
        f'--log "{place.precious}" (is written to)',
        f'--tmp-dir "{outside}" (is written to)',
        "--accept-settings",
    ):
        assert listed in said
    assert "will execute" not in said


def test_what_is_accepted_is_named_before_it_is_executed(place, capsys):
    place.settings(
        profile__engine="deepprofiler", profile__deepprofiler_python=str(place.program),
        stream__tmp_dir=str(place.allowed / "tmp"),
    )  # fmt: skip
    main(["resume", str(place.folder), "--accept-settings", "--dp-config", ""])
    err = capsys.readouterr().err
    assert f"idrstream: will execute {place.program} (deepprofiler_python)" in err


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE batches SET file = '../outside/batch_0.csv.gz' WHERE number = 0",
        "UPDATE batches SET file = '/etc/passwd' WHERE number = 0",
        "UPDATE batches SET file = x'00', size_bytes = 'many' WHERE number = 0",
        "UPDATE batches SET rows = 'many' WHERE number = 0",
        "UPDATE plans SET table_file = '../outside/batch_0.csv.gz'",
        "UPDATE plans SET table_file = 'tables/../../outside/precious'",
        "UPDATE plans SET identity = '[]'",
        "UPDATE runs SET lanes = '{\"a\": 1}', elapsed_s = 'long'",
        "UPDATE runs SET settings = '[1]', parts = 'no JSON'",
        "UPDATE runs SET settings = '{\"stream\": 3}'",
        "UPDATE images SET plate = '../../outside/x', well = '*', frames = 'all'",
        "UPDATE images SET plate = '../../outside/x'",
        "UPDATE runs SET started = 'then', log = x'ff'",
        "UPDATE runs SET elapsed_s = 1e400",
        "UPDATE plans SET batch_size = x'ff'",
        "UPDATE batches SET nuclei = 1e400, images = 'text'",
        "UPDATE batches SET state = '\x1b[2J'",
    ],
)
def test_what_a_journal_names_stays_in_its_folder(place, capsys, statement):
    place.sql(statement)
    check(place, capsys)


def test_escapes_in_a_journal(place, capsys):
    place.sql("UPDATE runs SET stopped_by = ?, host = ?, log = ?", EVIL, EVIL, EVIL)
    place.sql("UPDATE images SET plate = ?, well = ?", EVIL, EVIL)
    place.sql(
        "INSERT INTO failures (run, batch, attempt, plate, well, stage, kind, message, time) "
        "VALUES (1, 0, 1, ?1, ?1, ?1, ?1, ?1, 0)",
        EVIL,
    )
    check(place, capsys)


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
def test_what_stands_in_place_of_files(place, capsys, kind):
    for name in OPENED:
        place.plant(name, kind)
    place.sql("UPDATE batches SET size_bytes = 0 WHERE number = 0")
    check(place, capsys)


@pytest.mark.parametrize("kind", ["link", "pipe"])
@pytest.mark.parametrize("name", FOLDERS)
def test_what_stands_in_place_of_folders(place, capsys, name, kind):
    place.plant(name, kind)
    check(place, capsys)


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder"])
@pytest.mark.parametrize(
    "name", [".idrstream.lock", "journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"]
)
def test_what_stands_in_place_of_lock_and_journal(place, capsys, name, kind):
    place.plant(name, kind)
    check(place, capsys)


@pytest.mark.parametrize(
    "change",
    [
        {"table": {"file": "tables/../../outside/precious", "sha256": ""}},
        {"table": {"file": 3, "sha256": ""}},
        {"settings": [1]},
        {"settings": {"stream": 1}},
        {"settings": {"nothing": {}}},
        {"versions": [1]},
        {"version": "1"},
        {"plan": {"batch_size": "x", "images_sha256": ""}},
        {"identity": {"table": {"format": EVIL, "extra_metadata": [EVIL]}}},
    ],
)
def test_provenance(place, capsys, change):
    path = place.folder / "provenance.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **change}))
    check(place, capsys)
