"""Of a journal that somebody else made only tables are read, and not without end."""

from __future__ import annotations

import sqlite3

import pytest

from idrstream.errors import JournalError
from idrstream.folder.journal.file import open_writer
from idrstream.folder.journal.reader import open_journal
from idrstream.folder.journal.schema import JOURNAL_NAME

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"


def changed(folder, *statements):
    path = folder / JOURNAL_NAME
    open_writer(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return path


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (("DROP TABLE batches", f"CREATE VIEW batches AS {ENDLESS}"), "view 'batches'"),
        (
            ("CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM images; END",),
            "trigger 't'",
        ),
        (("CREATE VIRTUAL TABLE v USING fts5(a)",), "table 'v'"),
        (
            (
                "DROP TABLE plans",
                "CREATE TABLE plans (id, batch_size AS (hex(zeroblob(100000000))))",
            ),
            "damaged",
        ),
        (
            ("CREATE TABLE g (a INTEGER, b TEXT GENERATED ALWAYS AS (hex(zeroblob(1000000))))",),
            "table 'g'",
        ),
    ],
)
def test_only_tables_are_read(tmp_path, statements, words):
    path = changed(tmp_path, *statements)
    with pytest.raises(JournalError, match=words) as caught, open_journal(tmp_path) as journal:
        journal.plan()
    assert str(path) in str(caught.value)
    if words != "damaged":
        with pytest.raises(JournalError, match=words):
            open_writer(path)


@pytest.mark.timeout(120)
def test_a_query_without_end_is_given_up(tmp_path):
    changed(
        tmp_path,
        "DROP TABLE attempts",
        "CREATE TABLE attempts (run, batch, outcome, ended, sha256, seconds, nuclei, attempt)",
        "INSERT INTO attempts SELECT 1, 1, 'done', 1, 1, '{}', 1, 1 FROM "
        "(WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 4000) "
        "SELECT x FROM n)",
        "DROP TABLE runs",
        "CREATE TABLE runs (id, versions)",
        "INSERT INTO runs SELECT 1, '{}' FROM attempts",
        "DROP TABLE batches",
        "CREATE TABLE batches (number, state, images, sha256)",
        "INSERT INTO batches SELECT 1, 'done', 1, 1 FROM attempts",
    )
    with open_journal(tmp_path) as journal:
        with pytest.raises(JournalError, match="more in it than a journal"):
            journal.published_attempts()  # 16 million rows
        with pytest.raises(JournalError, match="more in it than a journal"):
            journal.table_versions()  # 64 thousand million before they are grouped
        assert journal.images() == {}  # a later query is not the worse for it


@pytest.mark.parametrize(
    "values",
    [
        "('[' || 'x', '{}')",
        "('7', '{}')",
        f"('{'[' * 50_000}', '{{}}')",
    ],
)
def test_rows_that_no_stream_writes_are_a_sentence(tmp_path, values):
    changed(
        tmp_path,
        "INSERT INTO runs (started, pid, host, options, parts, versions) "
        f"SELECT 1, 1, 'h', column2, column1, '{{' FROM (VALUES {values})",
    )
    with open_journal(tmp_path) as journal, pytest.raises(JournalError, match="understood"):
        journal.runs()
